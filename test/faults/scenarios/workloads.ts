/** The workloads that most scenarios have: of each way to take the loss of a node some. */
import type { Submission, Trace } from '../history';
import type { World } from '../world';

export type Mix = Record<'replaced' | 'fenced' | 'kept', Submission>;

/** Resolves when all of it lives. */
export async function submitMix(world: World, { replicas = 3 } = {}): Promise<Mix> {
  const mix = {
    replaced: await world.submit({ id: 'web', replicas, child: true }),
    fenced: await world.submit({ id: 'db', replicas, onDisconnect: 'stop', child: true }),
    kept: await world.submit({ id: 'disk', replicas, onDisconnect: 'keep' }),
  };
  for (const submission of Object.values(mix)) await world.untilAlive(submission);
  return mix;
}

/** All lives again that does not wait for its node. */
export async function untilMoved(world: World, { replaced, fenced }: Mix, lost: string): Promise<void> {
  for (const submission of [replaced, fenced])
    await world.until(
      async () => newest(await world.untilAlive(submission)).every(({ node }) => node !== lost),
      `all of ${submission.tag} is elsewhere`,
    );
}

/** The latest generation of each instance: without copies on nodes that are cut off. */
export function newest(traces: readonly Trace[]): Trace[] {
  const byInstance = new Map<string, Trace>();
  for (const trace of traces) {
    const known = byInstance.get(trace.instance);
    if (known === undefined || known.generation < trace.generation) byInstance.set(trace.instance, trace);
  }
  return [...byInstance.values()];
}

/** @throws Error when a process of it is another than before, though no node was lost */
export async function expectSame(world: World, mix: Mix, before: readonly Trace[]): Promise<void> {
  for (const submission of Object.values(mix)) await world.untilAlive(submission);
  const pids = (traces: readonly Trace[]): string => String(traces.map(({ pid }) => pid).sort());
  if (!world.hasVerdict && pids(world.living(mix)) !== pids(before)) throw new Error('the processes are not the same');
}

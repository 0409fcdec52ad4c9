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
  await untilAllAlive(world, mix);
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

/** @throws Error when it is not the same processes that live */
export function expectSame(before: readonly Trace[], now: readonly Trace[]): void {
  const pids = (traces: readonly Trace[]): string => String(traces.map(({ pid }) => pid).sort());
  if (pids(before) !== pids(now)) throw new Error('the processes are not the same');
}

export async function untilAllAlive(world: World, submissions: Record<string, Submission>): Promise<void> {
  for (const submission of Object.values(submissions)) await world.untilAlive(submission);
}

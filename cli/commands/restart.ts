/** `morch restart`: restarts a workload's instances, one at a time, and waits until each runs anew. */
import type { Command } from 'commander';
import type { Workload } from '../../contract/workload';
import { type Client, clientOf } from '../client';
import { flag } from '../flags';
import { say } from '../output';
import { describeProgress, loadWorkload, waitUntil } from '../progress';
import { formatMs, parseDurationMs } from '../quantities';
import { resolveWorkload, workloadPath } from '../resolve';
import { exitCodeOfTimeout } from '../waiting';

export function registerRestart(program: Command): void {
  const command = program
    .command('restart')
    .description('restart a workload, one instance at a time, and wait until each has')
    .argument('<id>', 'workload id, or a unique beginning of one')
    .option('--no-wait', 'ask only, and do not wait')
    .option('--timeout <duration>', 'how long to wait at most, such as 1m (default: no limit)', flag(parseDurationMs))
    .addHelpText('after', '\nExample:\n  $ morch restart web');
  command.action(async (typed: string, options: { wait: boolean; timeout?: number }) => {
    const client = clientOf(command);
    const id = await resolveWorkload(client, typed);
    const before = await loadWorkload(client, id);
    await client.post<Workload>(`${workloadPath(id)}/restart`);
    if (options.wait) process.exitCode = await waitForRestart(client, before, options.timeout);
  });
}

async function waitForRestart(client: Client, before: Workload, timeoutMs: number | undefined): Promise<number> {
  const { id } = before;
  let latest = before;
  const end = await waitUntil(
    async () => {
      latest = await loadWorkload(client, id);
      if (latest.uid !== before.uid) return { kind: 'over', value: 1 };
      if (hasRestarted(before, latest)) return { kind: 'over', value: latest.status === 'failed' ? 1 : 0 };
      return { kind: 'waiting', progress: describeProgress(latest) };
    },
    { timeoutMs },
  );
  if (end.kind === 'over') {
    say(describeProgress(latest));
    return end.value;
  }
  say(`${id}: not restarted after ${formatMs(timeoutMs ?? 0)}; the restart goes on`);
  return exitCodeOfTimeout(latest);
}

/** Pure: every instance that is left has a new generation, which runs or has ended. */
export function hasRestarted(before: Workload, now: Workload): boolean {
  const old = new Map(before.instances?.map((instance) => [instance.id, instance.generation]));
  const settled = new Set(['running', 'completed', 'failed', 'stopped']);
  return (now.instances ?? []).every((i) => i.generation > (old.get(i.id) ?? 0) && settled.has(i.status));
}

/** `morch scale`: sets the number of replicas and waits until that many run. */
import type { Command } from 'commander';
import { isTerminal } from '../../contract/states';
import type { Workload } from '../../contract/workload';
import { clientOf } from '../client';
import { flag, integer } from '../flags';
import { say } from '../output';
import { describeProgress, loadWorkload, waitUntil } from '../progress';
import { formatMs, parseDurationMs } from '../quantities';
import { resolveWorkload, workloadPath } from '../resolve';
import { exitCodeOfTimeout, isUp } from '../waiting';

export function registerScale(program: Command): void {
  const command = program
    .command('scale')
    .description('set the number of replicas, and wait until they run')
    .argument('<id>', 'workload id, or a unique beginning of one')
    .argument('<n>', 'how many', integer(0, 1_000_000))
    .option('--no-wait', 'ask only, and do not wait')
    .option('--timeout <duration>', 'how long to wait at most, such as 1m (default: no limit)', flag(parseDurationMs))
    .addHelpText('after', '\nExample:\n  $ morch scale web 5');
  command.action(async (typed: string, replicas: number, options: { wait: boolean; timeout?: number }) => {
    const client = clientOf(command);
    const id = await resolveWorkload(client, typed);
    let latest = await client.post<Workload>(`${workloadPath(id)}/scale`, { replicas });
    if (!options.wait) return;
    const end = await waitUntil(
      async () => {
        latest = await loadWorkload(client, id);
        if (isScaled(latest, replicas)) return { kind: 'over', value: 0 };
        if (isTerminal(latest.status)) return { kind: 'over', value: latest.status === 'completed' ? 0 : 1 };
        return { kind: 'waiting', progress: describeProgress(latest) };
      },
      { timeoutMs: options.timeout },
    );
    if (end.kind === 'over') {
      say(describeProgress(latest));
      process.exitCode = end.value;
    } else {
      say(`${id}: not at ${replicas} after ${formatMs(options.timeout ?? 0)}; it goes on`);
      process.exitCode = exitCodeOfTimeout(latest);
    }
  });
}

/** Pure: that many instances are there, none of them on its way up or down. */
export function isScaled(workload: Workload, replicas: number): boolean {
  const total = Object.values(workload.counts).reduce((sum, count) => sum + count, 0);
  return total === replicas && isUp(workload);
}

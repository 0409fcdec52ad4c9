/** `morch stop`: stops workloads and waits until their processes are gone. */
import type { Command } from 'commander';
import { isTerminal } from '../../contract/states';
import type { Workload } from '../../contract/workload';
import { clientOf } from '../client';
import { flag } from '../flags';
import { say } from '../output';
import { describeProgress, loadUnlessGone, waitUntil } from '../progress';
import { formatMs, parseDurationMs } from '../quantities';
import { resolveWorkload, workloadPath } from '../resolve';

export function registerStop(program: Command): void {
  const command = program
    .command('stop')
    .description('stop workloads, and wait until their processes are gone')
    .argument('<id...>', 'workload ids, or unique beginnings')
    .option('--purge', 'also remove the record')
    .option('--no-wait', 'ask only, and do not wait')
    .option('--timeout <duration>', 'how long to wait at most, such as 30s (default: no limit)', flag(parseDurationMs))
    .addHelpText('after', '\nExamples:\n  $ morch stop web\n  $ morch stop web --purge --no-wait');
  command.action(async (typed: string[], options: { purge?: boolean; wait: boolean; timeout?: number }) => {
    const client = clientOf(command);
    const purge = options.purge ?? false;
    const asked: Workload[] = [];
    for (const text of typed) {
      const id = await resolveWorkload(client, text);
      asked.push(await client.delete<Workload>(workloadPath(id), purge ? { purge } : {}));
    }
    if (!options.wait) return;
    for (const { id, uid } of asked) {
      const end = await waitUntil(
        async () => {
          const workload = await loadUnlessGone(client, id);
          if (workload === undefined || workload.uid !== uid) {
            return { kind: 'over', value: purge ? `${id}: stopped and removed` : `${id}: gone` };
          }
          const line = describeProgress(workload);
          const over = isTerminal(workload.status) && !purge;
          return over ? { kind: 'over', value: line } : { kind: 'waiting', progress: line };
        },
        { timeoutMs: options.timeout },
      );
      if (end.kind === 'over') {
        say(end.value);
      } else {
        say(`${id}: not stopped after ${formatMs(options.timeout ?? 0)}; the stop goes on`);
        process.exitCode = 1;
      }
    }
  });
}

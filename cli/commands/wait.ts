/** `morch wait`: waits for a workload and ends with its exit code. */
import { type Command, Option } from 'commander';
import type { Workload } from '../../contract/workload';
import { type Client, clientOf } from '../client';
import { flag } from '../flags';
import { say } from '../output';
import { describeProgress, loadUnlessGone, waitUntil } from '../progress';
import { formatMs, parseDurationMs } from '../quantities';
import { resolveWorkload, workloadPath } from '../resolve';
import { decideWait, defaultGoal, exitCodeOfTimeout, GOALS, type Goal, STOPPED_BY_USER } from '../waiting';

export function registerWait(program: Command): void {
  const command = program
    .command('wait')
    .description('wait for a workload, and end with its exit code')
    .argument('<id>', 'workload id, or a unique beginning of one')
    .addOption(new Option('--for <goal>', 'what to wait for (default: batch terminal, else running)').choices(GOALS))
    .option('--timeout <duration>', 'how long at most, such as 30s (default: no limit)', flag(parseDurationMs))
    .option('-q, --quiet', 'show no progress')
    .addHelpText(
      'after',
      '\nExamples:\n  $ morch wait job --timeout 30s\n  $ morch wait web --for running\n\n' +
        "Ends with the workload's own exit code (128 + signal), 143 when a user stopped it;\non a timeout with 2 if it still cannot be placed, else 1.",
    );
  command.action(async (typed: string, options: { for?: Goal; timeout?: number; quiet?: boolean }) => {
    const client = clientOf(command);
    const workload = await client.get<Workload>(workloadPath(await resolveWorkload(client, typed)));
    process.exitCode = await waitForWorkload(client, workload, {
      goal: options.for,
      timeoutMs: options.timeout,
      quiet: options.quiet ?? false,
    });
  });
}

/** @returns the exit code that `morch wait` is to end with; says on stderr why it is none of the workload's */
export async function waitForWorkload(
  client: Client,
  { id, uid, kind }: Pick<Workload, 'id' | 'uid' | 'kind'>,
  options: { goal: Goal | undefined; timeoutMs: number | undefined; quiet: boolean },
): Promise<number> {
  const goal = options.goal ?? defaultGoal({ kind });
  let latest: Workload | undefined;
  const end = await waitUntil<{ exitCode: number; said: string }>(
    async () => {
      const workload = await loadUnlessGone(client, id);
      if (workload === undefined) {
        return { kind: 'over', value: { exitCode: STOPPED_BY_USER, said: `${id}: stopped and removed` } };
      }
      if (workload.uid !== uid) {
        return { kind: 'over', value: { exitCode: 1, said: `${id}: another workload has taken its id since` } };
      }
      latest = workload;
      const state = decideWait(workload, goal);
      const line = describeProgress(workload);
      if (state.kind === 'waiting') return { kind: 'waiting', progress: line };
      return { kind: 'over', value: { exitCode: state.exitCode, said: line } };
    },
    { timeoutMs: options.timeoutMs, ...(options.quiet ? { onProgress: () => undefined } : {}) },
  );
  if (end.kind === 'over') {
    if (!options.quiet) say(end.value.said);
    return end.value.exitCode;
  }
  const missed = goal === 'running' ? 'not all running' : 'not ended';
  say(`${id}: ${missed} after ${formatMs(options.timeoutMs ?? 0)}; it goes on`);
  return latest === undefined ? 1 : exitCodeOfTimeout(latest);
}

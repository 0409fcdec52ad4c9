/** `morch events`: what happens, as it happens. */
import { type Command, Option } from 'commander';
import { type Client, clientOf } from '../client';
import { integer } from '../flags';
import { followEvents } from '../followEvents';
import { jsonText, print, say, visible } from '../output';
import { resolveWorkload } from '../resolve';
import { eventLine } from '../tables';

export function registerEvents(program: Command): void {
  const command = program
    .command('events')
    .description('print events as they happen, until Ctrl-C')
    .option('--since <n>', 'first those after this number; 0: all that are kept', integer(0, Number.MAX_SAFE_INTEGER))
    .option('--workload <id>', 'of this workload only')
    .addOption(
      new Option('-o, --output <format>', 'lines, or a JSON object per line')
        .choices(['table', 'json'])
        .default('table'),
    )
    .addHelpText('after', '\nExamples:\n  $ morch events --since 0\n  $ morch events --workload web -o json');
  command.action(async (options: { since?: number; workload?: string; output: 'table' | 'json' }) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(0));
    const client = clientOf(command);
    const workload = options.workload === undefined ? undefined : await workloadOf(client, options.workload);
    await followEvents(client, options.since, (event) => {
      if (workload !== undefined && event.workload !== workload) return;
      print(options.output === 'json' ? jsonText(event) : visible(eventLine(event)));
    });
  });
}

/** A purged workload still has events, so an unknown id is taken as it is. */
async function workloadOf(client: Client, typed: string): Promise<string> {
  try {
    return await resolveWorkload(client, typed);
  } catch (error) {
    if ((error as { code?: unknown }).code === 'WORKLOAD_NOT_FOUND') {
      say(`there is no workload "${typed}" now; showing what was and will be`);
      return typed;
    }
    throw error;
  }
}

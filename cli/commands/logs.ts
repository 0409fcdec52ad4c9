/** `morch logs`: a workload's output, byte for byte. */
import { once } from 'node:events';
import { type Command, Option } from 'commander';
import { MorchError } from '../../contract/errors';
import { DROPPED_BYTES_HEADER } from '../../contract/routes';
import { sinceSchema } from '../../contract/since';
import { clientOf } from '../client';
import { flag, integer } from '../flags';
import { say } from '../output';
import { resolveInstances, workloadPath } from '../resolve';

interface LogsFlags {
  follow?: boolean;
  instance?: string;
  since?: string;
  stream?: string;
  tail?: number;
}

export function registerLogs(program: Command): void {
  const command = program
    .command('logs')
    .description("print a workload's output")
    .argument('<id>', 'workload or instance id (web, web.0), or a unique beginning of a workload id')
    .option('-f, --follow', 'go on until the workload has ended')
    .option('--instance <id>', 'of this instance only: web.0, or just 0')
    .addOption(new Option('--stream <stream>', 'which output (default: all)').choices(['stdout', 'stderr', 'all']))
    .option('--since <time>', 'what was written since: 10m, 1h30m, or 2026-01-31T08:00:00Z', flag(since))
    .option('--tail <lines>', 'the last lines only', integer(0, 10_000_000))
    .addHelpText(
      'after',
      '\nExamples:\n  $ morch logs web --tail 20 -f\n  $ morch logs web.0 --stream stderr --since 10m',
    );
  command.action(async (typed: string, { follow, instance, since, stream, tail }: LogsFlags) => {
    const client = clientOf(command);
    const asked = await resolveInstances(client, typed, instance);
    const query = { follow, since, stream, tail, instance: asked.instance };
    const answer = await client.stream(`${workloadPath(asked.id)}/logs`, query);
    tellMissing(answer.header('x-morch-incomplete'), typed);
    for await (const chunk of answer.body) {
      if (!process.stdout.write(chunk)) await once(process.stdout, 'drain');
    }
    tellMissing(answer.trailer('x-morch-incomplete'), typed);
    const dropped = DROPPED_BYTES_HEADER.toLowerCase();
    tellDropped(Number(answer.trailer(dropped) ?? answer.header(dropped) ?? 0));
  });
}

function tellMissing(nodes: string | undefined, typed: string): void {
  if (nodes === undefined) return;
  say(`morch: not all of it: no answer from ${nodes}; what was lost with a node: morch blackbox ${typed}`);
}

function tellDropped(bytes: number): void {
  if (bytes > 0) say(`morch: ${bytes} bytes of output were dropped: the node's disk was full or not writable`);
}

/** Checked here and passed on as it is: what it is relative to is the scheduler's clock. */
function since(text: string): string {
  const { error } = sinceSchema.safeParse(text);
  if (error !== undefined) throw new MorchError('INVALID_INPUT', `"${text}" ${error.issues[0]?.message}`);
  return text;
}

/** `morch logs`: a workload's output, byte for byte. */
import { once } from 'node:events';
import { type Command, Option } from 'commander';
import { clientOf } from '../client';
import { integer } from '../flags';
import { say } from '../output';
import { resolveWorkload, workloadPath } from '../resolve';

interface LogsFlags {
  follow?: boolean;
  instance?: string;
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
    .option('--tail <lines>', 'the last lines only', integer(0, 10_000_000))
    .addHelpText('after', '\nExamples:\n  $ morch logs web --tail 20 -f\n  $ morch logs web.0 --stream stderr');
  command.action(async (typed: string, { follow, instance, stream, tail }: LogsFlags) => {
    const client = clientOf(command);
    // A workload's id has no dot in it, an instance's has one.
    const dot = typed.indexOf('.');
    const id = await resolveWorkload(client, dot > 0 ? typed.slice(0, dot) : typed);
    const slot = instance?.slice(instance.indexOf('.') + 1) ?? (dot > 0 ? typed.slice(dot + 1) : undefined);
    const query = { follow, stream, tail, instance: slot === undefined ? undefined : `${id}.${slot}` };
    const answer = await client.stream(`${workloadPath(id)}/logs`, query);
    const missing = answer.header('x-morch-incomplete');
    if (missing !== undefined) say(`morch: not all of it: no answer from ${missing}`);
    for await (const chunk of answer.body) {
      if (!process.stdout.write(chunk)) await once(process.stdout, 'drain');
    }
  });
}

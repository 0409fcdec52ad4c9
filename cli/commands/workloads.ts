/** `morch workloads`: lists the workloads. */
import { type Command, Option } from 'commander';
import { WORKLOAD_STATUSES } from '../../contract/states';
import type { Workload } from '../../contract/workload';
import { clientOf } from '../client';
import { flag, parsePair } from '../flags';
import { addOutputOptions, outputOptionsOf, printList } from '../output';
import { flagNames, inFlags } from '../problems';
import { WORKLOADS } from '../tables';
import { watchList } from '../watch';

interface WorkloadsFlags {
  status?: string;
  node?: string;
  label?: [string, string];
  watch?: boolean;
}

export function registerWorkloads(program: Command): void {
  const command = program
    .command('workloads')
    .description('list the workloads')
    .addOption(new Option('--status <status>', 'only these').choices(WORKLOAD_STATUSES))
    .option('--node <id>', 'only those with an instance on this node')
    .option('--label <key=value>', 'only those with this label', flag(parsePair))
    .option('-w, --watch', 'go on, showing changes, until Ctrl-C');
  addOutputOptions(command, { list: true })
    .addHelpText(
      'after',
      '\nExamples:\n  $ morch workloads --status running --node n1\n  $ morch workloads -q --label app=web',
    )
    .action(async ({ status, node, label, watch }: WorkloadsFlags) => {
      const client = clientOf(command);
      const query = { status, node: node?.replace(/^node\//, ''), label: label?.join('=') };
      const load = () =>
        client.list<Workload>('/workloads', 'workloads', query).catch((error: unknown) => {
          throw inFlags(error, flagNames(command));
        });
      if (watch === true) await watchList(load, WORKLOADS, outputOptionsOf(command));
      else printList(await load(), WORKLOADS, outputOptionsOf(command));
    });
}

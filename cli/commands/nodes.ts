/** `morch nodes`: lists the nodes. */
import type { Command } from 'commander';
import type { Node } from '../../contract/node';
import { clientOf } from '../client';
import { addOutputOptions, outputOptionsOf, printList } from '../output';
import { NODES } from '../tables';
import { watchList } from '../watch';

export function registerNodes(program: Command): void {
  const command = program
    .command('nodes')
    .description('list the nodes')
    .option('-w, --watch', 'go on, showing changes, until Ctrl-C');
  addOutputOptions(command, { list: true })
    .addHelpText('after', '\nExamples:\n  $ morch nodes -o wide\n  $ morch nodes -w')
    .action(async (options: { watch?: boolean }) => {
      const client = clientOf(command);
      const load = () => client.list<Node>('/nodes', 'nodes');
      if (options.watch === true) await watchList(load, NODES, outputOptionsOf(command));
      else printList(await load(), NODES, outputOptionsOf(command));
    });
}

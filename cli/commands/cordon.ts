/** `morch cordon`: keeps new work off a node. */
import type { Command } from 'commander';
import type { Node } from '../../contract/node';
import { clientOf } from '../client';
import { say } from '../output';
import { nodePath, resolveNode } from '../resolve';

export function registerCordon(program: Command): void {
  const command = program
    .command('cordon')
    .description('place nothing new on a node; what runs there stays')
    .argument('<node>', 'node id, or a unique beginning of one')
    .addHelpText('after', '\nExample:\n  $ morch cordon n1');
  command.action(async (typed: string) => {
    const client = clientOf(command);
    const id = await resolveNode(client, typed);
    await client.post<Node>(`${nodePath(id)}/cordon`);
    say(`${id}: cordoned`);
  });
}

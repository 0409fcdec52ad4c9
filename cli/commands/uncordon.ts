/** `morch uncordon`: ends a cordon, a drain or a quarantine. */
import type { Command } from 'commander';
import type { Node } from '../../contract/node';
import { clientOf } from '../client';
import { say } from '../output';
import { nodePath, resolveNode } from '../resolve';

export function registerUncordon(program: Command): void {
  const command = program
    .command('uncordon')
    .description('place work on a node again; ends a cordon, a drain or a quarantine')
    .argument('<node>', 'node id, or a unique beginning of one')
    .addHelpText('after', '\nExample:\n  $ morch uncordon n1');
  command.action(async (typed: string) => {
    const client = clientOf(command);
    const id = await resolveNode(client, typed);
    await client.post<Node>(`${nodePath(id)}/uncordon`);
    say(`${id}: open to new work`);
  });
}

/** `morch history`: what happened to a workload, oldest first. */
import type { Command } from 'commander';
import type { MorchEvent } from '../../contract/events';
import { clientOf } from '../client';
import { addOutputOptions, outputOptionsOf, print, renderOne, say, visible } from '../output';
import { resolveWorkload, workloadPath } from '../resolve';
import { eventLine } from '../tables';

export function registerHistory(program: Command): void {
  const command = program
    .command('history')
    .description('what happened to a workload, oldest first')
    .argument('<id>', 'workload id, or a unique beginning of one')
    .addHelpText('after', '\nExample:\n  $ morch history web');
  addOutputOptions(command, { list: false }).action(async (typed: string) => {
    const client = clientOf(command);
    const id = await resolveWorkload(client, typed);
    const events = await client.list<MorchEvent>(`${workloadPath(id)}/history`, 'events');
    print(renderOne(events, outputOptionsOf(command), () => events.map((e) => `${visible(eventLine(e))}\n`).join('')));
    if (events.length === 0) say(`no events of ${id} are kept`);
  });
}

/** `morch drain`: moves a node's work elsewhere and waits until it is empty. */
import type { Command } from 'commander';
import type { Node, NodeDetail } from '../../contract/node';
import { clientOf } from '../client';
import { flag, LONGEST, within } from '../flags';
import { say } from '../output';
import { waitUntil } from '../progress';
import { formatMs, parseDurationMs } from '../quantities';
import { nodePath, resolveNode } from '../resolve';

export function registerDrain(program: Command): void {
  const command = program
    .command('drain')
    .description("move a node's work to other nodes, and wait until it is empty")
    .argument('<node>', 'node id, or a unique beginning of one')
    .option(
      '--deadline <duration>',
      'when what is left is stopped, to be started elsewhere (default: 1h)',
      within(parseDurationMs, '1ms', LONGEST),
    )
    .option('--no-wait', 'ask only, and do not wait')
    .option('--timeout <duration>', 'how long to wait at most, such as 5m (default: no limit)', flag(parseDurationMs))
    .addHelpText('after', '\nExample:\n  $ morch drain n1 --deadline 10m\n\n`morch uncordon` ends it.');
  command.action(async (typed: string, options: { deadline?: number; wait: boolean; timeout?: number }) => {
    const client = clientOf(command);
    const id = await resolveNode(client, typed);
    await client.post<Node>(
      `${nodePath(id)}/drain`,
      options.deadline === undefined ? {} : { deadlineMs: options.deadline },
    );
    if (!options.wait) return;
    const end = await waitUntil(
      async () => {
        const node = await client.get<NodeDetail>(nodePath(id));
        if (node.drain === 'draining') return { kind: 'waiting', progress: describeDrain(node) };
        return { kind: 'over', value: node.drain === 'drained' };
      },
      { timeoutMs: options.timeout },
    );
    if (end.kind === 'timeout') say(`${id}: not drained after ${formatMs(options.timeout ?? 0)}; the drain goes on`);
    else say(end.value ? `${id}: drained` : `${id}: the drain was ended before it was empty`);
    process.exitCode = end.kind === 'over' && end.value ? 0 : 1;
  });
}

function describeDrain({ id, instances, instanceCount, statusReason }: NodeDetail): string {
  const told = instances.filter((instance) => instance.statusReason !== null);
  // What a daemon waits for are the others: its instances are named after their nodes.
  const first = told.find((instance) => !instance.id.endsWith(`.${id}`)) ?? told[0];
  const more = told.length > 1 ? `, and ${told.length - 1} more` : '';
  const reason = statusReason ?? (first === undefined ? '' : `${first.id}: ${first.statusReason}${more}`);
  return `${id}: draining, ${instanceCount} left${reason === '' ? '' : ` (${reason})`}`;
}

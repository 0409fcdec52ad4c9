/** `morch health`: the scheduler's word on the whole; ends with 1 when it is degraded. */
import type { Command } from 'commander';
import type { BareHealth, Health } from '../../contract/health';
import { clientOf } from '../client';
import { addOutputOptions, outputOptionsOf, paintStatus, print, renderFields, renderOne } from '../output';
import { formatAge } from '../quantities';

export function registerHealth(program: Command): void {
  const command = program
    .command('health')
    .description('whether all is well; exit code 1 if not')
    .addHelpText('after', '\nExample:\n  $ morch health -o json');
  addOutputOptions(command, { list: false }).action(async () => {
    const options = outputOptionsOf(command);
    const client = clientOf(command);
    const health = await client.get<Health | BareHealth>('/health');
    if (!('nodes' in health)) throw client.needsToken();
    print(renderOne(health, options, () => renderHealth(health, options.colour)));
    if (health.status !== 'healthy') process.exitCode = 1;
  });
}

/** Shared with `status`, as its head. */
export function renderHealth(health: Health, colour: boolean): string {
  const status = colour ? paintStatus(health.status) : health.status;
  return renderFields([
    ['status', status],
    ...health.reasons.map((reason) => ['because', reason] as const),
    ['version', health.version],
    ['cluster', `${health.clusterId}, epoch ${health.epoch}`],
    ['up', formatAge(health.uptimeMs)],
    ['store', `${health.store.kind}, ${health.store.writable ? 'writable' : 'NOT writable'}`],
    ['nodes', `${health.nodes.healthy} of ${health.nodes.total} healthy`],
    ['workloads', `${health.workloads.running} of ${health.workloads.total} running`],
  ]);
}

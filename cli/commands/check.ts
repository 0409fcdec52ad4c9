/** `morch check`: has every node probed now; ends with 1 when one fails. */
import type { Command } from 'commander';
import type { HealthCheck } from '../../contract/health';
import { clientOf } from '../client';
import { addOutputOptions, type Listing, outputOptionsOf, printList } from '../output';
import { formatMs } from '../quantities';

const RESULTS: Listing<HealthCheck['results'][number]> = {
  noun: 'node',
  id: (result) => result.node,
  columns: [
    { title: 'NODE', value: (result) => result.node },
    { title: 'ANSWER', value: (result) => (result.ok ? 'ok' : 'failed'), status: true },
    { title: 'LATENCY', value: (result) => formatMs(result.latencyMs), align: 'right' },
    { title: 'ERROR', value: (result) => result.error ?? '' },
  ],
};

export function registerCheck(program: Command): void {
  const command = program
    .command('check')
    .description('probe every node now; exit code 1 if one fails')
    .addHelpText('after', '\nExample:\n  $ morch check');
  addOutputOptions(command, { list: true }).action(async () => {
    const { results } = await clientOf(command).post<HealthCheck>('/health/check');
    printList(results, RESULTS, outputOptionsOf(command));
    if (results.some((result) => !result.ok)) process.exitCode = 1;
  });
}

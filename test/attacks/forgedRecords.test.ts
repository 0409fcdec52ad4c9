/**
 * Somebody who is root on one node writes into its agent's records what they like, and starts the agent again: a later term,
 * a store that had been further, another program, more replicas, a secret. None of that reaches the scheduler's records or another node.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Health } from '../../contract/health';
import { changeIntent, readRecords } from '../support/agentRecords';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(2);
}, 60_000);
afterAll(() => cluster.close(), 60_000);

/** Of the agent that was taken over. */
const directory = () => cluster.agents.get('n2')!.dataDir;
function change(file: string, edit: (record: Record<string, unknown>) => object): void {
  const record = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...record, ...edit(record) }));
}
const health = async () => (await cluster.request<Health>('GET', '/health')).body;
const CANARY = 'canary-of-the-forged';

/** It is heard, and some probes later nothing has come of it: of a word that counts, the scheduler says so at once. */
async function withoutEffect(): Promise<void> {
  const before = await health();
  const isHeard = async () => (await cluster.logOf('scheduler')).includes('none of this cluster has been');
  await until(isHeard, { timeoutMs: 20_000, everyMs: 100, what: 'the agent is heard' });
  const sinceMs = performance.now();
  await until(
    async () => {
      const { epoch, clusterId } = await health();
      expect({ epoch, clusterId }).toEqual({ epoch: before.epoch, clusterId: before.clusterId });
      return performance.now() - sinceMs > 7_000;
    },
    { timeoutMs: 20_000, everyMs: 250, what: 'it was probed some times' },
  );
  const log = await cluster.logOf('scheduler');
  expect(log).not.toMatch(/stands down|learning from the agents|has lost its latest records/);
}

test('a program of theirs runs nowhere else, has no secret of others, and takes no other node away', async () => {
  expect((await cluster.request('PUT', '/secrets/db.password', { value: CANARY })).status).toBe(201);
  const onN2 = { strategy: 'spread', constraints: [{ label: 'node', op: 'in', values: ['n2'] }] };
  const seed = { id: 'seed', kind: 'service', command: ['sleep', '1000'], onDisconnect: 'keep' };
  await cluster.submit({ ...seed, placement: { ...onN2, constraints: [] }, replicas: 2 });
  const before = await cluster.untilRunning('seed', 2);
  expect(before.instances.map(({ node }) => node).sort()).toEqual(['n1', 'n2']);

  await end(cluster.agents.get('n2')!.child, 'SIGKILL');
  const bid = (by: number) => (epoch: unknown) => Number(epoch) + by;
  change(path.join(directory(), 'agent.json'), ({ epoch, mark, standing, furthest }) => ({
    epoch: bid(50)(epoch),
    mark: bid(1_000_000)(mark),
    standing: { ...(standing as object), epoch: bid(50)(epoch) },
    furthest: { ...(furthest as object), mark: bid(1_000_000)(mark) },
  }));
  const [instance] = (await readRecords(directory())).keys();
  await changeIntent(directory(), instance!, ({ spec }) => {
    const { workload, ...more } = spec as { workload: object };
    const command = ['sh', '-c', 'echo OWNED $MORCH_NODE $DBP; sleep 1000'];
    const secrets = [{ name: 'db.password', env: 'DBP' }];
    return { spec: { ...more, command, secrets, workload: { ...workload, replicas: 4, version: 99, revision: 99 } } };
  });
  await cluster.startAgent('n2', { onExit: 'keep' });
  await withoutEffect();

  const { version, replicas, command } = await cluster.workload('seed');
  expect({ version, replicas, command }).toEqual({ version: before.version, replicas: 2, command: seed.command });
  await cluster.submit({ id: 'goes-on', command: ['true'] });
  await cluster.untilStatus('goes-on', 'completed');
  const output = await (await cluster.fetch('/workloads/seed/logs')).text();
  expect(output).not.toContain('OWNED n1');
  expect(output).not.toContain(CANARY);
}, 120_000);

test('a term beyond all others takes nothing from the terms to come', async () => {
  await end(cluster.agents.get('n2')!.child, 'SIGKILL');
  change(path.join(directory(), 'agent.json'), () => ({ epoch: 2 ** 31 - 1 }));
  await cluster.startAgent('n2', { onExit: 'keep' });
  await withoutEffect();
  const { epoch } = await health();
  await end(cluster.scheduler.child, 'SIGKILL');
  await cluster.startScheduler();
  expect((await health()).epoch).toBe(epoch + 1);
  await cluster.untilNode('n1', 'healthy', 30_000);
}, 120_000);

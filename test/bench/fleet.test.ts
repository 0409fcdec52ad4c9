/**
 * That simulated agents (bench/fleet) pass for agents, to a real scheduler: what a fleet of them is used to measure is then
 * what agents would give. All that they say and hear is checked against the contract.
 */
import { rm } from 'node:fs/promises';
import type { Node } from '../../contract/node';
import type { Instance } from '../../contract/workload';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

type Fault = 'hang' | 'cut' | 'crash' | 'die';
type LiveOne = { instanceId: string; generation: number; run: number };

/** The part of bench/fleet/fleet.cjs that is used here. */
interface Fleet {
  readonly directory: string;
  join(scheduler: { port: number; joinToken: string }): Promise<void>;
  fail(fault: Fault, numbers: number[]): Promise<void>;
  heal(numbers: number[]): Promise<void>;
  live(): Promise<Map<string, LiveOne[]>>;
  counts(): Promise<Record<string, number>>;
  behave(behaviour: { exitRate?: number; startMs?: number }): Promise<void>;
  endRun(instanceId: string, code: number): Promise<boolean>;
  close(): Promise<string>;
}

const { Fleet } = require('../../bench/fleet/fleet.cjs') as { Fleet: { start(options: object): Promise<Fleet> } };

const NODES = 6;

let cluster: Cluster;
let fleet: Fleet;

beforeAll(async () => {
  cluster = await Cluster.start(0, { schedulerArgs: { profile: 'fast', health: { leaseMs: 3_000 } } });
  const scheduler = { port: cluster.scheduler.port, joinToken: cluster.tokens.join };
  fleet = await Fleet.start({ nodes: NODES, processes: 2, checked: true });
  await fleet.join(scheduler);
  await cluster.untilHealthy(NODES);
}, 30_000);

afterEach(async () => {
  await fleet.heal([...Array(NODES).keys()]);
  await cluster.untilHealthy(NODES);
  const workloads = async () =>
    (await cluster.request<{ workloads: { id: string }[] }>('GET', '/workloads')).body.workloads;
  for (const { id } of await workloads()) await cluster.request('DELETE', `/workloads/${id}?purge=true`);
  await until(async () => (await copies()).length === 0, { what: 'nothing is left on any simulated agent' });
  await until(async () => (await workloads()).length === 0, { what: 'the scheduler has heard that all has ended' });
});

afterAll(async () => {
  const said = await fleet.close();
  await rm(fleet.directory, { recursive: true });
  await cluster.close();
  expect(said).toBe('');
}, 30_000);

/** All that lives on agents, of one workload or of all. */
async function copies(id = ''): Promise<(LiveOne & { node: string })[]> {
  const live = await fleet.live();
  const all = [...live].flatMap(([node, ones]) => ones.map((one) => ({ node, ...one })));
  return all.filter(({ instanceId }) => instanceId.startsWith(id === '' ? '' : `${id}.`));
}

const submit = (id: string, more: object = {}) =>
  cluster.submit({ id, kind: 'service', command: ['sleep', '1000000'], ...more });

const numberOf = (node: string | null) => Number(node!.slice(1)) - 1;

const asHeld = (instances: Instance[]) =>
  instances.map(({ id, node, generation, run }) => ({ instanceId: id, node: node!, generation, run })).sort(byId);
const byId = (a: { instanceId: string }, b: { instanceId: string }) => (a.instanceId < b.instanceId ? -1 : 1);

test('they join with labels, capacity and measurements, and answer a check', async () => {
  const { body } = await cluster.request<{ nodes: Node[] }>('GET', '/nodes');
  expect(body.nodes.map(({ id }) => id)).toEqual(['n1', 'n2', 'n3', 'n4', 'n5', 'n6']);
  expect(body.nodes[3]).toMatchObject({ status: 'healthy', labels: { zone: 'z3' }, capacity: { cpuMillis: 64_000 } });
  const checked = await cluster.request<{ results: { ok: boolean }[] }>('POST', '/health/check');
  expect(checked.body.results.map(({ ok }) => ok)).toEqual(Array(NODES).fill(true));
});

test('they start what they are told to, spread over all, and tell of it', async () => {
  await submit('web', { replicas: 30 });
  const { instances } = await cluster.untilRunning('web', 30);
  expect(await copies('web')).toHaveLength(30);
  expect((await copies('web')).sort(byId)).toEqual(expect.arrayContaining(asHeld(instances)));
  const perNode = [...(await fleet.live()).values()].map((ones) => ones.length);
  expect(perNode).toEqual(Array(NODES).fill(5));
  expect((await fleet.counts()).running).toBe(30);
});

test('of workloads that are submitted at once each is spread over all', async () => {
  await Promise.all(['web', 'api', 'job'].map((id) => submit(id, { replicas: 12 })));
  for (const id of ['web', 'api', 'job']) {
    const { instances } = await cluster.untilRunning(id, 12);
    const nodes = instances.map(({ node }) => node!).sort();
    expect(nodes).toEqual(['n1', 'n1', 'n2', 'n2', 'n3', 'n3', 'n4', 'n4', 'n5', 'n5', 'n6', 'n6']);
  }
});

test('they restart a service in place, and tell the exit', async () => {
  await submit('web');
  const { instances } = await cluster.untilRunning('web', 1);
  const before = instances[0]!;
  expect(await fleet.endRun('web.0', 7)).toBe(true);
  const after = await cluster.untilWorkload('web', 'is in its second run', (w) => w.instances[0]?.run === 2);
  const again = await cluster.untilRunning('web', 1);
  expect(after.instances[0]!.exit).toMatchObject({ code: 7, signal: null });
  expect(again.instances[0]).toMatchObject({ node: before.node, generation: before.generation, run: 2 });
  expect(again.instances[0]!.pid).not.toBe(before.pid);
});

test('such a share of what runs ends by itself as they are told', async () => {
  await submit('web', { replicas: 12, restart: { backoffMs: 10 } });
  await cluster.untilRunning('web', 12);
  await fleet.behave({ exitRate: 1 });
  const hit = await cluster.untilWorkload('web', 'has had exits', ({ instances }) => instances.some((i) => i.run > 1));
  await fleet.behave({ exitRate: 0 });
  expect(hit.instances.find(({ run }) => run > 1)!.exit).toMatchObject({ code: 1, signal: null });
  await cluster.untilRunning('web', 12);
});

test('they run jobs to their ends: done, failed after the attempts there are, not there to be started', async () => {
  const restart = { attempts: 2, backoffMs: 10 };
  await submit('good', { kind: 'batch', command: ['true'] });
  await submit('bad', { kind: 'batch', command: ['sh', '-c', 'exit 3'], restart });
  await submit('missing', { kind: 'batch', command: ['/missing/program'], restart });
  await cluster.untilStatus('good', 'completed');
  const bad = await cluster.untilStatus('bad', 'failed');
  expect(bad.instances[0]).toMatchObject({ run: 2, attempts: 2, exit: { code: 3 } });
  const missing = await cluster.untilStatus('missing', 'failed');
  expect(missing.instances[0]).toMatchObject({ generation: 2, exit: null });
  expect(missing.instances[0]!.statusReason).toMatch('/missing/program could not be started');
});

test.each(['die', 'hang', 'cut'] as const)(
  'what ran on one that fails (%s) runs elsewhere after the verdict, and once when it is back',
  async (fault) => {
    await submit('web', { replicas: 12 });
    const { instances } = await cluster.untilRunning('web', 12);
    const lost = instances.filter(({ node }) => node === 'n2').map(({ id }) => id);
    expect(lost).toHaveLength(2);
    await fleet.fail(fault, [1]);
    await cluster.untilNode('n2', 'lost');
    const moved = await cluster.untilWorkload('web', 'runs elsewhere', (w) => w.counts.running === 12);
    for (const { id, node, generation } of moved.instances) {
      expect(node).not.toBe('n2');
      expect(generation).toBe(lost.includes(id) ? 2 : 1);
    }
    await fleet.heal([1]);
    await cluster.untilNode('n2', 'healthy');
    await until(async () => (await copies('web')).length === 12, { what: 'each instance lives once' });
    const now = await cluster.workload('web');
    expect((await copies('web')).sort(byId)).toEqual(asHeld(now.instances));
  },
);

test('instances survive the crash of their agent, which takes them over', async () => {
  await submit('web', { replicas: 6 });
  const before = await cluster.untilRunning('web', 6);
  await fleet.fail('crash', [3]);
  await fleet.heal([3]);
  await until(async () => (await fleet.counts()).connected === NODES, { what: 'all are connected' });
  await cluster.untilHealthy(NODES);
  const after = await cluster.untilRunning('web', 6);
  const processes = (of: Instance[]) => of.map(({ usage: _, ...one }) => one);
  expect(processes(after.instances)).toEqual(processes(before.instances));
});

test('of a fenced instance no two generations live at once, whatever its agent suffers', async () => {
  await submit('web', { onDisconnect: 'stop' });
  const { instances } = await cluster.untilRunning('web', 1);
  const home = numberOf(instances[0]!.node);
  await fleet.fail('cut', [home]);
  let atMost = 0;
  await until(
    async () => {
      const live = await copies('web');
      atMost = Math.max(atMost, live.length);
      return live.some(({ generation }) => generation === 2);
    },
    { timeoutMs: 10_000, what: 'the second generation lives' },
  );
  expect(atMost).toBe(1);
  await cluster.untilRunning('web', 1);
});

test('a scheduler that is started anew finds them and all that runs as it was', async () => {
  await submit('web', { replicas: 12 });
  const before = await cluster.untilRunning('web', 12);
  await end(cluster.scheduler.child, 'SIGKILL');
  await cluster.startScheduler();
  await cluster.untilHealthy(NODES);
  const after = await cluster.untilRunning('web', 12);
  expect(asHeld(after.instances)).toEqual(asHeld(before.instances));
  expect((await fleet.counts()).starts).toBeGreaterThanOrEqual(12);
  expect(await copies('web')).toHaveLength(12);
});

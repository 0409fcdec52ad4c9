/** A scheduler that has lost its records, all of them or the latest, learns from its agents what runs, and takes it over. */
import { cp, mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Health } from '../../contract/health';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
const settings = { schedulerArgs: { profile: 'fast', health: { leaseMs: 3_000 } } };
beforeEach(async () => {
  cluster = await Cluster.start(2, settings);
}, 60_000);
afterEach(() => cluster.close(), 60_000);

const SLEEP = { kind: 'service', command: ['sleep', '1000'], stop: { graceMs: 300 } };
const health = async () => (await cluster.request<Health>('GET', '/health')).body;
const untilRebuilt = () =>
  until(async () => !(await health()).reasons.some((reason) => reason.includes('learning')), {
    what: 'what runs is known again',
    timeoutMs: 40_000,
  });
const copies = async (id: string) =>
  (await cluster.workload(id)).instances.map(({ id: name, node, pid, generation, run, status }) => [
    name,
    node,
    pid,
    generation,
    run,
    status,
  ]);
const schedulerDir = () => path.join(cluster.directory, 'scheduler');
const savedDir = () => path.join(cluster.directory, 'saved');

async function killScheduler(): Promise<void> {
  await end(cluster.scheduler.child, 'SIGKILL');
}

test('one on an empty directory takes over the cluster of its agents, and stops nothing', async () => {
  const web = { ...SLEEP, resources: { cpuMillis: 100, memoryBytes: 2 ** 20 }, env: { TEST_MARK: cluster.mark } };
  await cluster.submit({ id: 'web', ...web, replicas: 6 });
  await cluster.submit({ id: 'job', command: ['sleep', '1000'], onDisconnect: 'keep' });
  await cluster.untilRunning('job', 1);
  await cluster.untilRunning('web', 6);
  // No start tells the agents of these.
  await cluster.request('PUT', '/workloads/web', { ...web, replicas: 6, labels: { tier: 'front' } });
  await cluster.request('POST', '/workloads/web/scale', { replicas: 4 });
  const { uid, version } = await cluster.untilWorkload('web', 'is scaled', (w) => w.instances.length === 4);
  expect(version).toBe(3);
  const toldTo = async (node: string) => readFile(path.join(cluster.directory, node, 'workloads.json'), 'utf8');
  await until(async () => (await toldTo('n1').catch(() => '')).includes('"version":3'), { what: 'an agent knows it' });
  const before = [await copies('web'), await copies('job')];
  const { clusterId, epoch } = await health();
  await killScheduler();
  await rm(schedulerDir(), { recursive: true });
  await cluster.startScheduler();
  await cluster.untilHealthy(2, 30_000);
  const rebuilding = await health();
  expect(rebuilding.clusterId).toBe(clusterId);
  expect(rebuilding.epoch).toBeGreaterThan(epoch);
  // What comes now waits.
  await cluster.submit({ id: 'new', ...SLEEP });
  await untilRebuilt();
  await cluster.untilRunning('new', 1);
  expect([await copies('web'), await copies('job')]).toEqual(before);
  expect(await cluster.workload('web')).toMatchObject({
    uid,
    version,
    kind: 'service',
    replicas: 4,
    labels: { tier: 'front' },
    resources: { cpuMillis: 100 },
    counts: { running: 4 },
  });
  // What may run unseen somewhere has a smaller generation than what is placed from now on.
  const restarted = await cluster.request('POST', '/workloads/job/restart');
  expect(restarted.status).toBe(202);
  const { instances } = await cluster.untilWorkload(
    'job',
    'is restarted',
    (w) => w.instances[0]!.generation > 1 && w.status === 'running',
  );
  expect(instances[0]!.generation).toBeGreaterThan(1_000);
  expect(await cluster.workloadPids()).toHaveLength(6);
}, 120_000);

test('one on an older copy of its directory learns what came later', async () => {
  await cluster.submit({ id: 'early', ...SLEEP });
  await cluster.submit({ id: 'moved', ...SLEEP });
  await cluster.untilRunning('moved', 1);
  await killScheduler();
  await mkdir(savedDir());
  await cp(schedulerDir(), savedDir(), { recursive: true });
  await cluster.startScheduler();
  await cluster.untilHealthy(2);
  await cluster.submit({ id: 'late', ...SLEEP, replicas: 2 });
  await cluster.untilRunning('late', 2);
  await cluster.request('POST', '/workloads/moved/restart');
  await cluster.untilWorkload(
    'moved',
    'is restarted',
    (w) => w.instances[0]!.generation === 2 && w.status === 'running',
  );
  const before = [await copies('early'), await copies('moved'), await copies('late')];
  await killScheduler();
  await rm(schedulerDir(), { recursive: true });
  await cp(savedDir(), schedulerDir(), { recursive: true });
  await cluster.startScheduler();
  await cluster.untilHealthy(2, 30_000);
  await untilRebuilt();
  await cluster.untilRunning('late', 2);
  expect([await copies('early'), await copies('moved'), await copies('late')]).toEqual(before);
  expect(await cluster.workloadPids()).toHaveLength(4);
}, 120_000);

test('one whose machine was set back to an earlier moment finds out by what its agents were told', async () => {
  await cluster.submit({ id: 'early', ...SLEEP });
  await cluster.untilRunning('early', 1);
  // As a snapshot of the machine takes it: within the term that agents know.
  await cp(schedulerDir(), savedDir(), { recursive: true });
  await cluster.submit({ id: 'late', ...SLEEP, replicas: 2 });
  await cluster.untilRunning('late', 2);
  const before = [await copies('early'), await copies('late')];
  // Told with the next acknowledgement.
  const told = async () => (await cluster.history('late')).length;
  const events = await told();
  await cluster.request('PUT', '/workloads/late', {
    ...SLEEP,
    env: { TEST_MARK: cluster.mark },
    replicas: 2,
    labels: { a: 'b' },
  });
  await until(async () => (await told()) > events, { what: 'the change is there' });
  const changedAtMs = performance.now();
  await until(() => performance.now() - changedAtMs > 1_000, { what: 'some heartbeats have been acknowledged' });
  await killScheduler();
  await rm(schedulerDir(), { recursive: true });
  await cp(savedDir(), schedulerDir(), { recursive: true });
  await cluster.startScheduler();
  await cluster.untilHealthy(2, 30_000);
  await untilRebuilt();
  await cluster.untilRunning('late', 2);
  expect([await copies('early'), await copies('late')]).toEqual(before);
  expect(await cluster.workloadPids()).toHaveLength(3);
}, 120_000);

test('one that is started on a copy of the directory of a living one stands down, and takes no changes', async () => {
  await cluster.submit({ id: 'web', ...SLEEP, replicas: 3 });
  await cluster.untilRunning('web', 3);
  const before = await copies('web');
  const { epoch } = await health();
  await cp(schedulerDir(), savedDir(), { recursive: true });
  const second = await cluster.startSecondScheduler(savedDir());
  const ready = async () => (await fetch(`${second.url}/readyz?verbose`)).text();
  await until(async () => (await ready()).includes('[-]leading'), { what: 'the second stands down' });
  const refused = await fetch(`${second.url}/workloads/web`, { method: 'DELETE' });
  expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([503, 'NOT_LEADING']);
  // It has looked at every node again and again by now.
  const sinceMs = performance.now();
  await until(() => performance.now() - sinceMs > 3_000, { what: 'three sweeps are over' });
  expect(await health()).toMatchObject({ status: 'healthy', epoch });
  expect(await copies('web')).toEqual(before);
  await cluster.request('POST', '/workloads/web/scale', { replicas: 4 });
  await cluster.untilRunning('web', 4);
  await end(second.child, 'SIGKILL');
}, 120_000);

test('of two on copies of one directory one commands; the other stands down, and follows when that is gone', async () => {
  await cluster.submit({ id: 'web', ...SLEEP, replicas: 3 });
  await cluster.untilRunning('web', 3);
  const before = await copies('web');
  await killScheduler();
  await cp(schedulerDir(), savedDir(), { recursive: true });
  await cluster.startScheduler();
  await cluster.untilHealthy(2);
  const second = await cluster.startSecondScheduler(savedDir());
  const reasons = async (url: string) => ((await (await fetch(`${url}/health`)).json()) as Health).reasons.join('\n');
  await until(async () => (await reasons(second.url)).includes('stands down'), { what: 'the second stands down' });
  expect(await copies('web')).toEqual(before);
  await killScheduler();
  await until(async () => !(await reasons(second.url)).includes('node n'), {
    what: 'the second leads',
    timeoutMs: 60_000,
  });
  await cluster.startScheduler();
  await until(async () => (await reasons(cluster.url)).includes('stands down'), {
    what: 'the first stands down',
    timeoutMs: 20_000,
  });
  await end(second.child, 'SIGKILL');
  await cluster.untilHealthy(2, 60_000);
  await untilRebuilt();
  expect(await copies('web')).toEqual(before);
  expect(await cluster.workloadPids()).toHaveLength(3);
}, 180_000);

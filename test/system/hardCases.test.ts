/** Sequences that once went wrong, or would in a simpler scheduler; each on real processes. */
import type { Node } from '../../contract/node';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start(2);
}, 60_000);
afterEach(() => cluster.close(), 60_000);

const SLEEP = { kind: 'service', command: ['sleep', '1000'] };
const node = async (id: string) => (await cluster.request<Node>('GET', `/nodes/${id}`)).body;
const noProcess = () =>
  until(async () => (await cluster.workloadPids()).length === 0, { timeoutMs: 15_000, what: 'no process is left' });

it('stops a copy that comes back after its node was forgotten by force', async () => {
  await cluster.request('POST', '/nodes/n2/cordon');
  await cluster.submit({ id: 'web', ...SLEEP });
  await cluster.untilRunning('web', 1);
  const { child } = cluster.agents.get('n1')!;
  child.kill('SIGSTOP');
  await cluster.untilNode('n1', 'lost');
  await cluster.request('DELETE', '/workloads/web');
  expect((await cluster.request('DELETE', '/nodes/n1')).body.code).toBe('NODE_IN_USE');
  expect((await cluster.request('DELETE', '/nodes/n1?force=true')).status).toBe(204);
  await cluster.untilStatus('web', 'stopped');
  child.kill('SIGCONT');
  await noProcess();
  expect((await cluster.workload('web')).status).toBe('stopped');
  expect(cluster.scheduler.child.exitCode).toBeNull();
}, 60_000);

it('keeps its books through scaling up and down faster than starts are answered', async () => {
  await cluster.submit({ id: 'web', ...SLEEP, replicas: 20, resources: { cpuMillis: 50 } });
  for (let i = 0; i < 15; i++) {
    for (const replicas of [i % 2, 20]) {
      expect((await cluster.request('POST', '/workloads/web/scale', { replicas })).status).toBe(200);
    }
  }
  const settled = await cluster.untilRunning('web', 20, 30_000);
  expect(settled.counts).toEqual({ running: 20 });
  await until(async () => (await cluster.workloadPids()).length === 20, { what: 'there are 20 processes' });
  const reserved = (await Promise.all(['n1', 'n2'].map(node))).reduce((sum, n) => sum + n.allocated.cpuMillis, 0);
  expect(reserved).toBe(1_000);
  // Nobody has stopped it, so far.
  expect((await cluster.history('web')).map(({ type }) => type)).not.toContain('workload.stopped');
  await cluster.request('DELETE', '/workloads/web');
  await cluster.untilStatus('web', 'stopped');
  await noProcess();
  expect((await Promise.all(['n1', 'n2'].map(node))).map((n) => n.allocated.cpuMillis)).toEqual([0, 0]);
}, 90_000);

it('does not take another agent at a lost node’s address for that node', async () => {
  await cluster.submit({ id: 'web', ...SLEEP, replicas: 4 });
  await cluster.untilRunning('web', 4);
  const { port } = cluster.agents.get('n1')!;
  await cluster.killNode('n1');
  await cluster.untilNode('n1', 'lost');
  await cluster.startAgent('n9', { port });
  await cluster.untilHealthy(2);
  const there = await cluster.untilRunning('web', 4);
  // Two sweeps of the lost node pass.
  await until(async () => Date.parse((await node('n9')).lastContactAt ?? '') - Date.parse(there.updatedAt) > 7_000, {
    timeoutMs: 20_000,
    what: 'n9 has been heard for 7 s',
  });
  expect((await node('n1')).status).toBe('lost');
  const later = await cluster.untilRunning('web', 4);
  expect(later.instances.map((i) => i.generation)).toEqual(there.instances.map((i) => i.generation));
}, 60_000);

it('starts what is large: 70 replicas with 140 KB of environment each', async () => {
  await cluster.submit({
    id: 'large',
    ...SLEEP,
    replicas: 70,
    env: { LARGE: 'x'.repeat(100_000), ALSO: 'y'.repeat(40_000) },
  });
  await cluster.untilRunning('large', 70, 30_000);
  await cluster.request('DELETE', '/workloads/large');
  await cluster.untilStatus('large', 'stopped');
}, 90_000);

it('does not let a copy that comes back pass for the version applied meanwhile', async () => {
  await cluster.request('POST', '/nodes/n2/cordon');
  await cluster.request('PUT', '/workloads/web', { ...SLEEP, env: { TEST_MARK: cluster.mark } });
  await cluster.untilRunning('web', 1);
  const { child } = cluster.agents.get('n1')!;
  child.kill('SIGSTOP');
  await cluster.untilNode('n1', 'lost');
  await cluster.request('PUT', '/workloads/web', {
    ...SLEEP,
    command: ['sleep', '2000'],
    env: { TEST_MARK: cluster.mark },
  });
  child.kill('SIGCONT');
  const after = await cluster.untilWorkload(
    'web',
    'runs its second version',
    (w) => w.status === 'running' && w.instances[0]!.generation === 2,
  );
  expect(after.version).toBe(2);
  const pids = await cluster.workloadPids();
  expect(pids).toEqual([after.instances[0]!.pid]);
  const argv = await require('node:fs/promises').readFile(`/proc/${pids[0]}/cmdline`, 'utf8');
  expect(argv).toBe('sleep\0' + '2000\0');
}, 60_000);

it('keeps services on a draining node that fit nowhere else, and moves as many as fit', async () => {
  await cluster.request('POST', '/nodes/n2/cordon');
  for (const id of ['a', 'b', 'c']) await cluster.submit({ id, ...SLEEP, resources: { cpuMillis: 1_200 } });
  for (const id of ['a', 'b', 'c']) await cluster.untilRunning(id, 1);
  await cluster.request('POST', '/nodes/n2/uncordon');
  await cluster.submit({ id: 'guest', ...SLEEP, resources: { cpuMillis: 2_500 }, placement: { constraints: [] } });
  expect((await cluster.untilRunning('guest', 1)).instances[0]!.node).toBe('n2');
  await cluster.request('POST', '/nodes/n1/drain');
  const moved = await until(
    async () => {
      const all = await Promise.all(['a', 'b', 'c'].map((id) => cluster.workload(id)));
      return all.filter((w) => w.instances[0]!.node === 'n2' && w.status === 'running').length === 1 ? all : null;
    },
    { what: 'one has moved' },
  );
  expect(moved.map((w) => w.status)).toEqual(['running', 'running', 'running']);
  const kept = moved.filter((w) => w.instances[0]!.node === 'n1');
  expect(kept).toHaveLength(2);
  for (const w of kept) expect(w.statusReason).toContain('draining');
  expect((await node('n1')).drain).toBe('draining');
  await cluster.request('POST', '/nodes/n1/uncordon');
  for (const { id } of kept) expect((await cluster.workload(id)).instances[0]!.statusReason).toBeNull();
}, 60_000);

it('costs no attempt to lose a node, and counts none after a long run', async () => {
  const restart = { attempts: 2, resetAfterMs: 1_000, backoffMs: 50 };
  await cluster.submit({ id: 'web', ...SLEEP, restart });
  const first = await cluster.untilRunning('web', 1);
  for (let loss = 0; loss < 3; loss++) {
    const { node: on } = (await cluster.untilRunning('web', 1)).instances[0]!;
    await end(cluster.agents.get(on!)!.child, 'SIGTERM');
    await cluster.untilWorkload(
      'web',
      `runs on another node than ${on}`,
      (w) => w.status === 'running' && w.instances[0]!.node !== on,
    );
    await cluster.startAgent(on!);
    await cluster.untilNode(on!, 'healthy');
  }
  expect((await cluster.workload('web')).instances[0]).toMatchObject({
    attempts: 1,
    generation: first.instances[0]!.generation + 3,
  });
}, 90_000);

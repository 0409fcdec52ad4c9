/** What happens when agents die, hang, come back, with the times that users are promised. */
import type { RecoveryMetrics } from '../../contract/health';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start(3);
}, 60_000);
afterEach(() => cluster.close(), 60_000);

/** With a scheduler that waits longer than an agent takes to start on a busy machine. */
async function useAPatientScheduler(): Promise<void> {
  await cluster.close();
  cluster = await Cluster.start(3, { schedulerArgs: { health: { refusedVerdictMs: 20_000 } } });
}

const metrics = async () => (await cluster.request<RecoveryMetrics>('GET', '/recovery/metrics')).body;
const SERVICE = { id: 'web', kind: 'service', command: ['sleep', '1000'], replicas: 9, stop: { graceMs: 1_000 } };

it('moves the instances of a killed node to healthy ones: verdict in under 5 s, running in under 15 s', async () => {
  await cluster.submit(SERVICE);
  const before = await cluster.untilRunning('web', 9);
  const killedAtMs = Date.now();
  await cluster.killNode('n2');
  await cluster.untilNode('n2', 'lost');
  expect(Date.now() - killedAtMs).toBeLessThan(5_000);
  const after = await cluster.untilWorkload(
    'web',
    'runs on two nodes',
    (w) => w.counts.running === 9 && w.instances.every((i) => i.node !== 'n2'),
  );
  expect(Date.now() - killedAtMs).toBeLessThan(15_000);
  for (const [index, instance] of before.instances.entries()) {
    const now = after.instances[index]!;
    if (instance.node === 'n2') expect(now).toMatchObject({ generation: 2, attempts: 1 });
    else expect(now).toMatchObject({ generation: 1, pid: instance.pid });
  }
  const told = await metrics();
  expect(told).toMatchObject({
    verdicts: 1,
    falseVerdicts: 0,
    recoveries: { started: 3, succeeded: 3, failed: 0, inFlight: 0 },
    successRate: 1,
  });
  expect(told.detectionMs.max).toBeGreaterThanOrEqual(4_000);
  expect(told.detectionMs.max).toBeLessThan(5_000);
  for (const { timeline } of told.recent) {
    const times = [timeline.lastContactAt, timeline.verdictAt, timeline.placedAt, timeline.startedAt].map((t) =>
      Date.parse(t ?? ''),
    );
    expect(times).toEqual([...times].sort((a, b) => a - b));
  }
}, 60_000);

it('replaces those of a hung node, and stops its stale copies when it goes on', async () => {
  await cluster.submit(SERVICE);
  await cluster.untilRunning('web', 9);
  const { child } = cluster.agents.get('n1')!;
  child.kill('SIGSTOP');
  const hungAtMs = Date.now();
  await cluster.untilNode('n1', 'lost');
  expect(Date.now() - hungAtMs).toBeLessThan(5_000);
  await cluster.untilWorkload(
    'web',
    'runs on two nodes',
    (w) => w.counts.running === 9 && w.instances.every((i) => i.node !== 'n1'),
  );
  expect(await cluster.workloadPids()).toHaveLength(12);
  child.kill('SIGCONT');
  await cluster.untilNode('n1', 'healthy');
  await until(async () => (await cluster.workloadPids()).length === 9, {
    timeoutMs: 10_000,
    what: 'the stale copies are gone',
  });
  await until(async () => (await cluster.request('GET', '/nodes/n1')).body.schedulable, {
    what: 'n1 takes placements again',
  });
  expect(await metrics()).toMatchObject({ verdicts: 1, falseVerdicts: 1 });
  expect((await cluster.workload('web')).counts).toEqual({ running: 9 });
}, 60_000);

it('changes nothing for an agent that is back before its verdict', async () => {
  await useAPatientScheduler();
  await cluster.submit(SERVICE);
  const before = await cluster.untilRunning('web', 9);
  await end(cluster.agents.get('n3')!.child, 'SIGKILL');
  await cluster.untilNode('n3', 'suspect');
  await cluster.startAgent('n3');
  await cluster.untilNode('n3', 'healthy');
  const identities = (w: typeof before) =>
    w.instances.map(({ id, generation, run, pid, node }) => [id, generation, run, pid, node]);
  expect(identities(await cluster.untilRunning('web', 9))).toEqual(identities(before));
  expect(await metrics()).toMatchObject({ verdicts: 0 });
  expect(await cluster.workloadPids()).toHaveLength(9);
}, 60_000);

it('starts anew what was lost with a node that is back before its verdict', async () => {
  await useAPatientScheduler();
  await cluster.submit(SERVICE);
  await cluster.untilRunning('web', 9);
  await cluster.killNode('n3');
  await cluster.startAgent('n3');
  await cluster.untilWorkload(
    'web',
    'runs again',
    (w) => w.counts.running === 9 && w.instances.filter((i) => i.generation + i.run === 3).length === 3,
  );
  expect(await metrics()).toMatchObject({ verdicts: 0 });
  expect(await cluster.workloadPids()).toHaveLength(9);
}, 60_000);

it('moves the work of an agent that is told to stop it, at once', async () => {
  await cluster.submit(SERVICE);
  await cluster.untilRunning('web', 9);
  const stoppedAtMs = Date.now();
  await end(cluster.agents.get('n3')!.child, 'SIGTERM');
  await cluster.untilWorkload(
    'web',
    'runs elsewhere',
    (w) => w.counts.running === 9 && w.instances.every((i) => i.node !== 'n3'),
  );
  expect(Date.now() - stoppedAtMs).toBeLessThan(4_000);
}, 60_000);

it('waits with a reason while no node is left, and recovers once one is there', async () => {
  await cluster.submit({ ...SERVICE, replicas: 2 });
  await cluster.untilRunning('web', 2);
  await Promise.all([...cluster.agents.keys()].map((name) => cluster.killNode(name)));
  const waiting = await cluster.untilWorkload(
    'web',
    'is recovering',
    (w) => w.status === 'recovering' && (w.instances[0]!.statusReason ?? '').includes('the brake'),
  );
  expect(waiting.instances[0]!.statusReason).toContain('--release');
  await cluster.startAgent('n2');
  await cluster.untilRunning('web', 2, 30_000);
}, 60_000);

it('keeps a stop on a lost node stopping until the node is back, and then stops the copy', async () => {
  await cluster.submit({ ...SERVICE, replicas: 1, placement: { constraints: [{ label: 'x', op: 'absent' }] } });
  const running = await cluster.untilRunning('web', 1);
  const node = running.instances[0]!.node!;
  const { child } = cluster.agents.get(node)!;
  // Nowhere else to go.
  for (const other of ['n1', 'n2', 'n3']) if (other !== node) await cluster.request('POST', `/nodes/${other}/cordon`);
  child.kill('SIGSTOP');
  await cluster.untilNode(node, 'lost');
  await cluster.request('DELETE', '/workloads/web');
  const stopping = await cluster.untilWorkload(
    'web',
    'is stopping',
    (w) => w.instances[0]!.statusReason === 'node-lost',
  );
  expect(stopping.status).toBe('stopping');
  child.kill('SIGCONT');
  await cluster.untilStatus('web', 'stopped');
  expect(await cluster.workloadPids()).toEqual([]);
}, 60_000);

it('forgets a lost node and lets go of what it held', async () => {
  await cluster.submit({ id: 'd', kind: 'daemon', command: ['sleep', '1000'] });
  await cluster.untilWorkload('d', 'runs on three', (w) => w.counts.running === 3);
  await cluster.killNode('n3');
  await cluster.untilWorkload('d', 'is recovering', (w) => w.status === 'recovering');
  expect((await cluster.request('DELETE', '/nodes/n3')).status).toBe(204);
  await cluster.untilWorkload('d', 'is on two nodes', (w) => w.status === 'running' && w.instances.length === 2);
}, 60_000);

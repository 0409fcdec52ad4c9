/** What a scheduler makes of an agent that is gone for a moment, or for longer, while what it runs goes on. */
import type { RecoveryMetrics } from '../../contract/health';
import type { Instance, Workload } from '../../contract/workload';
import { isAlive } from '../support/agent';
import { Cluster, end } from '../support/cluster';
import { shimsOf } from '../support/shims';
import { until } from '../support/until';

// On a machine so busy that an agent needs 4 s to start, the verdict is right.
jest.retryTimes(2);

let cluster: Cluster;
/** As agents are unless told otherwise. */
const KEEP = { onExit: 'keep' };
beforeEach(async () => {
  cluster = await Cluster.start(2, { agentArgs: KEEP });
}, 60_000);
afterEach(() => cluster.close(), 60_000);

const SERVICE = { kind: 'service', command: ['sleep', '1000'], stop: { graceMs: 1_000 } };

/** What a user sees of all workloads, but for what is measured anew every few seconds. */
async function seen(): Promise<unknown[]> {
  const { body } = await cluster.request<{ workloads: Workload[] }>('GET', '/workloads?limit=1000');
  const all = await Promise.all(body.workloads.map(({ id }) => cluster.workload(id)));
  return all.map(({ instances, updatedAt: _, ...workload }) => {
    return { ...workload, instances: instances.map(({ usage: _usage, ...instance }: Instance) => instance) };
  });
}

async function verdicts(): Promise<number> {
  return (await cluster.request<RecoveryMetrics>('GET', '/recovery/metrics')).body.verdicts;
}

it.each(['SIGKILL', 'SIGTERM'] as const)(
  'is told of nothing but the same when it is back within 4 s of %s',
  async (signal) => {
    await cluster.submit({ ...SERVICE, id: 'web', replicas: 6 });
    await cluster.submit({ id: 'job', command: ['sh', '-c', 'sleep 1.5; exit 3'], restart: { policy: 'never' } });
    await cluster.untilRunning('web', 6);
    await cluster.untilRunning('job', 1);
    const before = await seen();
    const pids = await cluster.workloadPids();
    for (const name of ['n1', 'n2']) {
      await end(cluster.agents.get(name)!.child, signal);
      await cluster.startAgent(name, KEEP);
      await cluster.untilAnswers(name);
      await cluster.untilNode(name, 'healthy');
    }
    const failed = await cluster.untilStatus('job', 'failed');
    expect(failed.instances[0]).toMatchObject({ generation: 1, run: 1, exit: { code: 3, signal: null } });
    const withoutJob = (all: unknown[]) => all.filter((one) => (one as Workload).id !== 'job');
    await until(async () => JSON.stringify(withoutJob(await seen())) === JSON.stringify(withoutJob(before)), {
      what: 'everything is as before',
    }).catch(async () => expect(withoutJob(await seen())).toEqual(withoutJob(before)));
    expect((await cluster.workloadPids()).sort()).toEqual(pids.filter(isAlive).sort());
    expect(await verdicts()).toBe(0);
  },
  60_000,
);

it('has moved what ran on one that was gone for longer, and when it is back the old copies are stopped first', async () => {
  await cluster.submit({ ...SERVICE, id: 'web', replicas: 6 });
  const before = await cluster.untilRunning('web', 6);
  const old = before.instances.filter(({ node }) => node === 'n1');
  expect(old.length).toBeGreaterThan(0);
  const { child, dataDir } = cluster.agents.get('n1')!;
  await end(child, 'SIGKILL');
  await cluster.untilNode('n1', 'lost');
  const moved = await cluster.untilWorkload(
    'web',
    'runs on n2',
    (w) => w.counts.running === 6 && w.instances.every(({ node }) => node === 'n2'),
  );
  for (const { id } of old) expect(moved.instances.find((one) => one.id === id)).toMatchObject({ generation: 2 });
  // The old copies live on meanwhile: nobody is there to stop them.
  expect(old.filter(({ pid }) => !isAlive(pid!))).toEqual([]);

  await cluster.startAgent('n1', KEEP);
  await cluster.untilNode('n1', 'healthy');
  await until(async () => (await cluster.request('GET', '/nodes/n1')).body.schedulable, {
    what: 'n1 takes placements again',
    timeoutMs: 15_000,
  });
  expect(old.filter(({ pid }) => isAlive(pid!))).toEqual([]);
  await until(() => shimsOf(dataDir).length === 0, { what: 'n1 has no shim left' });
  const after = await cluster.untilRunning('web', 6);
  const identity = ({ id, generation, run, pid }: Instance) => ({ id, generation, run, pid });
  expect(after.instances.map(identity)).toEqual(moved.instances.map(identity));
  expect((await cluster.workloadPids()).sort()).toEqual(after.instances.map(({ pid }) => pid!).sort());
}, 60_000);

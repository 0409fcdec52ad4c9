/** What becomes of instances whose node is not heard: fenced ones never run twice, kept ones wait, the others move at once. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { isAlive } from '../support/agent';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start(2, { schedulerArgs: { profile: 'fast', health: { leaseMs: 3_000 } } });
}, 60_000);
afterEach(() => cluster.close(), 60_000);

/** Writes its generation and the time since boot, again and again, whatever signal it gets. */
const diary = () => path.join(cluster.directory, 'diary');
const submit = (onDisconnect: string, more: object = {}) =>
  cluster.submit({
    id: 'web',
    kind: 'service',
    command: [
      'sh',
      '-c',
      'trap "" TERM; while :; do read up rest < /proc/uptime; echo "$MORCH_GENERATION $up"; sleep 0.02; done >> "$0"',
      diary(),
    ],
    stop: { graceMs: 300 },
    onDisconnect,
    ...more,
  });

/** First and last entry of a generation, in seconds since boot. */
function lifeOf(generation: number): { from: number; to: number } {
  const times = readFileSync(diary(), 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([of]) => of === String(generation))
    .map(([, up]) => Number(up));
  return { from: Math.min(...times), to: Math.max(...times) };
}

const runningOn = (node: string, generation: number) =>
  cluster.untilWorkload(
    'web',
    `runs on ${node} as generation ${generation}`,
    ({ instances: [one] }) => one?.status === 'running' && one.node === node && one.generation === generation,
  );

/** Where it runs, and where it does not. */
async function start(onDisconnect: string): Promise<{ home: string; other: string; pid: number }> {
  await submit(onDisconnect);
  const { instances } = await cluster.untilRunning('web', 1);
  const home = instances[0]!.node!;
  return { home, other: home === 'n1' ? 'n2' : 'n1', pid: instances[0]!.pid! };
}

describe('with stop', () => {
  test.each(['SIGSTOP', 'SIGKILL'] as const)(
    'an instance is dead before it is started elsewhere: its agent gets %s',
    async (signal) => {
      const { home, other, pid } = await start('stop');
      const { child } = cluster.agents.get(home)!;
      child.kill(signal);
      await cluster.untilNode(home, 'lost');
      const { instances, statusReason } = await cluster.workload('web');
      expect(instances[0]).toMatchObject({ status: 'recovering', node: null });
      expect(statusReason).toContain('lease');
      await runningOn(other, 2);
      expect(isAlive(pid)).toBe(false);
      await until(() => Number.isFinite(lifeOf(2).from), { what: 'the second has written' });
      expect(lifeOf(1).to).toBeLessThan(lifeOf(2).from);
      if (signal === 'SIGKILL') await cluster.startAgent(home);
      else child.kill('SIGCONT');
      await cluster.untilNode(home, 'healthy');
      expect((await cluster.workload('web')).instances[0]).toMatchObject({ node: other, generation: 2 });
    },
    60_000,
  );

  test('a node that is back within the lease keeps what it runs', async () => {
    const { home, pid } = await start('stop');
    const { child } = cluster.agents.get(home)!;
    child.kill('SIGSTOP');
    await cluster.untilNode(home, 'lost');
    child.kill('SIGCONT');
    await cluster.untilNode(home, 'healthy');
    expect((await runningOn(home, 1)).instances[0]!.pid).toBe(pid);
  }, 60_000);

  test('a scheduler that starts anew waits as if every lease had just been given', async () => {
    const { home, other, pid } = await start('stop');
    const agent = cluster.agents.get(home)!;
    await end(cluster.scheduler.child, 'SIGKILL');
    await end(agent.child, 'SIGKILL');
    const startedAtMs = performance.now();
    await cluster.startScheduler();
    await runningOn(other, 2);
    expect(performance.now() - startedAtMs).toBeGreaterThan(3_000);
    expect(isAlive(pid)).toBe(false);
    expect(lifeOf(1).to).toBeLessThan(lifeOf(2).from);
  }, 60_000);

  test('also a forced forget of its node shortens no lease', async () => {
    const { home, other } = await start('stop');
    const { child } = cluster.agents.get(home)!;
    child.kill('SIGSTOP');
    expect((await cluster.request('DELETE', `/nodes/${home}?force=true`)).status).toBe(204);
    expect((await cluster.workload('web')).instances[0]).toMatchObject({ status: 'recovering', node: null });
    await runningOn(other, 2);
    expect(lifeOf(1).to).toBeLessThan(lifeOf(2).from);
  }, 60_000);

  test('a stop on a lost node is over with the lease, not before', async () => {
    const { home, pid } = await start('stop');
    cluster.agents.get(home)!.child.kill('SIGSTOP');
    await cluster.untilNode(home, 'lost');
    expect((await cluster.request('DELETE', '/workloads/web')).status).toBe(202);
    await cluster.untilWorkload('web', 'is stopping', ({ instances: [one] }) => one?.status === 'stopping');
    await cluster.untilStatus('web', 'stopped');
    expect(isAlive(pid)).toBe(false);
    expect((await cluster.request('DELETE', '/workloads/web?purge=true')).status).toBe(202);
  }, 60_000);
});

test('with keep, an instance waits for its node, and goes on there', async () => {
  const { home, pid } = await start('keep');
  const { child } = cluster.agents.get(home)!;
  child.kill('SIGSTOP');
  await cluster.untilNode(home, 'lost');
  const { instances } = await cluster.untilStatus('web', 'recovering');
  expect(instances[0]).toMatchObject({ node: home, generation: 1, statusReason: expect.stringContaining(home) });
  child.kill('SIGCONT');
  expect((await runningOn(home, 1)).instances[0]!.pid).toBe(pid);
}, 60_000);

test('with keep, what died with its node is started anew when the node is back', async () => {
  const { home } = await start('keep');
  await cluster.killNode(home);
  await cluster.untilNode(home, 'lost');
  await cluster.untilStatus('web', 'recovering');
  await cluster.startAgent(home);
  await cluster.untilWorkload(
    'web',
    'runs again',
    ({ instances: [one] }) => one?.status === 'running' && one.run + one.generation > 2,
  );
}, 60_000);

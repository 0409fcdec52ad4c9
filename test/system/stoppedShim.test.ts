/** Shims that somebody has stopped (SIGSTOP): their agent continues them, so that ends are told and leases kept. */
import { Agents, isAlive, type TestAgent } from '../support/agent';
import { PlayedScheduler } from '../support/playedScheduler';
import { until } from '../support/until';

const agents = new Agents();
afterAll(() => agents.endAll(), 60_000);

test('a program that stops its shim and ends is told with its own end', async () => {
  const agent = await agents.start();
  await agent.startShell('kill -STOP $PPID; exit 5', { instanceId: 'stopper.0', restart: { policy: 'never' } });
  const { exit } = await agent.untilStatus('stopper.0', 'failed');
  expect(exit).toMatchObject({ code: 5, signal: null });
}, 30_000);

test('a fenced instance ends with its lease though its shim was stopped', async () => {
  const agent: TestAgent = await agents.start();
  const scheduler = await PlayedScheduler.connect(agent, {}, { leaseMs: 2_000 });
  const id = { instanceId: 'web.0', uid: 'u-1', generation: 1, ...scheduler.claim };
  const { body } = await agent.start({
    command: ['sleep', '600'],
    kind: 'service',
    onDisconnect: 'stop',
    stop: { graceMs: 100 },
    ...id,
  });
  scheduler.acknowledges = false;
  const silentAtMs = performance.now();
  process.kill((await agent.instance('web.0')).shimPid!, 'SIGSTOP');
  await until(() => !isAlive(body.pid), { what: 'its fence has ended it', timeoutMs: 10_000 });
  // The agent looks once a second.
  expect(performance.now() - silentAtMs).toBeLessThan(2_000 + 2_000);
  scheduler.close();
}, 30_000);

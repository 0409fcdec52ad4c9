/** Runs whose shim was killed, and shims whose state directory is gone: told as lost, and nothing of them goes on. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Agents, isAlive, processesOf, type TestAgent } from '../support/agent';
import { fixture, Notes, startTicksOf } from '../support/fixtures';
import { shimsOf } from '../support/shims';
import { until } from '../support/until';

const agents = new Agents();
afterAll(() => agents.endAll(), 60_000);

const ONCE = { restart: { policy: 'never' } };
const FOREVER = { kind: 'service', restart: { backoffMs: 1 } };

describe('a shim that is killed', () => {
  let agent: TestAgent;
  beforeAll(async () => {
    agent = await agents.start();
  }, 30_000);

  test('ends the run with its exit unknown, takes the tree with it, and the next run follows', async () => {
    const notes = new Notes(join(agents.directory, 'shim-killed'));
    const listener = await agent.connect();
    await agent.start({ ...FOREVER, command: [fixture('deep_tree'), notes.path, '3'], instanceId: 'web.0' });
    const first = await notes.untilCount(3);
    const { shimPid } = await agent.instance('web.0');
    process.kill(shimPid!, 'SIGKILL');
    const again = await until(
      async () => {
        const one = await agent.instance('web.0');
        return one.run === 2 && one.status === 'running' && one;
      },
      { what: 'the second run', timeoutMs: 10_000 },
    );
    expect(again).toMatchObject({ generation: 1, exit: { code: null, signal: null } });
    expect(again.shimPid).not.toBe(shimPid);
    const ofFirst = () => first.filter(({ pid, startTicks }) => startTicksOf(pid) === startTicks);
    expect(ofFirst().filter(({ pid }) => isAlive(pid))).toEqual([]);
    await until(() => ofFirst().length === 0, { what: 'they are reaped' });
    expect(listener.reports('web.0').map(({ statusReason }) => statusReason ?? '')).toContainEqual(
      expect.stringContaining('shim-lost'),
    );
    listener.close();
    await agent.stop({ instanceId: 'web.0', graceMs: 0 });
    expect(notes.left()).toEqual([]);
  }, 30_000);

  test('is told as the reason of the failure where there is no next run', async () => {
    await agent.start({ ...ONCE, command: ['sleep', '600'], instanceId: 'once.0' });
    process.kill((await agent.instance('once.0')).shimPid!, 'SIGKILL');
    expect(await agent.untilStatus('once.0', 'failed')).toMatchObject({
      run: 1,
      pid: null,
      exit: { code: null, signal: null },
      statusReason: expect.stringContaining('shim-lost'),
    });
    expect(processesOf(agent.name)).toEqual([]);
  }, 30_000);

  test.each([
    ['with another beside it that has not', 'young.0', 'sleep 600 & ', () => true],
    // Its agent has looked once a second.
    ['that has been there for a while', 'old.0', '', (child: number) => ageMs(child) > 1_500],
  ])(
    'takes with it a process of its session that has cleared its environment, %s',
    async (_, instanceId, witness, isReady) => {
      const script = `${witness}env -i /bin/sleep 600 & echo "child $!"; wait`;
      await agent.start({ ...ONCE, command: ['sh', '-c', script], instanceId });
      const child = await until(
        async () => Number(/^child (\d+)$/m.exec(await agent.logs(instanceId))?.[1] ?? 0) || false,
        { what: 'the child has told its pid' },
      );
      await until(() => isReady(child), { what: 'the child is old enough' });
      process.kill((await agent.instance(instanceId)).shimPid!, 'SIGKILL');
      await agent.untilStatus(instanceId, 'failed');
      expect(isAlive(child)).toBe(false);
    },
    30_000,
  );

  test('while its agent is down too is found out by the next', async () => {
    const own = await agents.start();
    const notes = new Notes(join(agents.directory, 'both-killed'));
    await own.start({ ...ONCE, command: [fixture('deep_tree'), notes.path, '3'], instanceId: 'web.0' });
    await notes.untilCount(3);
    const { shimPid } = await own.instance('web.0');
    await own.kill('SIGKILL');
    process.kill(shimPid!, 'SIGKILL');
    const next = await agents.restart(own);
    expect(await next.untilStatus('web.0', 'failed')).toMatchObject({
      run: 1,
      exit: { code: null, signal: null },
      statusReason: expect.stringContaining('shim-lost'),
    });
    await notes.expectReaped();
  }, 30_000);
});

describe('with a group for each instance, nothing escapes a killed shim', () => {
  test.each(['alive', 'dead too'])(
    'its agent being %s',
    async (agentIs) => {
      let agent = await agents.start({ cgroup: 'auto' });
      if (!(await agent.status()).features.includes('cgroup')) {
        process.stderr.write(`skipped: there is no place for groups here (${agent.stderr})\n`);
        return;
      }
      const notes = new Notes(join(agents.directory, `daemon-${agentIs}`));
      const command = [fixture('daemon'), notes.path, '-1'];
      await agent.start({ ...ONCE, command, instanceId: 'web.0', stop: { graceMs: 300 } });
      await notes.untilCount(2);
      const { shimPid } = await agent.instance('web.0');
      if (agentIs !== 'alive') await agent.kill('SIGKILL');
      process.kill(shimPid!, 'SIGKILL');
      if (agentIs !== 'alive') agent = await agents.restart(agent);
      expect(await agent.untilStatus('web.0', 'failed')).toMatchObject({
        exit: { code: null, signal: null },
        statusReason: expect.stringContaining('shim-lost'),
      });
      await notes.expectReaped();
    },
    30_000,
  );
});

test('shims whose state directory is gone are found and stopped by the next agent, which is another node', async () => {
  const agent = await agents.start();
  const notes = new Notes(join(agents.directory, 'no-state'));
  await agent.start({ ...FOREVER, command: [fixture('double_fork'), notes.path], stop: { graceMs: 300 } });
  await agent.start({ ...FOREVER, command: ['sleep', '600'] });
  await notes.untilCount(2);
  const { nodeKey } = await agent.status();
  await agent.kill('SIGKILL');
  expect(shimsOf(agent.dataDir)).toHaveLength(2);
  rmSync(agent.dataDir, { recursive: true });
  const next = await agents.restart(agent);
  await until(() => shimsOf(agent.dataDir).length === 0, { what: 'the shims are gone', timeoutMs: 15_000 });
  expect(notes.left()).toEqual([]);
  expect(processesOf(agent.name)).toEqual([]);
  const status = await next.status();
  expect(status.nodeKey).not.toBe(nodeKey);
  expect(status.processes).toEqual([]);
  expect((await next.start({ ...ONCE, command: ['true'] })).status).toBe(201);
}, 30_000);

function ageMs(pid: number): number {
  const uptimeMs = Number.parseFloat(readFileSync('/proc/uptime', 'latin1')) * 1_000;
  return uptimeMs - startTicksOf(pid)! * 10;
}

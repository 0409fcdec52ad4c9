import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { cgroupMountsOf, ownGroupOf } from '../../agent/cgroupRoot';
import { Agents, processesOf } from '../support/agent';
import { changeIntent } from '../support/agentRecords';
import { PlayedScheduler } from '../support/playedScheduler';
import { endShims, shimsOf } from '../support/shims';
import { until } from '../support/until';

const agents = new Agents();
afterAll(() => agents.endAll());

const SLEEP = { command: ['sleep', '600'] };

describe('an agent that is killed', () => {
  test('leaves its workloads running, and its successor goes on with all of them', async () => {
    const agent = await agents.start();
    const ids = { instanceId: 'web.0', uid: randomUUID(), generation: 3 };
    await agent.startShell('sleep 600 & setsid sleep 601 & echo up; wait', ids);
    await agent.untilSaid('web.0', 'up');
    await agent.startShell('exit 4', { instanceId: 'waiting.0', restart: { backoffMs: 3_000, attempts: 2 } });
    await agent.untilStatus('waiting.0', 'backoff');
    const go = join(agents.directory, 'go');
    await agent.startShell(`until [ -e ${go} ]; do sleep 0.02; done; exit 7`, {
      instanceId: 'ending.0',
      restart: { policy: 'never' },
    });
    await agent.start({ command: ['true'], instanceId: 'done.0' });
    const done = await agent.untilStatus('done.0', 'completed');
    const before = await agent.instance('web.0');

    await agent.kill('SIGKILL');
    writeFileSync(go, '');
    const next = await agents.restart(agent);
    const { cpuPercent: _1, memoryBytes: _2, ...same } = before;
    expect(await next.instance('web.0')).toMatchObject(same);
    const ended = await next.untilStatus('ending.0', 'failed');
    expect(ended).toMatchObject({ lost: false, run: 1, exit: { code: 7, signal: null } });
    expect(await next.instance('done.0')).toMatchObject({ status: 'completed', lost: false, exit: done.exit });
    expect(await next.instance('waiting.0')).toMatchObject({ status: 'backoff', run: 1, exit: { code: 4 } });
    expect(await next.untilStatus('waiting.0', 'failed')).toMatchObject({ run: 2, attempts: 2 });
    const listener = await next.connect();
    const hello = await until(() => listener.of('hello')[0], { what: 'hello' });
    expect(hello.instances.map(({ instanceId }) => instanceId).sort()).toEqual([
      'done.0',
      'ending.0',
      'waiting.0',
      'web.0',
    ]);
    listener.close();

    const later = await next.startShell('exec sleep 600', { ...ids, generation: 4 });
    expect(later.status).toBe(201);
    expect(processesOf(agent.name)).toEqual([later.body.pid]);
    await next.stop({ instanceId: 'web.0' });
    await next.kill('SIGTERM');
  });

  test('while it stops a workload has it stopped by its successor', async () => {
    const agent = await agents.start();
    await agent.startShell('trap "" TERM; echo up; while :; do sleep 0.05; done', {
      instanceId: 'slow.0',
      stop: { graceMs: 2_000 },
      restart: { policy: 'always' },
    });
    await agent.untilSaid('slow.0', 'up');
    const answer = agent.stop({ instanceId: 'slow.0' }).catch(() => null);
    await agent.untilStatus('slow.0', 'stopping');
    await agent.kill('SIGKILL');
    await answer;
    const next = await agents.restart(agent);
    expect(await next.untilStatus('slow.0', 'stopped')).toMatchObject({ run: 1, exit: { signal: 'SIGKILL' } });
    await next.kill('SIGTERM');
  });

  test('and stays away has them stopped by their shims, which is not taken for their own doing', async () => {
    const agent = await agents.start({ orphanAfterMs: 1_500 });
    const scheduler = await PlayedScheduler.connect(agent);
    const id = { instanceId: 'web.0', uid: randomUUID(), generation: 1, ...scheduler.claim };
    await agent.startShell('trap "exit 0" TERM; echo up; while :; do sleep 0.05; done', id);
    await agent.untilSaid('web.0', 'up');
    const lease = join(agent.dataDir, 'lease');
    await until(() => readFileSync(lease).readBigUInt64LE(24) === 1n, {
      what: 'the lease page tells of the scheduler',
    });
    await agent.kill('SIGKILL');
    await until(() => shimsOf(agent.dataDir).length === 0, { what: 'the fence has stopped it' });
    const next = await agents.restart(agent);
    expect(await next.untilStatus('web.0', 'stopped')).toMatchObject({
      lost: true,
      statusReason: expect.stringContaining('stopped by its fence'),
      exit: { code: 0, signal: null },
    });
    await next.kill('SIGTERM');
  }, 30_000);

  test('never starts again what it may have started', async () => {
    const agent = await agents.start();
    const id = { instanceId: 'web.0', uid: randomUUID(), generation: 1 };
    await agent.start({ ...SLEEP, ...id });
    const directory = join(agent.dataDir, 'instances', `${id.uid}.0.1`);
    await agent.kill('SIGKILL');
    // As if it had died between the intent and the clone.
    await endShims([agent.dataDir]);
    for (const name of readdirSync(directory)) if (name.startsWith('run.')) rmSync(join(directory, name));
    const next = await agents.restart(agent);
    expect(await next.instance('web.0')).toMatchObject({ status: 'failed', lost: true, run: 1 });
    expect(await next.start({ ...SLEEP, ...id })).toMatchObject({ status: 409, body: { code: 'STALE_GENERATION' } });
    expect(processesOf(agent.name)).toEqual([]);
    await next.kill('SIGTERM');
  });

  test('in an earlier boot takes nothing over', async () => {
    const agent = await agents.start();
    const id = { instanceId: 'web.0', uid: randomUUID(), generation: 1 };
    await agent.start({ ...SLEEP, ...id });
    await agent.kill('SIGKILL');
    await endShims([agent.dataDir]);
    await changeIntent(agent.dataDir, `${id.uid}.0.1`, () => ({ bootId: 'an-earlier-one' }));
    const next = await agents.restart(agent);
    expect(await next.instance('web.0')).toMatchObject({ status: 'failed', lost: true, statusReason: 'node rebooted' });
    await next.kill('SIGTERM');
  });
});

describe('an agent that is told to end', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)(
    'by %s stops everything where it is to, says so, and exits with 0',
    async (signal) => {
      const agent = await agents.start({ onExit: 'stop' });
      await agent.startShell('trap "sleep 0.3; exit 0" TERM; echo up; while :; do sleep 0.05; done', {
        instanceId: 'slow.0',
      });
      await agent.startShell('exit 1', { instanceId: 'waiting.0', restart: { backoffMs: 60_000 } });
      await agent.untilStatus('waiting.0', 'backoff');
      await agent.untilSaid('slow.0', 'up');
      const listener = await agent.connect();
      const ended = agent.kill(signal);
      await until(() => listener.of('leaving').length > 0, { what: 'it says that it leaves' });
      expect(await agent.start(SLEEP)).toMatchObject({ status: 503, body: { code: 'SHUTTING_DOWN' } });
      expect((await agent.request('GET', '/readyz')).status).toBe(503);
      expect((await agent.request('GET', '/livez')).status).toBe(200);
      agent.child.kill(signal); // once more changes nothing
      expect(await ended).toBe(0);
      expect(processesOf(agent.name)).toEqual([]);
      const lost = { lost: true, status: 'stopped', statusReason: 'agent stopped' };
      expect(listener.reports('slow.0').at(-1)).toMatchObject({ ...lost, exit: { code: 0 } });
      expect(listener.reports('waiting.0').at(-1)).toMatchObject({ ...lost, exit: { code: 1 } });

      const next = await agents.start({ name: agent.name, dataDir: agent.dataDir });
      expect(await next.instance('slow.0')).toMatchObject(lost);
      await next.kill('SIGTERM');
    },
  );
});

describe('an agent that cannot begin', () => {
  const refusal = async (options: object) => {
    try {
      await agents.start(options);
    } catch (error) {
      return (error as Error).message;
    }
    throw new Error('it began');
  };

  test('names the flag: locked directory, busy port, bad option', async () => {
    const agent = await agents.start();
    expect(await refusal({ dataDir: agent.dataDir })).toContain('--data-dir');
    expect(await refusal({ port: agent.port })).toContain('--port');
    expect(await refusal({ advertise: 'nonsense' })).toContain('--advertise');
    expect(await refusal({ scheduler: 'nonsense' })).toContain('--scheduler');
    await agent.kill('SIGTERM');
  });
});

describe('an agent that cannot write', () => {
  test('starts nothing and says 507', async () => {
    const agent = await agents.start();
    const records = join(agent.dataDir, 'instances');
    rmSync(records, { recursive: true });
    writeFileSync(records, 'in the way');
    expect(await agent.start(SLEEP)).toMatchObject({ status: 507, body: { code: 'STORE_UNWRITABLE' } });
    expect(processesOf(agent.name)).toEqual([]);
    expect((await agent.status()).processes).toEqual([]);
    renameSync(records, `${records}.away`);
    expect((await agent.start(SLEEP)).status).toBe(201);
    expect(readdirSync(records)).toHaveLength(2); // the journal, and what the shim writes into
    await agent.kill('SIGTERM');
  });
});

test('leaves a group of its own on the machine only as long as an instance is in it', async () => {
  const agent = await agents.start({ cgroup: 'auto', onExit: 'keep' });
  if (!(await agent.status()).features.includes('cgroup')) {
    process.stderr.write('skipped: groups at the end of an agent (no cgroup v2 here)\n');
    return;
  }
  const uid = randomUUID();
  await agent.start({ ...SLEEP, instanceId: 'web.0', uid, generation: 1 });
  const group = groupOf((await agent.instance('web.0')).pid!);
  await agent.start({ command: ['true'], instanceId: 'done.0' });
  await agent.untilStatus('done.0', 'completed');
  await agent.kill('SIGTERM');
  expect(existsSync(group)).toBe(true);
  const next = await agents.restart(agent);
  expect((await next.instance('web.0')).status).toBe('running');
  await next.stop({ instanceId: 'web.0' });
  // Nobody is in it, as in what a killed agent leaves.
  mkdirSync(join(dirname(group), `${randomUUID()}.0.1`));
  await next.kill('SIGTERM');
  expect(existsSync(dirname(group))).toBe(false);
});

function groupOf(pid: number): string {
  const mount = cgroupMountsOf(readFileSync('/proc/self/mountinfo', 'utf8'))[0]!;
  return ownGroupOf(readFileSync(`/proc/${pid}/cgroup`, 'utf8'), mount)!;
}

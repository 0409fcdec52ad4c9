import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agents, isAlive, processesOf, type TestAgent } from '../support/agent';
import { until } from '../support/until';

const agents = new Agents();
let agent: TestAgent;
let count = 0;
const nextId = () => `job-${++count}.0`;
const ONCE = { restart: { policy: 'never' } };
const QUICK = { restart: { backoffMs: 20 } };

beforeAll(async () => {
  agent = await agents.start();
});
afterAll(() => agents.endAll());

function writeScript(name: string, text: string, mode = 0o755): string {
  const path = join(agents.directory, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

describe('starting', () => {
  test('answers with what was started, and shows it running', async () => {
    const answer = await agent.start({ command: ['sleep', '600'], instanceId: 'sleep.0' });
    expect(answer.status).toBe(201);
    expect(answer.body).toEqual({
      instanceId: 'sleep.0',
      generation: 1,
      run: 1,
      pid: expect.any(Number),
      shimPid: expect.any(Number),
      startedAt: expect.stringMatching(/^\d{4}-.*Z$/),
    });
    expect(await agent.instance('sleep.0')).toMatchObject({ status: 'running', pid: answer.body.pid, attempts: 1 });
    expect(isAlive(answer.body.pid)).toBe(true);
  });

  test('names an instance after its program', async () => {
    const path = writeScript('My_Job.sh', '#!/bin/sh\nexit 0\n');
    expect((await agent.start({ script: path })).body.instanceId).toMatch(/^my-job-sh-[a-z0-9]{5}\.0$/);
    expect((await agent.start({ command: ['true'] })).body.instanceId).toMatch(/^true-[a-z0-9]{5}\.0$/);
  });

  test('gives the program its own environment and nothing of the agent', async () => {
    await agent.start({
      command: ['/usr/bin/env'],
      args: ['-0'],
      env: { GREETING: 'hello world', LANG: 'C' },
      instanceId: 'env.3',
      node: 'node-9',
    });
    await agent.untilStatus('env.3', 'completed');
    const lines = (await agent.logs('env.3')).split('\0').filter((line) => line !== '');
    const env = Object.fromEntries(lines.map((line) => line.split(/=(.*)/s).slice(0, 2)));
    expect(env).toEqual({
      PATH: expect.any(String),
      HOME: expect.any(String),
      USER: expect.any(String),
      LANG: 'C',
      GREETING: 'hello world',
      MORCH_WORKLOAD: 'env',
      MORCH_INSTANCE: 'env.3',
      MORCH_GENERATION: '1',
      MORCH_RUN: '1',
      MORCH_NODE: 'node-9',
      MORCH_NONCE: expect.any(String),
    });
  });

  test('runs a script in its directory, a command in its own, and either in cwd', async () => {
    mkdirSync(join(agents.directory, 'place'), { recursive: true });
    const script = writeScript('place/where.sh', '#!/bin/sh\npwd\n');
    await agent.start({ script, instanceId: 'where.0' });
    await agent.untilStatus('where.0', 'completed');
    expect(await agent.logs('where.0')).toBe(`${join(agents.directory, 'place')}\n`);

    await agent.start({ command: ['pwd'], instanceId: 'where.1' });
    await agent.untilStatus('where.1', 'completed');
    expect(await agent.logs('where.1')).toMatch(`${join(agent.dataDir, 'work')}/`);

    await agent.start({ script, cwd: '/usr', instanceId: 'where.2' });
    await agent.untilStatus('where.2', 'completed');
    expect(await agent.logs('where.2')).toBe('/usr\n');
  });

  test('passes arguments through unchanged', async () => {
    const script = writeScript('args.sh', '#!/bin/sh\nprintf "[%s]" "$@"\n');
    await agent.start({ script, args: ['a b', '', '$HOME', "it's", '*'], instanceId: 'args.0' });
    await agent.untilStatus('args.0', 'completed');
    expect(await agent.logs('args.0')).toBe("[a b][][$HOME][it's][*]");
  });

  test.each([
    ['a script that is not there', { script: '/nowhere/job.sh' }, 'ENOENT', 'no such file'],
    ['a command that is nowhere in the PATH', { command: ['no-such-program'] }, 'ENOENT', 'PATH'],
    ['a directory', { script: '/tmp' }, 'EACCES', 'directory'],
    ['a working directory that is not there', { command: ['true'], cwd: '/nowhere' }, 'ENOENT', '/nowhere'],
  ])('refuses %s, and says why', async (_what, program, errnoCode, detail) => {
    const answer = await agent.start(program);
    expect(answer.status).toBe(422);
    expect(answer.body).toMatchObject({ code: 'START_FAILED', errnoCode, syscall: expect.any(String) });
    expect(answer.body.errno).toBeGreaterThan(0);
    expect(answer.body.detail).toContain(detail);
    expect(answer.body.detail).toContain(agent.name);
  });

  test('tells how to make a script executable, and which interpreter is missing', async () => {
    const plain = writeScript('plain.sh', '#!/bin/sh\nexit 0\n', 0o644);
    const denied = await agent.start({ script: plain });
    expect(denied.status).toBe(422);
    expect(denied.body).toMatchObject({ errnoCode: 'EACCES' });
    expect(denied.body.detail).toContain(`chmod +x ${plain}`);

    const orphan = writeScript('orphan.sh', '#!/no/such/interpreter\n');
    expect((await agent.start({ script: orphan })).body.detail).toContain('/no/such/interpreter');
  });

  test('leaves a failed first start as failed, with the kernel’s word', async () => {
    await agent.start({ script: '/nowhere/job.sh', instanceId: 'broken.0' });
    expect(await agent.instance('broken.0')).toMatchObject({
      status: 'failed',
      pid: null,
      startError: { syscall: 'execve', errnoCode: 'ENOENT', errno: 2 },
    });
  });
});

describe('exits', () => {
  test.each([
    ['exit 0', 'completed', { code: 0, signal: null }, 'exited with code 0'],
    ['exit 42', 'failed', { code: 42, signal: null }, 'exited with code 42; its restart policy is "never"'],
    ['kill -SEGV $$', 'failed', { code: null, signal: 'SIGSEGV' }, 'killed by SIGSEGV; its restart policy is "never"'],
  ])('tells `%s` as %s', async (script, status, exit, statusReason) => {
    const instanceId = nextId();
    await agent.startShell(script, { ...ONCE, instanceId });
    expect(await agent.untilStatus(instanceId, status)).toMatchObject({
      pid: null,
      statusReason,
      exit: { ...exit, at: expect.stringMatching(/Z$/) },
    });
  });

  test('stops what the main process left behind before the instance ends', async () => {
    const instanceId = nextId();
    const script = 'trap "" TERM; sleep 600 & (setsid sleep 601 &) ; env -i sleep 602 & sleep 0.2; exit 7';
    await agent.startShell(script, { ...ONCE, instanceId, stop: { graceMs: 100 } });
    expect(await agent.untilStatus(instanceId, 'failed')).toMatchObject({ exit: { code: 7 } });
    const mine = processesOf(agent.name).filter((pid) => isAlive(pid));
    const sleeper = await agent.instance('sleep.0');
    expect(mine).toEqual([sleeper.pid]);
  });

  test('tells the exit while what is left is still being stopped', async () => {
    const instanceId = nextId();
    await agent.startShell('trap "" TERM; (while :; do sleep 1; done) & exit 5', {
      ...ONCE,
      instanceId,
      stop: { graceMs: 60_000 },
    });
    expect(await agent.untilStatus(instanceId, 'stopping')).toMatchObject({ exit: { code: 5 }, pid: null });
    const stopped = await agent.stop({ instanceId, graceMs: 0 });
    expect(stopped.body).toMatchObject({ status: 'failed', exit: { code: 5 } });
  });
});

describe('restarts', () => {
  test('tries three times, waits longer each time, then fails', async () => {
    const listener = await agent.connect();
    const instanceId = nextId();
    await agent.startShell('exit 3', { instanceId, restart: { backoffMs: 100 } });
    const ended = await agent.untilStatus(instanceId, 'failed');
    expect(ended).toMatchObject({ run: 3, attempts: 3, statusReason: 'exited with code 3; 3 attempts used' });
    const reports = await until(
      () => {
        const told = listener.reports(instanceId);
        return told.at(-1)?.status === 'failed' && told;
      },
      { what: 'the end is told' },
    );
    const reasons = reports.filter(({ status }) => status === 'backoff').map(({ statusReason }) => statusReason);
    expect(reasons).toEqual([
      'exited with code 3, restart 2 of 3 in 0.1 s',
      'exited with code 3, restart 3 of 3 in 0.2 s',
    ]);
    const starts = reports.filter(({ status }) => status === 'running').map(({ startedAt }) => Date.parse(startedAt!));
    expect(starts).toHaveLength(3);
    expect(starts[1]! - starts[0]!).toBeGreaterThanOrEqual(90);
    expect(starts[2]! - starts[1]!).toBeGreaterThanOrEqual(180);
    expect(reports.map(({ rev }) => rev)).toEqual([...reports.map(({ rev }) => rev)].sort((a, b) => a - b));
    listener.close();
  });

  test('counts the attempts that were used elsewhere', async () => {
    const instanceId = nextId();
    await agent.startShell('exit 3', { ...QUICK, instanceId, attemptsUsed: 2 });
    expect(await agent.untilStatus(instanceId, 'failed')).toMatchObject({ run: 1, attempts: 3 });
  });

  test('keeps a service running, with nobody connected', async () => {
    const instanceId = nextId();
    await agent.startShell('echo run $MORCH_RUN; exit 0', { ...QUICK, kind: 'service', instanceId });
    const output = await agent.untilSaid(instanceId, 'run 4\n');
    expect(output).toContain('run 1\nrun 2\nrun 3\nrun 4\n');
    await agent.stop({ instanceId });
    expect(await agent.instance(instanceId)).toMatchObject({ status: 'stopped', statusReason: 'stopped by request' });
  });

  test('keeps the last exit while the next run lives', async () => {
    const instanceId = nextId();
    const flag = join(agents.directory, 'flag');
    const script = `if [ -e ${flag} ]; then exec sleep 600; fi; touch ${flag}; exit 9`;
    await agent.startShell(script, { ...QUICK, instanceId });
    await until(async () => (await agent.instance(instanceId)).run === 2, { what: 'run 2' });
    expect(await agent.untilStatus(instanceId, 'running')).toMatchObject({ exit: { code: 9 }, attempts: 2 });
    await agent.stop({ instanceId });
  });

  test('alone, a restart whose start fails is an attempt', async () => {
    const instanceId = nextId();
    const script = writeScript('vanishing.sh', '#!/bin/sh\nrm "$0"\nexit 1\n');
    await agent.start({ script, ...QUICK, instanceId });
    expect(await agent.untilStatus(instanceId, 'failed')).toMatchObject({
      run: 3,
      attempts: 3,
      startError: { errnoCode: 'ENOENT' },
      exit: { code: 1 },
      statusReason: 'could not be started (execve: ENOENT); 3 attempts used',
    });
  });

  test('a run that takes too long is stopped and counts as failed', async () => {
    const instanceId = nextId();
    await agent.startShell('trap "exit 0" TERM; sleep 600 & wait', {
      instanceId,
      maxRunMs: 150,
      restart: { attempts: 2, backoffMs: 10 },
    });
    expect(await agent.untilStatus(instanceId, 'failed')).toMatchObject({
      run: 2,
      exit: { code: 0 },
      statusReason: 'ran longer than 150 ms; 2 attempts used',
    });
  });
});

describe('stopping', () => {
  test('answers with the exit once the tree is gone', async () => {
    const { body } = await agent.start({ command: ['sleep', '600'], instanceId: nextId() });
    const answer = await agent.stop({ instanceId: body.instanceId });
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ status: 'stopped', run: 1, exit: { code: null, signal: 'SIGTERM' } });
    expect(isAlive(body.pid)).toBe(false);
    const again = await agent.stop({ instanceId: body.instanceId });
    expect(again).toMatchObject({ status: 200, body: answer.body });
  });

  test('by pid', async () => {
    const { body } = await agent.start({ command: ['sleep', '600'], instanceId: nextId() });
    const answer = await agent.stop({ pid: body.pid });
    expect(answer.body).toMatchObject({ instanceId: body.instanceId, status: 'stopped' });
    expect((await agent.stop({ pid: body.pid })).body).toEqual(answer.body);
  });

  test('kills children that ignore SIGTERM when the grace is over', async () => {
    const instanceId = nextId();
    const before = processesOf(agent.name);
    const script =
      'trap "" TERM; sleep 600 & sh -c "trap \\"\\" TERM; sleep 600; sleep 600" & echo up; wait; sleep 600';
    await agent.startShell(script, { instanceId, stop: { graceMs: 200 } });
    await agent.untilSaid(instanceId, 'up');
    expect((await agent.stop({ instanceId })).body).toMatchObject({ status: 'stopped', exit: { signal: 'SIGKILL' } });
    expect(processesOf(agent.name)).toEqual(before);
  });

  test('kills children that outlive a main process that obeys', async () => {
    const instanceId = nextId();
    const before = processesOf(agent.name);
    await agent.startShell('sh -c "trap \\"\\" TERM; echo up; while :; do sleep 1; done" & wait', { instanceId });
    await agent.untilSaid(instanceId, 'up');
    const stopped = await agent.stop({ instanceId, graceMs: 200 });
    expect(stopped.body).toMatchObject({ status: 'stopped', exit: { signal: 'SIGTERM' } });
    expect(processesOf(agent.name)).toEqual(before);
  });

  test('kills at once with a grace of 0', async () => {
    const { body } = await agent.startShell('trap "echo got it" TERM; while :; do sleep 1; done', {
      instanceId: nextId(),
    });
    const stopped = await agent.stop({ instanceId: body.instanceId, graceMs: 0 });
    expect(stopped.body.exit).toMatchObject({ signal: 'SIGKILL' });
    expect(await agent.logs(body.instanceId)).toBe('');
  });

  test('uses the signal asked for', async () => {
    const instanceId = nextId();
    const script = 'trap "exit 33" INT; echo up; while :; do sleep 0.05; done';
    await agent.startShell(script, { instanceId, stop: { signal: 'SIGINT' } });
    await agent.untilSaid(instanceId, 'up');
    expect((await agent.stop({ instanceId })).body).toMatchObject({ status: 'stopped', exit: { code: 33 } });
  });

  test('wakes a process that is stopped', async () => {
    const { body } = await agent.start({ command: ['sleep', '600'], instanceId: nextId() });
    process.kill(body.pid, 'SIGSTOP');
    const stopped = await agent.stop({ instanceId: body.instanceId, graceMs: 60_000 });
    expect(stopped.body.exit).toMatchObject({ signal: 'SIGTERM' });
  });

  test('during a backoff, and nothing starts after it', async () => {
    const instanceId = nextId();
    await agent.startShell('echo ran; exit 1', { instanceId, restart: { backoffMs: 60_000 } });
    await agent.untilStatus(instanceId, 'backoff');
    const stopped = await agent.stop({ instanceId });
    expect(stopped.body).toMatchObject({ status: 'stopped', run: 1, exit: { code: 1 } });
    expect(await agent.logs(instanceId)).toBe('ran\n');
  });

  test('while it starts, and nothing of it is left', async () => {
    const ids = Array.from({ length: 20 }, () => nextId());
    const before = processesOf(agent.name);
    const answers = await Promise.all(
      ids.flatMap((instanceId) => [
        agent.start({ command: ['sleep', '600'], instanceId, uid: `race-${instanceId.split('.')[0]}`, generation: 1 }),
        agent.stop({ instanceId, uid: `race-${instanceId.split('.')[0]}`, generation: 1 }),
      ]),
    );
    for (const { status } of answers) expect([200, 201, 409]).toContain(status);
    await Promise.all(ids.map((instanceId) => agent.untilStatus(instanceId, 'stopped')));
    expect(processesOf(agent.name)).toEqual(before);
  });
});

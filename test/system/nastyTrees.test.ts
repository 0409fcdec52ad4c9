/** Stops of process trees that do what they can to survive: when the answer is there, nothing of them is. */
import { chmodSync, copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Stopped } from '../../contract/agentApi';
import { Agents, type TestAgent, zombiesOf } from '../support/agent';
import { fixture, Notes } from '../support/fixtures';
import { until } from '../support/until';

const agents = new Agents();
let agent: TestAgent;
let count = 0;

beforeAll(async () => {
  agent = await agents.start({ allowUsers: process.geteuid?.() === 0 ? ['nobody'] : [] });
}, 30_000);
afterAll(() => agents.endAll(), 30_000);

const ONCE = { restart: { policy: 'never' } };
/** The tree is gone when the grace and this are over. */
const KILL_BUDGET_MS = 1_000;
/** What a machine full of other work may add. */
const SLACK_MS = 4_000;

interface Started {
  instanceId: string;
  notes: Notes;
  pid: number;
}

/** @param processes  how many notes it leaves before it is ready */
async function start(name: string, args: string[], processes: number, more: object = {}): Promise<Started> {
  const instanceId = `tree-${++count}.0`;
  const notes = new Notes(join(agents.directory, `${count}.${name}`));
  const command = [fixture(name), notes.path, ...args];
  const answer = await agent.start({ ...ONCE, command, instanceId, ...more });
  expect(answer.status).toBe(201);
  await notes.untilCount(processes);
  return { instanceId, notes, pid: answer.body.pid };
}

/** Stops it, and looks at once for what is left. */
async function stop({ instanceId, notes }: Started, graceMs: number): Promise<Stopped & { tookMs: number }> {
  const beganMs = performance.now();
  const answer = await agent.stop({ instanceId, graceMs });
  const tookMs = performance.now() - beganMs;
  const left = notes.left();
  expect(answer).toMatchObject({ status: 200 });
  expect(left).toEqual([]);
  return { ...answer.body, tookMs };
}

async function expectNoTrace(): Promise<void> {
  await until(() => zombiesOf(agent.pid).length === 0, { what: 'the agent has no zombie' });
  expect((await agent.request('GET', '/livez')).status).toBe(200);
}

/** Where there is no cgroup v2 both are the same. */
describe.each([
  ['known by descent alone', 'none'],
  ['in a group of their own', 'auto'],
])('trees %s', (_how, cgroup) => {
  let before: TestAgent;
  beforeAll(async () => {
    before = agent;
    agent = await agents.start({ cgroup });
  }, 30_000);
  afterAll(() => {
    agent = before;
  });

  test.each<[string, string[], number, 'SIGTERM' | 'SIGKILL']>([
    ['stubborn', [], 1, 'SIGKILL'],
    ['deep_tree', ['3'], 3, 'SIGKILL'],
    ['double_fork', [], 2, 'SIGTERM'],
    ['daemon', ['-1'], 2, 'SIGTERM'],
    ['renamed', [], 3, 'SIGKILL'],
    ['own_subreaper', [], 2, 'SIGKILL'],
    ['clone_parent', ['0', '60000'], 3, 'SIGTERM'],
    ['fork_bomb', ['150'], 100, 'SIGKILL'],
    ['wanderers', ['10', '2'], 8, 'SIGTERM'],
  ])('are gone within the grace and a second: %s', async (name, args, processes, signal) => {
    const started = await start(name, args, processes);
    const { tookMs, ...stopped } = await stop(started, 400);
    expect(stopped).toMatchObject({ status: 'stopped', exit: { code: null, signal } });
    expect(tookMs).toBeGreaterThanOrEqual(390);
    expect(tookMs).toBeLessThan(400 + KILL_BUDGET_MS + SLACK_MS);
    await expectNoTrace();
    // Also of those that had not noted themselves yet.
    expect(started.notes.left()).toEqual([]);
  });

  test('are gone before the next run starts, while the exit is told at once', async () => {
    const instanceId = `tree-${++count}.0`;
    const notes = new Notes(join(agents.directory, `${count}.again`));
    const restart = { policy: 'always', attempts: 2, backoffMs: 1 };
    const command = [fixture('daemon'), notes.path, '8'];
    await agent.start({ command, instanceId, restart, stop: { graceMs: 700 } });
    expect(await agent.untilStatus(instanceId, 'stopping')).toMatchObject({ run: 1, exit: { code: 8 }, pid: null });
    const [first] = await notes.untilCount(2);
    await until(
      () => {
        const alive = new Set(notes.left().map(({ pid }) => pid));
        const runs = notes.read().filter(({ role }) => role === 'main');
        if (runs.length < 2) return false;
        const firstDaemon = notes.read().find(({ role }) => role === 'daemon')!;
        expect(alive.has(firstDaemon.pid)).toBe(false);
        expect(first!.pid).toBe(runs[0]!.pid);
        return true;
      },
      { what: 'the second run has begun', timeoutMs: 10_000 },
    );
    expect(await agent.untilStatus(instanceId, 'failed')).toMatchObject({ run: 2, attempts: 2, exit: { code: 8 } });
    expect(notes.left()).toEqual([]);
  });
});

describe('trees that end when told to are not waited for any longer', () => {
  const GRACE_MS = 60_000;

  test.each<[string, string[], number, object]>([
    ['trapper', ['7'], 1, { code: 7, signal: null }],
    ['changes_session', [], 3, { code: null, signal: 'SIGTERM' }],
    ['stops_itself', [], 2, { code: null, signal: 'SIGTERM' }],
    ['zombie_maker', ['20'], 2, { code: null, signal: 'SIGTERM' }],
    ['leader_gone', ['3', '60000'], 1, { code: null, signal: 'SIGTERM' }],
    ['cleans_up', ['leave', '60000'], 1, { code: 0, signal: null }],
  ])('%s', async (name, args, processes, exit) => {
    const { tookMs, ...stopped } = await stop(await start(name, args, processes), GRACE_MS);
    expect(stopped).toMatchObject({ status: 'stopped', exit });
    expect(tookMs).toBeLessThan(GRACE_MS / 4);
    await expectNoTrace();
  });

  test('one that takes two seconds gets them', async () => {
    const started = await start('trapper', ['0', '2000'], 1);
    const { tookMs, ...stopped } = await stop(started, GRACE_MS);
    expect(stopped).toMatchObject({ status: 'stopped', exit: { code: 0, signal: null } });
    expect(tookMs).toBeGreaterThanOrEqual(1_990);
    expect(tookMs).toBeLessThan(2_000 + KILL_BUDGET_MS + SLACK_MS);
    expect(await agent.logs(started.instanceId)).toBe('ended by SIGTERM\n');
  });

  test('a child that the handler of the stop signal starts is left to do its work', async () => {
    const started = await start('cleans_up', ['wait', '400'], 1);
    const stopped = await stop(started, GRACE_MS);
    expect(stopped).toMatchObject({ status: 'stopped', exit: { code: 0, signal: null } });
    expect(started.notes.read().map(({ role }) => role)).toEqual(['main', 'cleaner']);
    expect(await agent.logs(started.instanceId)).toBe('cleaned up\n');
  });

  test('another stop signal is the one that arrives', async () => {
    const started = await start('trapper', ['4'], 1, { stop: { signal: 'SIGINT', graceMs: GRACE_MS } });
    expect(await stop(started, GRACE_MS)).toMatchObject({ exit: { code: 4 } });
    expect(await agent.logs(started.instanceId)).toBe('ended by SIGINT\n');
  });
});

describe('when the main process ends by itself, the rest of its tree is stopped', () => {
  test.each<[string, string[], number, number]>([
    ['fork_and_exit', ['3'], 2, 3],
    ['daemon', ['0'], 2, 0],
    ['zombie_maker', ['20', '5'], 2, 5],
    ['clone_parent', ['6'], 3, 6],
  ])('%s', async (name, args, processes, code) => {
    const { instanceId, notes } = await start(name, args, processes, { stop: { graceMs: 300 } });
    await until(async () => /completed|failed/.test((await agent.instance(instanceId)).status), { what: 'it ended' });
    expect(notes.left()).toEqual([]);
    const status = code === 0 ? 'completed' : 'failed';
    expect(await agent.instance(instanceId)).toMatchObject({ status, exit: { code, signal: null }, pid: null });
    await expectNoTrace();
  });
});

test('a grace of 0 kills at once what would have cleaned up', async () => {
  const started = await start('trapper', ['0', '60000'], 1);
  expect(await stop(started, 0)).toMatchObject({ exit: { code: null, signal: 'SIGKILL' } });
  expect(await agent.logs(started.instanceId)).toBe('');
});

test('of two stops at once the shorter grace counts', async () => {
  const started = await Promise.all(Array.from({ length: 10 }, () => start('stubborn', [], 1)));
  const ask = (graceMs: number) => started.map(({ instanceId }) => agent.stop({ instanceId, graceMs }));
  const long = ask(60_000);
  const answers = await Promise.all(ask(100));
  const left = started.flatMap(({ notes }) => notes.left());
  await Promise.all(ask(0)); // frees those that wait for the long grace
  expect(answers.map(({ status }) => status)).toEqual(started.map(() => 200));
  expect(left).toEqual([]);
  for (const { status } of await Promise.all(long)) expect(status).toBe(200);
});

describe('a workload that turns on its shim', () => {
  const { SIGKILL, SIGSTOP, SIGTERM } = constants.signals;

  test('is heard for SIGTERM only', async () => {
    const numbers = Array.from({ length: 64 }, (_, index) => index + 1)
      .filter((number) => number !== SIGKILL && number !== SIGSTOP && number !== SIGTERM)
      .map(String);
    const { instanceId, notes } = await start('signals_parent', ['11', ...numbers], 2, { stop: { graceMs: 300 } });
    expect(await agent.untilStatus(instanceId, 'failed')).toMatchObject({ run: 1, exit: { code: 11, signal: null } });
    expect(await agent.logs(instanceId)).toBe(numbers.map((number) => `${number}: sent\n`).join(''));
    expect(notes.left()).toEqual([]);
  });

  test('with SIGTERM is stopped itself, as if it had ended', async () => {
    const more = { stop: { graceMs: 300 } };
    const { instanceId, notes } = await start('signals_parent', ['-1', String(SIGTERM)], 2, more);
    expect(await agent.untilStatus(instanceId, 'failed')).toMatchObject({ run: 1, exit: { signal: 'SIGKILL' } });
    expect(notes.left()).toEqual([]);
  });

  test('with SIGSTOP is stopped all the same', async () => {
    const started = await start('signals_parent', ['-1', String(SIGSTOP)], 2);
    const { shimPid } = await agent.instance(started.instanceId);
    await until(() => /^State:\s+T/m.test(readFileSync(`/proc/${shimPid}/status`, 'latin1')), {
      what: 'the shim is stopped',
    });
    const { tookMs, ...stopped } = await stop(started, 300);
    expect(stopped).toMatchObject({ status: 'stopped', exit: { signal: 'SIGKILL' } });
    expect(tookMs).toBeLessThan(300 + KILL_BUDGET_MS + SLACK_MS);
  }, 30_000);

  test('with SIGKILL goes down with it', async () => {
    const { instanceId, notes } = await start('signals_parent', ['-1', String(SIGKILL)], 2);
    expect(await agent.untilStatus(instanceId, 'failed')).toMatchObject({
      run: 1,
      exit: { code: null, signal: null },
      statusReason: expect.stringContaining('shim-lost'),
    });
    await notes.expectReaped();
  });
});

describe('as another user', () => {
  const isRoot = process.getuid?.() === 0;
  const testAsRoot = isRoot ? test : test.skip;
  const note = isRoot ? '' : ' (skipped: only root may start programs as another user)';

  /** A program and a file of notes that everybody reaches, wherever this checkout is. */
  function forEverybody(name: string): { program: string; notes: Notes } {
    const directory = mkdtempSync(join(tmpdir(), 'morch-nobody-'));
    directories.push(directory);
    chmodSync(directory, 0o755);
    const program = join(directory, name);
    copyFileSync(fixture(name), program);
    const notes = new Notes(join(directory, 'notes'));
    writeFileSync(notes.path, '');
    chmodSync(notes.path, 0o666);
    return { program, notes };
  }
  const directories: string[] = [];
  afterAll(() => {
    for (const directory of directories) rmSync(directory, { recursive: true });
  });

  testAsRoot(`a fork bomb at the limit of its user's processes is stopped like any other${note}`, async () => {
    const { program, notes } = forEverybody('fork_bomb');
    const command = [program, notes.path, '200', '60'];
    const instanceId = `tree-${++count}.0`;
    expect((await agent.start({ ...ONCE, command, instanceId, user: 'nobody' })).status).toBe(201);
    await until(() => notes.read().some(({ role }) => role === 'refused'), { what: 'the kernel refuses a fork' });
    const { tookMs, ...stopped } = await stop({ instanceId, notes, pid: 0 }, 400);
    expect(stopped).toMatchObject({ status: 'stopped', exit: { signal: 'SIGKILL' } });
    expect(tookMs).toBeLessThan(400 + KILL_BUDGET_MS + SLACK_MS);
    await expectNoTrace();
  });

  testAsRoot(`a workload cannot signal its shim${note}`, async () => {
    const { program, notes } = forEverybody('signals_parent');
    const command = [program, notes.path, '12', '9', '15', '19', '12', '0'];
    const instanceId = `tree-${++count}.0`;
    await agent.start({ ...ONCE, command, instanceId, user: 'nobody', stop: { graceMs: 300 } });
    expect(await agent.untilStatus(instanceId, 'failed')).toMatchObject({ exit: { code: 12, signal: null } });
    expect(await agent.logs(instanceId)).toBe(['9', '15', '19', '12', '0'].map((n) => `${n}: EPERM\n`).join(''));
    expect(notes.left()).toEqual([]);
  });
});

test('descriptors of the agent are as few as before', async () => {
  const descriptors = () => readdirSync(`/proc/${agent.pid}/fd`).length;
  const runSome = async () => {
    const started = await Promise.all(Array.from({ length: 10 }, () => start('changes_session', [], 3)));
    await Promise.all(started.map((one) => stop(one, 10_000)));
  };
  await runSome();
  const before = descriptors();
  await runSome();
  await until(() => descriptors() <= before + 3, { what: 'no descriptor is left' });
});

/** Agents that are killed, stopped, replaced: what they run goes on, and their successors know all that happened. */
import { execFileSync } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentProcess } from '../../contract/agentApi';
import { Agents, isAlive, processesOf, type TestAgent } from '../support/agent';
import { fixture, Notes, startTicksOf } from '../support/fixtures';
import { endShims, shimsOf } from '../support/shims';
import { until } from '../support/until';

const agents = new Agents();
afterAll(() => agents.endAll(), 60_000);

const ONCE = { restart: { policy: 'never' } };
const FOREVER = { kind: 'service', restart: { backoffMs: 1 } };

/** What each run of a script writes first: of the agent's word it is independent. */
class RunLog {
  readonly path = join(agents.directory, `${randomUUID()}.runs`);
  readonly line = `echo "$MORCH_INSTANCE $MORCH_GENERATION.$MORCH_RUN $$" >> ${this.path}`;

  runsOf(instanceId: string): string[] {
    if (!existsSync(this.path)) return [];
    const lines = readFileSync(this.path, 'utf8').trimEnd().split('\n');
    return lines.map((line) => line.split(' ')).flatMap(([id, run]) => (id === instanceId ? [run!] : []));
  }
}

const shell = (...lines: string[]) => ({ command: ['/bin/sh', '-c', lines.join('; ')] });

interface Identity extends Pick<AgentProcess, 'instanceId' | 'generation' | 'run' | 'pid' | 'startedAt' | 'attempts'> {
  shimPid: number | null;
  startTicks: number | null;
}

async function running(agent: TestAgent): Promise<Identity[]> {
  const { processes } = await agent.status();
  return processes
    .filter(({ status }) => status === 'running')
    .map(({ instanceId, generation, run, pid, startedAt, attempts, shimPid }) => {
      return { instanceId, generation, run, pid, shimPid, startedAt, attempts, startTicks: startTicksOf(pid!) };
    })
    .sort((a, b) => a.instanceId.localeCompare(b.instanceId, 'en', { numeric: true }));
}

function startAll(agent: TestAgent, programs: object[]) {
  return agent.request('POST', '/start', { instances: programs });
}

describe.each(['SIGKILL', 'SIGTERM'] as const)('an agent that ends by %s', (signal) => {
  const COUNT = 20;
  let agent: TestAgent;
  let runs: RunLog;
  const end = () => agent.kill(signal);

  beforeEach(async () => {
    agent = await agents.start({ onExit: 'keep' });
    runs = new RunLog();
  }, 30_000);
  afterEach(() => agent.end());

  test('leaves what it runs as it is, three times over, and its successor can stop it', async () => {
    const program = shell(runs.line, 'exec sleep 600');
    const ids = Array.from({ length: COUNT }, (_, index) => `w.${index}`);
    await startAll(agent, [
      ...ids.map((instanceId) => ({ ...FOREVER, ...program, instanceId, generation: 7 })),
      { ...FOREVER, ...shell(runs.line, '[ $MORCH_RUN = 3 ] && exec sleep 600; exit 1'), instanceId: 'third.0' },
    ]);
    await until(async () => (await agent.instance('third.0')).run === 3, { what: 'a third run' });
    await until(() => ids.every((id) => runs.runsOf(id).length === 1), { what: 'all have begun' });
    const before = await until(
      async () => {
        const now = await running(agent);
        return now.length === COUNT + 1 && now;
      },
      { what: 'all run' },
    );
    for (let round = 0; round < 3; round++) {
      expect(await end()).toBe(signal === 'SIGTERM' ? 0 : null);
      expect(before.filter(({ pid }) => !isAlive(pid!))).toEqual([]);
      agent = await agents.restart(agent);
      expect(await running(agent)).toEqual(before);
    }
    for (const id of ids) expect(runs.runsOf(id)).toEqual(['7.1']);
    expect(runs.runsOf('third.0')).toEqual(['1.1', '1.2', '1.3']);

    const byPid = await agent.stop({ pid: before[0]!.pid });
    expect(byPid).toMatchObject({ status: 200, body: { instanceId: before[0]!.instanceId, status: 'stopped' } });
    const stops = await Promise.all([...ids, 'third.0'].map((instanceId) => agent.stop({ instanceId })));
    for (const { status, body } of stops) {
      expect({ status, body }).toMatchObject({ status: 200, body: { status: 'stopped', exit: { signal: 'SIGTERM' } } });
    }
    expect(before.filter(({ pid, startTicks }) => startTicksOf(pid!) === startTicks)).toEqual([]);
    await until(() => shimsOf(agent.dataDir).length === 0, { what: 'no shim is left' });
  }, 60_000);

  test('misses no exit: each is told with its code and time, and followed by the next run where there is one', async () => {
    const go = join(agents.directory, `${randomUUID()}.go`);
    const wait = `while [ ! -e ${go} ]; do sleep 0.02; done`;
    const codes = Array.from({ length: COUNT }, (_, index) => index * 12);
    await startAll(agent, [
      ...codes.map((code) => ({ ...ONCE, ...shell(runs.line, wait, `exit ${code}`), instanceId: `x.${code}` })),
      { ...ONCE, ...shell(runs.line, wait, 'kill -SEGV $$'), instanceId: 'x.segv' },
      {
        kind: 'service',
        ...shell(runs.line, `[ $MORCH_RUN = 2 ] && exec sleep 600`, wait, 'exit 9'),
        instanceId: 'again.0',
      },
      { ...FOREVER, ...shell(runs.line, 'exec sleep 600'), instanceId: 'stays.0' },
    ]);
    const before = await until(
      async () => {
        const now = await running(agent);
        return now.length === COUNT + 3 && now;
      },
      { what: 'all run' },
    );
    const pidOf = (id: string) => before.find(({ instanceId }) => instanceId === id)!.pid!;
    await end();
    const downAtMs = Date.now();
    writeFileSync(go, '');
    const ending = before.filter(({ instanceId }) => instanceId !== 'stays.0');
    await until(() => ending.every(({ pid }) => !isAlive(pid!)), { what: 'all have ended', timeoutMs: 15_000 });
    const goneAtMs = Date.now();
    agent = await agents.restart(agent);

    const expected = new Map<string, object>(codes.map((code) => [`x.${code}`, { code, signal: null }]));
    expected.set('x.segv', { code: null, signal: 'SIGSEGV' });
    for (const [instanceId, exit] of expected) {
      const status = instanceId === 'x.0' ? 'completed' : 'failed';
      const ended = await agent.untilStatus(instanceId, status);
      expect(ended).toMatchObject({ run: 1, generation: 1, pid: null, lost: false, exit });
      expect(Date.parse(ended.exit!.at)).toBeGreaterThanOrEqual(downAtMs - 10);
      expect(Date.parse(ended.exit!.at)).toBeLessThanOrEqual(goneAtMs + 10);
      expect(runs.runsOf(instanceId)).toEqual(['1.1']);
    }
    const again = await until(
      async () => {
        const one = await agent.instance('again.0');
        return one.run === 2 && one.status === 'running' && one;
      },
      { what: 'the second run', timeoutMs: 10_000 },
    );
    expect(again).toMatchObject({ exit: { code: 9, signal: null } });
    await until(() => runs.runsOf('again.0').length === 2, { what: 'the second run has begun' });
    expect(runs.runsOf('again.0')).toEqual(['1.1', '1.2']);
    expect(await agent.instance('stays.0')).toMatchObject({ run: 1, pid: pidOf('stays.0'), status: 'running' });

    // A second restart finds the same, and starts nothing again.
    const told = async () =>
      (await agent.status()).processes
        .map(({ instanceId, run, status, exit }) => [instanceId, run, status, exit])
        .sort();
    const first = await told();
    await end();
    agent = await agents.restart(agent);
    expect(await told()).toEqual(first);
    for (const instanceId of expected.keys()) expect(runs.runsOf(instanceId)).toHaveLength(1);
  }, 60_000);

  test('takes no byte from the output', async () => {
    const command = [fixture('write_lines'), '30000000', '100000', '10'];
    await agent.start({ ...ONCE, command, instanceId: 'writer.0' });
    const bytesSoFar = async () => Number((await agent.logs('writer.0')).length);
    await until(async () => (await bytesSoFar()) > 5_000_000, { what: 'it has written 5 MB' });
    await end();
    agent = await agents.restart(agent);
    expect(await agent.instance('writer.0')).toMatchObject({ run: 1, status: 'running' });
    await agent.untilStatus('writer.0', 'completed', 30_000);
    const text = await agent.logs('writer.0');
    expect(text).toHaveLength(30_000_000);
    const written = execFileSync('/bin/sh', ['-c', '"$@" | sha256sum', 'sh', ...command.slice(0, 2)], {
      encoding: 'utf8',
    });
    expect(createHash('sha256').update(text).digest('hex')).toBe(written.slice(0, 64));
  }, 60_000);
});

test('an agent told to stop what it runs leaves neither workload nor shim', async () => {
  const agent = await agents.start({ onExit: 'stop' });
  const notes = new Notes(join(agents.directory, 'on-exit'));
  await agent.start({ ...FOREVER, command: [fixture('daemon'), notes.path, '-1'], stop: { graceMs: 300 } });
  await agent.start({ ...FOREVER, command: ['sleep', '600'] });
  await notes.untilCount(2);
  expect(await agent.kill('SIGTERM')).toBe(0);
  expect(notes.left()).toEqual([]);
  expect(processesOf(agent.name)).toEqual([]);
  expect(shimsOf(agent.dataDir)).toEqual([]);
}, 30_000);

test('an agent that is killed at any moment of many starts has started each once at most, and has lost none', async () => {
  const STARTS = 50;
  const runs = new RunLog();
  const program = shell(runs.line, 'exec sleep 600');
  for (const [round, delayMs] of [0, 15, 40, 80, 160].entries()) {
    let agent = await agents.start();
    const ids = Array.from({ length: STARTS }, (_, index) => ({
      instanceId: `storm${round}.${index}`,
      uid: `storm-${round}`,
      generation: 1,
    }));
    const answers = ids.map((id) => agent.start({ ...ONCE, ...program, ...id }).catch(() => null));
    // The moment is the subject: wherever in the storm it comes.
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    await agent.kill('SIGKILL');
    // Node's fetch never settles where the connection was made and never accepted.
    const unanswered = new Promise<null>((resolve) => setTimeout(resolve, 500, null));
    const answered = await Promise.all(answers.map((answer) => Promise.race([answer, unanswered])));
    agent = await agents.restart(agent);

    const { processes } = await agent.status();
    const known = new Map(processes.map((one) => [one.instanceId, one]));
    for (const [index, { instanceId }] of ids.entries()) {
      const one = known.get(instanceId);
      const answer = answered[index];
      if (answer?.status === 201) expect(one).toMatchObject({ status: 'running', run: 1, pid: answer.body.pid });
      if (one === undefined) expect(runs.runsOf(instanceId)).toEqual([]);
      else if (one.status === 'running') expect(isAlive(one.pid!)).toBe(true);
      else expect(one).toMatchObject({ status: 'failed', lost: true, run: 1, pid: null });
    }
    const alive = processes.filter(({ status }) => status === 'running').map(({ pid }) => pid!);
    await until(() => alive.every((pid) => readComm(pid) === 'sleep'), { what: 'all have begun' });
    expect(processesOf(agent.name).sort()).toEqual([...alive].sort());
    expect(shimsOf(agent.dataDir)).toHaveLength(alive.length);

    // The same commands again, as by a scheduler that had no answer: none runs a second time.
    const again = await Promise.all(ids.map((id) => agent.start({ ...ONCE, ...program, ...id })));
    for (const [index, { instanceId }] of ids.entries()) {
      const before = known.get(instanceId);
      if (before?.status === 'running') {
        expect(again[index]).toMatchObject({ status: 201, body: { pid: before.pid, run: 1 } });
      } else if (before !== undefined) expect(again[index]).toMatchObject({ status: 409 });
    }
    const fresh = ids.filter(({ instanceId }, index) => {
      if (known.has(instanceId)) return false;
      expect(again[index]).toMatchObject({ status: 201, body: { run: 1 } });
      return true;
    });
    await until(() => fresh.every(({ instanceId }) => runs.runsOf(instanceId).length > 0), {
      what: 'those that were never taken in have begun',
    });
    for (const { instanceId } of ids) expect(runs.runsOf(instanceId).length).toBeLessThanOrEqual(1);
    await agent.stop({ instances: ids });
    await until(() => processesOf(agent.name).length === 0 && shimsOf(agent.dataDir).length === 0, {
      what: 'all are stopped',
      timeoutMs: 15_000,
    });
  }
}, 90_000);

test('a start that the death of the agent cut short is told as lost and not repeated, whatever else has ended', async () => {
  const agent = await agents.start();
  const id = { instanceId: 'web.0', uid: randomUUID(), generation: 1 };
  await startAll(
    agent,
    Array.from({ length: 120 }, () => ({ ...ONCE, command: ['true'] })),
  );
  await until(async () => (await agent.status()).processes.every(({ pid }) => pid === null), {
    what: 'they have ended',
  });
  await agent.start({ ...ONCE, command: ['sleep', '600'], ...id });
  await agent.kill('SIGKILL');
  // As if it had died between the intent and the clone.
  await endShims([agent.dataDir]);
  const directory = join(agent.dataDir, 'instances', `${id.uid}.0.1`);
  for (const name of readdirSync(directory)) if (name.startsWith('run.')) rmSync(join(directory, name));
  const next = await agents.restart(agent);
  expect(await next.instance('web.0')).toMatchObject({ status: 'failed', lost: true, run: 1 });
  expect(await next.start({ ...ONCE, command: ['sleep', '600'], ...id })).toMatchObject({ status: 409 });
  expect(processesOf(agent.name)).toEqual([]);
}, 30_000);

test('stops that are under way when the agent is killed are carried out, and nothing starts again', async () => {
  let agent = await agents.start();
  const notes = Array.from({ length: 10 }, (_, index) => new Notes(join(agents.directory, `stopping-${index}`)));
  await startAll(
    agent,
    notes.map(({ path }, index) => {
      return { ...FOREVER, command: [fixture('trapper'), path, '0', '1000'], instanceId: `slow.${index}` };
    }),
  );
  await Promise.all(notes.map((one) => one.untilCount(1)));
  const stops = notes.map((_, index) => agent.stop({ instanceId: `slow.${index}` }).catch(() => null));
  await Promise.all(notes.map((_, index) => agent.untilStatus(`slow.${index}`, 'stopping')));
  await agent.kill('SIGKILL');
  await Promise.all(stops);
  agent = await agents.restart(agent);
  for (const [index, one] of notes.entries()) {
    const stopped = await agent.stop({ instanceId: `slow.${index}` });
    expect(stopped).toMatchObject({
      status: 200,
      body: { status: 'stopped', run: 1, exit: { code: 0, signal: null } },
    });
    expect(one.read()).toHaveLength(1);
    expect(one.left()).toEqual([]);
  }
  expect(processesOf(agent.name)).toEqual([]);
}, 30_000);

test('an agent that is stopped for a while learns what happened meanwhile, at the time it did', async () => {
  const agent = await agents.start();
  const go = join(agents.directory, `${randomUUID()}.go`);
  const wait = `while [ ! -e ${go} ]; do sleep 0.02; done`;
  await agent.start({ ...ONCE, ...shell(wait, 'echo meanwhile', 'exit 5'), instanceId: 'ends.0' });
  await agent.start({ ...FOREVER, command: ['sleep', '600'], instanceId: 'stays.0' });
  const [ends, stays] = [await agent.instance('ends.0'), await agent.instance('stays.0')];
  process.kill(agent.pid, 'SIGSTOP');
  writeFileSync(go, '');
  await until(() => !isAlive(ends.pid!), { what: 'it has ended' });
  const endedAtMs = Date.now();
  // Long enough for what a waking agent might take for a timeout.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  process.kill(agent.pid, 'SIGCONT');
  const ended = await agent.untilStatus('ends.0', 'failed');
  expect(ended).toMatchObject({ run: 1, exit: { code: 5 } });
  expect(Date.parse(ended.exit!.at)).toBeLessThan(endedAtMs + 100);
  expect(await agent.logs('ends.0')).toBe('meanwhile\n');
  expect(await agent.instance('stays.0')).toMatchObject({ pid: stays.pid, run: 1, status: 'running' });
}, 30_000);

function readComm(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}

/**
 * A start command as a scheduler sent it, heard by somebody and sent again: word for word, with the agent's token, at every
 * later moment there is. It starts nothing twice.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Agents, processesOf, type TestAgent } from '../support/agent';
import { PlayedScheduler } from '../support/playedScheduler';
import { until } from '../support/until';

jest.setTimeout(60_000);

const agents = new Agents();
let agent: TestAgent;
let scheduler: PlayedScheduler;
beforeEach(async () => {
  agent = await agents.start();
  scheduler = await PlayedScheduler.connect(agent);
});
afterEach(async () => {
  scheduler.close();
  await agent.end();
});
afterAll(() => agents.endAll());

let count = 0;
class Captured {
  readonly uid = randomUUID();
  readonly notes = path.join(agents.directory, `notes-${++count}`);
  readonly id = { instanceId: 'web.0', uid: this.uid, generation: 3 };
  /** The very bytes. */
  readonly text: string;

  constructor(end: string, claim: object = scheduler.claim) {
    const command = ['/bin/sh', '-c', `echo "$MORCH_GENERATION" >> ${this.notes}; ${end}`];
    this.text = JSON.stringify({ command, restart: { policy: 'never' }, stop: { graceMs: 100 }, ...this.id, ...claim });
  }

  send(to = agent) {
    return to.request('POST', '/start', this.text);
  }

  /** Generations that have really run, one for each time. */
  runs(): string[] {
    return existsSync(this.notes) ? readFileSync(this.notes, 'utf8').trim().split('\n') : [];
  }

  async hasRun(times = 1): Promise<void> {
    await until(() => this.runs().length === times, { what: `it has run ${times} times` });
  }
}

const STALE = (code: string) => ({ status: 409, body: { code } });

test('while it runs: it is answered as before', async () => {
  const captured = new Captured('exec sleep 600');
  const first = await captured.send();
  expect(first.status).toBe(201);
  await captured.hasRun();
  for (let i = 0; i < 20; i += 1) expect((await captured.send()).body).toEqual(first.body);
  expect(processesOf(agent.name)).toEqual([first.body.pid]);
  expect(captured.runs()).toEqual(['3']);
});

test('many times at once, before it has run at all', async () => {
  const captured = new Captured('exec sleep 600');
  const answers = await Promise.all(Array.from({ length: 50 }, () => captured.send()));
  expect(new Set(answers.map(({ status, body }) => `${status} ${body.pid}`)).size).toBe(1);
  await captured.hasRun();
  expect(processesOf(agent.name)).toHaveLength(1);
});

test('in one batch with itself', async () => {
  const captured = new Captured('exec sleep 600');
  const { body } = await agent.request('POST', '/start', `{"instances":[${Array(20).fill(captured.text).join()}]}`);
  expect(new Set(body.results.map(({ pid }: { pid: number }) => pid)).size).toBe(1);
  await captured.hasRun();
  expect(processesOf(agent.name)).toHaveLength(1);
});

describe('after it has ended', () => {
  const ended = async () => {
    const captured = new Captured('exit 0');
    const first = await captured.send();
    expect(first.status).toBe(201);
    await agent.untilStatus('web.0', 'completed');
    return { captured, first };
  };

  test('it is answered as before', async () => {
    const { captured, first } = await ended();
    expect(await captured.send()).toMatchObject({ status: 201, body: first.body });
    expect(await agent.instance('web.0')).toMatchObject({ status: 'completed' });
    expect(captured.runs()).toEqual(['3']);
  });

  test('and the scheduler has had it forgotten', async () => {
    const { captured } = await ended();
    scheduler.send({ type: 'forget', instances: [{ uid: captured.uid, slot: '0', generation: 3 }] });
    await until(async () => (await agent.status()).processes.length === 0, { what: 'it is forgotten' });
    expect(await captured.send()).toMatchObject(STALE('STALE_GENERATION'));
    expect((await agent.status()).processes).toEqual([]);
    expect(captured.runs()).toEqual(['3']);
  });

  test('and the agent was started anew', async () => {
    const { captured } = await ended();
    scheduler.close();
    await agent.kill('SIGKILL');
    agent = await agents.restart(agent);
    expect(await captured.send()).toMatchObject(STALE('STALE_SESSION'));
    // Also once its scheduler is there again, in a session of its own.
    scheduler = await PlayedScheduler.connect(agent);
    expect(await captured.send()).toMatchObject(STALE('STALE_SESSION'));
    expect(captured.runs()).toEqual(['3']);
  });

  test('and the next generation has begun, or has ended too', async () => {
    const { captured, first } = await ended();
    const next = JSON.stringify({ ...JSON.parse(captured.text), generation: 4 });
    expect((await agent.request('POST', '/start', next)).status).toBe(201);
    expect((await captured.send()).body).toEqual(first.body);
    await captured.hasRun(2);
    await until(async () => (await agent.instance('web.0')).status === 'completed', { what: 'that has ended' });
    const forgotten = { uid: captured.uid, slot: '0', generation: 3 };
    scheduler.send({ type: 'forget', instances: [forgotten] });
    await until(async () => (await agent.status()).processes.length === 1, { what: 'the earlier is forgotten' });
    expect(await captured.send()).toMatchObject(STALE('STALE_GENERATION'));
    expect(captured.runs()).toEqual(['3', '4']);
  });
});

test('after it was stopped', async () => {
  const captured = new Captured('exec sleep 600');
  await captured.send();
  expect((await agent.stop({ ...captured.id, ...scheduler.claim })).status).toBe(200);
  expect((await captured.send()).status).toBe(201);
  expect(await agent.instance('web.0')).toMatchObject({ status: 'stopped', pid: null });
  expect(processesOf(agent.name)).toEqual([]);
});

test('before it: stopped first, it never runs', async () => {
  const captured = new Captured('exec sleep 600');
  await agent.stop({ ...captured.id, ...scheduler.claim });
  expect(await captured.send()).toMatchObject(STALE('STALE_GENERATION'));
  expect([captured.runs(), processesOf(agent.name)]).toEqual([[], []]);
});

test('in a later session, a later epoch and to another cluster', async () => {
  const captured = new Captured('exec sleep 600');
  const old = scheduler;
  scheduler = await PlayedScheduler.connect(agent);
  expect(await captured.send()).toMatchObject(STALE('STALE_SESSION'));
  old.close();
  const before = scheduler;
  scheduler = await PlayedScheduler.connect(agent, { epoch: 2 });
  before.close();
  expect(await captured.send()).toMatchObject(STALE('STALE_EPOCH'));
  const other = await agents.start();
  const itsOwn = await PlayedScheduler.connect(other, { clusterId: 'c2' });
  expect(await captured.send(other)).toMatchObject(STALE('WRONG_CLUSTER'));
  expect([captured.runs(), processesOf(agent.name), processesOf(other.name)]).toEqual([[], [], []]);
  itsOwn.close();
});

test('to another agent of the cluster', async () => {
  const captured = new Captured('exec sleep 600');
  const other = await agents.start();
  const itsOwn = await PlayedScheduler.connect(other);
  expect((await captured.send()).status).toBe(201);
  // By its token it is not let in there; and it is of another session.
  const answer = await fetch(`${other.address}/start`, {
    method: 'POST',
    headers: { authorization: `Bearer ${agent.token}`, 'content-type': 'application/json' },
    body: captured.text,
  });
  expect(answer.status).toBe(401);
  expect(await captured.send(other)).toMatchObject(STALE('STALE_SESSION'));
  expect(processesOf(other.name)).toEqual([]);
  itsOwn.close();
});

import { randomUUID } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Agents, isAlive, processesOf, type TestAgent, zombiesOf } from '../support/agent';
import { until } from '../support/until';

const agents = new Agents();
let agent: TestAgent;
let count = 0;
/** A workload of its own for each test. */
const nextInstance = () => ({ instanceId: `w${++count}.0`, uid: randomUUID() });
const SLEEP = { command: ['sleep', '600'] };

beforeAll(async () => {
  agent = await agents.start();
});
afterAll(() => agents.endAll());

describe('the same generation again', () => {
  test('gets the same answer and starts nothing', async () => {
    const id = { ...nextInstance(), generation: 4 };
    const first = await agent.start({ ...SLEEP, ...id });
    const again = await agent.start({ ...SLEEP, ...id });
    expect(first.status).toBe(201);
    expect(again).toMatchObject({ status: 201, body: first.body });
    expect(processesOf(agent.name)).toContain(first.body.pid);
    await agent.stop(id);
    expect((await agent.start({ ...SLEEP, ...id })).body).toEqual(first.body);
    expect(await agent.instance(id.instanceId)).toMatchObject({ status: 'stopped' });
  });

  test('asked twice at once starts one process', async () => {
    const id = { ...nextInstance(), generation: 1 };
    const [a, b] = await Promise.all([agent.start({ ...SLEEP, ...id }), agent.start({ ...SLEEP, ...id })]);
    expect(a.body).toEqual(b.body);
    await agent.stop(id);
  });

  test('gets the same refusal when it could not be started', async () => {
    const id = { ...nextInstance(), generation: 1 };
    const first = await agent.start({ script: '/nowhere.sh', ...id });
    const again = await agent.start({ script: '/nowhere.sh', ...id });
    expect(first.status).toBe(422);
    expect({ ...again.body, requestId: '' }).toEqual({ ...first.body, requestId: '' });
  });

  test('gets the same answer after a restart of the agent', async () => {
    const own = await agents.start();
    const [good, bad] = [
      { ...nextInstance(), generation: 2 },
      { ...nextInstance(), generation: 2 },
    ];
    const started = await own.start({ ...SLEEP, ...good });
    const refused = await own.start({ script: '/nowhere.sh', ...bad });
    await own.kill('SIGKILL');
    const next = await agents.start({ name: own.name, dataDir: own.dataDir });
    expect((await next.start({ ...SLEEP, ...good })).body).toEqual(started.body);
    expect(await next.start({ script: '/nowhere.sh', ...bad })).toMatchObject({
      status: 422,
      body: { detail: refused.body.detail, errnoCode: 'ENOENT' },
    });
    expect(processesOf(own.name)).toEqual([started.body.pid]);
  });
});

describe('other generations', () => {
  test('a lower one is refused, started or stopped, and nothing happens', async () => {
    const id = nextInstance();
    const { body } = await agent.start({ ...SLEEP, ...id, generation: 5 });
    expect(await agent.start({ ...SLEEP, ...id, generation: 4 })).toMatchObject({
      status: 409,
      body: { code: 'STALE_GENERATION' },
    });
    expect(await agent.stop({ ...id, generation: 4 })).toMatchObject({
      status: 409,
      body: { code: 'STALE_GENERATION' },
    });
    expect(isAlive(body.pid)).toBe(true);
    await agent.stop(id);
    expect(await agent.start({ ...SLEEP, ...id, generation: 3 })).toMatchObject({ status: 409 });
  });

  test('a higher one starts when the tree of the old one is gone', async () => {
    const id = nextInstance();
    const mark = join(agents.directory, 'old-alive');
    const old = `touch ${mark}; trap "sleep 0.3; rm ${mark}; exit 0" TERM; echo up; while :; do sleep 0.05; done`;
    await agent.startShell(old, { ...id, generation: 1 });
    await agent.untilSaid(id.instanceId, 'up');
    const next = await agent.startShell(`ls ${mark} 2>&1; exec sleep 600`, { ...id, generation: 7 });
    expect(next).toMatchObject({ status: 201, body: { generation: 7, run: 1 } });
    await agent.untilSaid(id.instanceId, 'No such file');
    const { processes } = await agent.status();
    expect(processes.find((one) => one.uid === id.uid && one.generation === 1)).toMatchObject({
      status: 'stopped',
      lost: false,
      exit: { code: 0 },
    });
    await agent.stop(id);
  });

  test('one that is replaced while it waits for the old one never starts', async () => {
    const id = nextInstance();
    const slow = 'trap "sleep 0.4; exit 0" TERM; echo up; while :; do sleep 0.05; done';
    await agent.startShell(slow, { ...id, generation: 1 });
    await agent.untilSaid(id.instanceId, 'up');
    const second = agent.startShell('echo second ran; exec sleep 600', { ...id, generation: 2 });
    await until(async () => (await agent.instance(id.instanceId)).generation === 2, { what: 'generation 2 waits' });
    const third = await agent.startShell('echo third ran; exec sleep 600', { ...id, generation: 3 });
    expect(third.status).toBe(201);
    expect(await second).toMatchObject({ status: 409, body: { code: 'NOT_POSSIBLE' } });
    expect(await agent.untilSaid(id.instanceId, 'third ran')).not.toContain('second ran');
    await agent.stop(id);
  });

  test('left open it is one more than the last, unless that lives', async () => {
    const { instanceId } = nextInstance();
    expect((await agent.start({ ...SLEEP, instanceId })).body).toMatchObject({ generation: 1 });
    expect(await agent.start({ ...SLEEP, instanceId })).toMatchObject({
      status: 409,
      body: { code: 'INSTANCE_EXISTS' },
    });
    await agent.stop({ instanceId });
    expect((await agent.start({ ...SLEEP, instanceId })).body).toMatchObject({ generation: 2 });
    await agent.stop({ instanceId });
  });
});

describe('a stop that comes before its start', () => {
  test('leaves a tombstone that refuses the start, also after a restart of the agent', async () => {
    const own = await agents.start();
    const id = nextInstance();
    expect(await own.stop({ ...id, generation: 3 })).toMatchObject({
      status: 200,
      body: { status: 'stopped', generation: 3, run: 0, exit: null },
    });
    const refused = { status: 409, body: { code: 'STALE_GENERATION' } };
    expect(await own.start({ ...SLEEP, ...id, generation: 3 })).toMatchObject(refused);
    await own.kill('SIGKILL');
    const next = await agents.start({ name: own.name, dataDir: own.dataDir });
    expect(await next.start({ ...SLEEP, ...id, generation: 3 })).toMatchObject(refused);
    expect(await next.start({ ...SLEEP, ...id, generation: 2 })).toMatchObject(refused);
    expect(await next.start({ ...SLEEP, ...id, generation: 4 })).toMatchObject({ status: 201 });
  });

  test('takes an earlier generation down with it', async () => {
    const id = nextInstance();
    const { body } = await agent.start({ ...SLEEP, ...id, generation: 1 });
    expect(await agent.stop({ ...id, generation: 2 })).toMatchObject({ status: 200, body: { generation: 2 } });
    expect(isAlive(body.pid)).toBe(false);
  });

  test('without a generation there is nothing to stop', async () => {
    expect(await agent.stop({ instanceId: 'nobody.0' })).toMatchObject({
      status: 404,
      body: { code: 'INSTANCE_NOT_FOUND' },
    });
    expect(await agent.stop({ pid: process.pid })).toMatchObject({ status: 404, body: { code: 'PROCESS_NOT_FOUND' } });
  });
});

describe('many at once', () => {
  test('200 are started and stopped in one request each', async () => {
    const uid = randomUUID();
    const before = processesOf(agent.name);
    const ids = Array.from({ length: 200 }, (_, slot) => ({ instanceId: `many.${slot}`, uid, generation: 1 }));
    const started = await agent.request('POST', '/start', {
      instances: [...ids.map((id) => ({ ...SLEEP, ...id })), { script: '/nowhere.sh' }],
    });
    expect(started.status).toBe(200);
    expect(new Set(started.body.results.slice(0, 200).map(({ pid }: { pid: number }) => pid)).size).toBe(200);
    expect(started.body.results[200]).toMatchObject({ status: 422, code: 'START_FAILED' });
    const unknown = { instanceId: 'unknown.0', uid: randomUUID(), generation: 1 };
    const stopped = await agent.stop({ instances: [...ids, unknown] });
    expect(stopped.status).toBe(200);
    expect(stopped.body.results).toHaveLength(201);
    expect(stopped.body.results[0]).toMatchObject({ instanceId: 'many.0', generation: 1 });
    expect(stopped.body.results[200]).toMatchObject({ status: 404, code: 'INSTANCE_NOT_FOUND' });
    await until(() => processesOf(agent.name).length === before.length, { what: 'all are gone' });
  });

  test('a stop of one never heard of is answered as a problem, and leaves its tombstone', async () => {
    const own = await agents.start();
    const id = { ...nextInstance(), generation: 1 };
    const { body } = await own.stop({ instances: [id] });
    expect(body.results).toMatchObject([{ status: 404, code: 'INSTANCE_NOT_FOUND' }]);
    expect(await own.start({ ...SLEEP, ...id })).toMatchObject({ status: 409, body: { code: 'STALE_GENERATION' } });
  });

  test('short runs leave no zombie and no descriptor', async () => {
    const descriptors = () => readdirSync(`/proc/${agent.pid}/fd`).length;
    const runMany = async (count: number) => {
      const answers = await agent.request('POST', '/start', {
        instances: Array.from({ length: count }, () => ({ command: ['true'] })),
      });
      await until(async () => (await agent.status()).processes.every(({ pid }) => pid === null), { what: 'all ended' });
      return answers.body.results.length;
    };
    await until(async () => (await agent.status()).processes.every(({ pid }) => pid === null), { what: 'it rests' });
    await runMany(20);
    const before = descriptors();
    expect(await runMany(300)).toBe(300);
    await until(() => descriptors() <= before + 3, { what: 'no descriptor is left' });
    await until(() => zombiesOf(agent.pid).length === 0, { what: 'no zombie is left' });
  }, 60_000);
});

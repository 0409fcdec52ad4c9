/** Sessions and leases on a real agent: what is executed, when, and what ends with the lease. */
import { randomUUID } from 'node:crypto';
import { createConnection } from 'node:net';
import { Agents, type Connection, isAlive, processesOf, type TestAgent } from '../support/agent';
import { PlayedScheduler, type PlayedTimes } from '../support/playedScheduler';
import { until } from '../support/until';

const agents = new Agents();
afterAll(() => agents.endAll(), 60_000);

const SLEEP = { command: ['sleep', '600'], stop: { graceMs: 100 } };
const STALE = { status: 409, body: { code: 'STALE_SESSION' } };

let slots = 0;
const someInstance = () => ({ instanceId: `web.${slots++}`, uid: randomUUID(), generation: 1 });

async function meet(times: Partial<PlayedTimes> = {}): Promise<{ agent: TestAgent; scheduler: PlayedScheduler }> {
  const agent = await agents.start();
  return { agent, scheduler: await PlayedScheduler.connect(agent, {}, times) };
}

describe('a session', () => {
  test('takes its own commands, and no others', async () => {
    const { agent, scheduler } = await meet();
    const { claim } = scheduler;
    const id = someInstance();
    expect((await agent.start({ ...SLEEP, ...id, ...claim })).status).toBe(201);
    for (const session of [claim.session - 1, claim.session + 1, undefined]) {
      expect(await agent.start({ ...SLEEP, ...someInstance(), ...claim, session })).toMatchObject(STALE);
    }
    expect(await agent.stop({ ...id, ...claim, session: claim.session + 1 })).toMatchObject(STALE);
    expect((await agent.stop({ ...id, ...claim })).status).toBe(200);
    scheduler.close();
  });

  test('is told of a stop that it asked for by the answer, and others on their connections', async () => {
    const { agent, scheduler } = await meet();
    const { claim } = scheduler;
    const listener = await agent.connect();
    const id = someInstance();
    const STUBBORN = { command: ['sh', '-c', 'trap "" TERM; sleep 600'], stop: { graceMs: 300 } };
    expect((await agent.start({ ...STUBBORN, ...id, ...claim })).status).toBe(201);
    const answer = await agent.stop({ instances: [{ ...id, ...claim }] });
    expect(answer.body.results).toMatchObject([{ status: 'stopping' }]);
    const statusesOf = (connection: Connection) => connection.reports(id.instanceId).map(({ status }) => status);
    for (const connection of [scheduler.connection, listener])
      await until(() => statusesOf(connection).includes('stopped'), { what: 'the end is told' });
    expect(statusesOf(scheduler.connection)).not.toContain('stopping');
    expect(statusesOf(listener)).toContain('stopping');
    listener.close();
    scheduler.close();
  });

  test('ends with its connection; the next one takes over', async () => {
    const { agent, scheduler } = await meet();
    scheduler.close();
    await until(async () => (await agent.start({ ...SLEEP, ...someInstance(), ...scheduler.claim })).status === 409, {
      what: 'the agent has seen the end',
    });
    const next = await PlayedScheduler.connect(agent);
    expect(await agent.start({ ...SLEEP, ...someInstance(), ...scheduler.claim })).toMatchObject(STALE);
    expect((await agent.start({ ...SLEEP, ...someInstance(), ...next.claim })).status).toBe(201);
    next.close();
  });

  test('is not ended by what an earlier connection says late', async () => {
    const agent = await agents.start();
    const given = await PlayedScheduler.hearInventory(agent);
    const present = await PlayedScheduler.connect(agent);
    await given.beginSession({ leaseMs: 1, startWithinMs: 1 });
    expect(await agent.start({ ...SLEEP, ...someInstance(), ...given.claim })).toMatchObject(STALE);
    given.close();
    expect((await agent.start({ ...SLEEP, ...someInstance(), ...present.claim })).status).toBe(201);
    present.close();
  });

  test('executes no start that was let in under the one before', async () => {
    const { agent, scheduler } = await meet();
    const id = someInstance();
    const deaf = { command: ['sh', '-c', 'trap "" TERM; while :; do sleep 0.1; done'], stop: { graceMs: 1_500 } };
    const { body: before } = await agent.start({ ...deaf, ...id, ...scheduler.claim });
    // Let in, and waits for the tree of the generation before.
    const late = agent.start({ ...SLEEP, ...id, generation: 2, ...scheduler.claim });
    await until(async () => (await agent.instance(id.instanceId)).generation === 2, { what: 'it is let in' });
    const next = await PlayedScheduler.connect(agent);
    expect(isAlive(before.pid)).toBe(true);
    expect(await late).toMatchObject(STALE);
    expect(isAlive(before.pid)).toBe(false);
    expect(await agent.untilStatus(id.instanceId, 'stopped')).toMatchObject({ generation: 2, lost: true, pid: null });
    scheduler.close();
    next.close();
  }, 15_000);

  test('starts nothing when the scheduler has not been heard for so long that it may have given the node up', async () => {
    const { agent, scheduler } = await meet({ startWithinMs: 400 });
    expect((await agent.start({ ...SLEEP, ...someInstance(), ...scheduler.claim })).status).toBe(201);
    scheduler.acknowledges = false;
    const before = processesOf(agent.name).length;
    await until(
      async () => {
        const { status, body } = await agent.start({ ...SLEEP, ...someInstance(), ...scheduler.claim });
        return status === 409 && body.code === 'STALE_SESSION';
      },
      { what: 'a start is refused' },
    );
    const count = processesOf(agent.name).length;
    expect(await agent.start({ ...SLEEP, ...someInstance(), ...scheduler.claim })).toMatchObject(STALE);
    expect(processesOf(agent.name)).toHaveLength(count);
    expect(count).toBeGreaterThanOrEqual(before);
    scheduler.acknowledges = true;
    await until(async () => (await agent.start({ ...SLEEP, ...someInstance(), ...scheduler.claim })).status === 201, {
      what: 'a start is taken again',
    });
    scheduler.close();
  });

  test('a start that waited in the socket of a stopped agent is refused when it wakes', async () => {
    const { agent, scheduler } = await meet({ startWithinMs: 500 });
    process.kill(agent.pid, 'SIGSTOP');
    const id = someInstance();
    const body = JSON.stringify({ ...SLEEP, ...id, ...scheduler.claim });
    const { hostname, port } = new URL(agent.address);
    const socket = createConnection({ host: hostname, port: Number(port) });
    let answer = '';
    socket.on('data', (data) => {
      answer += data.toString();
    });
    socket.write(
      `POST /start HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${agent.token}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    const sentAtMs = performance.now();
    await until(() => performance.now() - sentAtMs > 700, {
      what: 'it has been silent for longer than starts are good for',
    });
    // The verdict has been given: nothing is acknowledged any more.
    scheduler.acknowledges = false;
    process.kill(agent.pid, 'SIGCONT');
    await until(() => answer.includes('\r\n\r\n'), { what: 'an answer' });
    expect(answer).toContain('409');
    expect(answer).toContain('STALE_SESSION');
    expect(processesOf(agent.name)).toEqual([]);
    socket.destroy();
    scheduler.close();
  });
});

describe('a fenced instance', () => {
  const FENCED = { ...SLEEP, onDisconnect: 'stop', kind: 'service', restart: { backoffMs: 1 } };

  test('lives on while heartbeats are acknowledged, and is dead when the lease ends', async () => {
    const { agent, scheduler } = await meet({ leaseMs: 1_500 });
    const id = someInstance();
    const { body } = await agent.start({ ...FENCED, ...id, ...scheduler.claim });
    const startedAtMs = performance.now();
    await until(() => performance.now() - startedAtMs > 2_500, { what: 'it has outlived several leases' });
    expect(isAlive(body.pid)).toBe(true);
    scheduler.acknowledges = false;
    const silentAtMs = performance.now();
    await until(() => !isAlive(body.pid), { what: 'its fence has ended it' });
    expect(performance.now() - silentAtMs).toBeLessThan(1_500 + 1_000);
    expect(await agent.untilStatus(id.instanceId, 'stopped')).toMatchObject({ lost: true, run: 1 });
    scheduler.close();
  }, 15_000);

  test('also when its agent is killed, and again alive under the lease it left', async () => {
    const { agent, scheduler } = await meet({ leaseMs: 2_000 });
    const id = someInstance();
    const { body } = await agent.start({ ...FENCED, ...id, ...scheduler.claim });
    await agent.kill('SIGKILL');
    const killedAtMs = performance.now();
    // Watched beside the restart, which may take its time.
    const deadAtMs = until(() => !isAlive(body.pid) && performance.now(), { what: 'its fence has ended it' });
    const next = await agents.restart(agent);
    expect((await deadAtMs) - killedAtMs).toBeLessThan(2_000 + 1_000);
    expect(await next.untilStatus(id.instanceId, 'stopped')).toMatchObject({ lost: true, run: 1 });
  }, 15_000);

  test('goes on when its agent is killed, and back under a lease in time', async () => {
    const { agent, scheduler } = await meet({ leaseMs: 6_000 });
    const id = someInstance();
    const { body } = await agent.start({ ...FENCED, ...id, ...scheduler.claim });
    await agent.kill('SIGKILL');
    const next = await agents.restart(agent);
    const again = await PlayedScheduler.connect(next, {}, { leaseMs: 6_000 });
    const backAtMs = performance.now();
    await until(() => performance.now() - backAtMs > 6_500, { what: 'the old lease is over', timeoutMs: 10_000 });
    expect(isAlive(body.pid)).toBe(true);
    expect(await next.instance(id.instanceId)).toMatchObject({ status: 'running', pid: body.pid, run: 1 });
    // It is restarted in place as before.
    process.kill(body.pid, 'SIGKILL');
    await until(async () => (await next.instance(id.instanceId)).run === 2, { what: 'its second run' });
    again.close();
  }, 20_000);

  test('is not restarted under another lease than its own', async () => {
    const { agent, scheduler } = await meet({ leaseMs: 1_000 });
    const id = someInstance();
    const slow = { backoffMs: 2_500, maxBackoffMs: 2_500 };
    await agent.start({ ...FENCED, command: ['false'], restart: slow, ...id, ...scheduler.claim });
    await agent.untilStatus(id.instanceId, 'backoff');
    scheduler.acknowledges = false;
    const silentAtMs = performance.now();
    await until(() => performance.now() - silentAtMs > 1_200, { what: 'the lease is over' });
    scheduler.acknowledges = true;
    expect(await agent.untilStatus(id.instanceId, 'stopped')).toMatchObject({ lost: true });
    // What is started now is under the new one.
    const { body } = await agent.start({ ...FENCED, ...someInstance(), ...scheduler.claim });
    expect(isAlive(body.pid)).toBe(true);
    scheduler.close();
  }, 15_000);

  test('is no more than an unfenced one for an agent without a scheduler', async () => {
    const agent = await agents.start();
    const { body } = await agent.start(FENCED);
    const startedAtMs = performance.now();
    await until(() => performance.now() - startedAtMs > 1_500, { what: 'a shim would have looked at its lease' });
    expect(isAlive(body.pid)).toBe(true);
  });
});

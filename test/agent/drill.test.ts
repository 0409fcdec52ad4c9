/** Failures on purpose, on a real agent with a played scheduler. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { Agents, isAlive, type TestAgent } from '../support/agent';
import { PlayedScheduler, type PlayedTimes } from '../support/playedScheduler';
import { until } from '../support/until';

const agents = new Agents();
afterAll(() => agents.endAll(), 60_000);

let slots = 0;
const someInstance = () => ({ instanceId: `web.${slots++}`, uid: randomUUID(), generation: 1 });
const shell = (script: string) => ({ command: ['/bin/sh', '-c', script], stop: { graceMs: 100 } });

async function meet(times: Partial<PlayedTimes> = {}): Promise<{ agent: TestAgent; scheduler: PlayedScheduler }> {
  const agent = await agents.start({ onExit: 'keep' });
  return { agent, scheduler: await PlayedScheduler.connect(agent, {}, times) };
}

const drill = (agent: TestAgent, body: Record<string, unknown>) => agent.request('POST', '/drill', body);

/** A connection by itself, and what has come over it. */
class Wire {
  text = '';
  isClosed = false;
  private constructor(
    readonly socket: Socket,
    private readonly token: string,
  ) {
    socket.on('data', (data) => {
      this.text += data.toString();
    });
    socket.on('close', () => {
      this.isClosed = true;
    });
  }

  static async open(agent: TestAgent): Promise<Wire> {
    const { hostname, port } = new URL(agent.address);
    const wire = new Wire(createConnection({ host: hostname, port: Number(port) }), agent.token);
    await once(wire.socket, 'connect');
    return wire;
  }

  private get head(): string {
    return `Host: localhost\r\nAuthorization: Bearer ${this.token}`;
  }

  get(path: string): void {
    this.socket.write(`GET ${path} HTTP/1.1\r\n${this.head}\r\n\r\n`);
  }

  post(path: string, command: object): void {
    const body = JSON.stringify(command);
    const head = `${this.head}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
    this.socket.write(`POST ${path} HTTP/1.1\r\n${head}\r\n\r\n${body}`);
  }

  get answers(): number {
    return this.text.split('HTTP/1.1 200').length - 1;
  }
}

describe('a drill is taken', () => {
  test('of the scheduler in the present session, and of nobody else', async () => {
    const alone = await agents.start();
    const command = { kind: 'kill', clusterId: 'c1', epoch: 1, session: 1 };
    expect(await drill(alone, command)).toMatchObject({ status: 409, body: { code: 'STALE_SESSION' } });
    const { agent, scheduler } = await meet();
    const { claim } = scheduler;
    const refused: [Record<string, unknown>, number, string][] = [
      [{ ...claim, session: claim.session + 1 }, 409, 'STALE_SESSION'],
      [{ ...claim, clusterId: 'other' }, 409, 'WRONG_CLUSTER'],
      [{ clusterId: claim.clusterId, epoch: claim.epoch }, 400, 'INVALID_INPUT'],
      [{}, 400, 'INVALID_INPUT'],
      [{ ...claim, durationMs: 1_000 }, 400, 'INVALID_INPUT'],
      [{ ...claim, kind: 'cut', durationMs: 600_001 }, 400, 'INVALID_INPUT'],
      [{ ...claim, kind: 'burn' }, 400, 'INVALID_INPUT'],
    ];
    for (const [body, status, code] of refused) {
      expect(await drill(agent, { kind: 'kill', ...body })).toMatchObject({ status, body: { code } });
    }
    scheduler.close();
    // Until then one is taken, which is as short as can be.
    await until(async () => (await drill(agent, { kind: 'cut', durationMs: 1, ...claim })).status === 409, {
      what: 'the end of the session is seen',
    });
    expect(await drill(agent, { kind: 'kill', ...claim })).toMatchObject({ status: 409 });
    expect((await agent.status()).name).toBe(agent.name);
  });
});

describe('a kill', () => {
  test('is answered, then the agent is gone as by a crash; what it ran goes on under the next one', async () => {
    const { agent, scheduler } = await meet();
    const id = someInstance();
    const { body } = await agent.start({ ...shell('sleep 600'), ...id, ...scheduler.claim });
    expect(await drill(agent, { kind: 'kill', ...scheduler.claim })).toMatchObject({
      status: 202,
      body: { kind: 'kill', durationMs: null },
    });
    await until(() => agent.child.signalCode, { what: 'the agent is gone' });
    expect(agent.child.signalCode).toBe('SIGKILL');
    expect(isAlive(body.pid)).toBe(true);
    const next = await agents.restart(agent);
    expect(await next.instance(id.instanceId)).toMatchObject({ status: 'running', pid: body.pid, run: 1 });
    const again = await PlayedScheduler.connect(next);
    expect((await next.stop({ ...id, ...again.claim })).status).toBe(200);
    again.close();
  });
});

describe('a cut', () => {
  const CUT_MS = 1_500;

  test('silences what is open and what is new, and gives all of it back when it is over', async () => {
    const { agent, scheduler } = await meet();
    const { connection } = scheduler;
    const [id, other] = [someInstance(), someInstance()];
    await agent.start({
      ...shell('while :; do echo line $((n += 1)); sleep 0.05; done'),
      ...id,
      ...scheduler.claim,
    });
    const { body: victim } = await agent.start({ ...shell('exec sleep 600'), ...other, ...scheduler.claim });
    const [idle, follower] = [await Wire.open(agent), await Wire.open(agent)];
    idle.get('/livez');
    follower.get(`/instances/${id.instanceId}/logs?follow=true`);
    await until(() => idle.answers === 1 && follower.text.includes('line 3'), { what: 'both are answered' });

    const beganMs = performance.now();
    const accepted = await drill(agent, { kind: 'cut', durationMs: CUT_MS, ...scheduler.claim });
    expect(accepted).toMatchObject({ status: 202, body: { kind: 'cut', durationMs: CUT_MS } });
    // The kernel takes it in.
    const fresh = await Wire.open(agent);
    fresh.get('/livez');
    idle.get('/livez');
    const ordering = await Wire.open(agent);
    ordering.post('/stop', { ...other, ...scheduler.claim });
    const heardAtMs = performance.now();
    await until(() => performance.now() - heardAtMs > 200, { what: 'what was on its way has come' });
    const silent = { beats: connection.of('heartbeat').length, text: follower.text };
    await until(() => performance.now() - beganMs > CUT_MS - 200, { what: 'the cut is nearly over' });
    expect(connection.of('heartbeat')).toHaveLength(silent.beats);
    // What is said to it does not arrive either.
    expect(isAlive(victim.pid)).toBe(true);
    expect(follower.text).toBe(silent.text);
    expect([idle.answers, fresh.answers]).toEqual([1, 0]);
    expect([idle, fresh, follower].map(({ isClosed }) => isClosed)).toEqual([false, false, false]);
    expect(connection.closeCode).toBeNull();

    await until(() => idle.answers === 2 && fresh.answers === 1, { what: 'all are answered' });
    expect(performance.now() - beganMs).toBeGreaterThan(CUT_MS);
    await until(() => ordering.answers === 1 && !isAlive(victim.pid), {
      what: 'the stop has come, and is carried out',
    });
    await until(() => connection.of('heartbeat').length > silent.beats + CUT_MS / 100 + 3, {
      what: 'heartbeats come again, late ones first',
    });
    await until(() => follower.text.length > silent.text.length + 200, { what: 'the log goes on' });
    const numbers = [...follower.text.matchAll(/line (\d+)/g)].map(([, n]) => Number(n));
    expect(numbers).toEqual(numbers.map((_, i) => i + 1));
    expect((await agent.stop({ ...id, ...scheduler.claim })).status).toBe(200);
    for (const { socket } of [idle, fresh, follower, ordering]) socket.destroy();
    scheduler.close();
  }, 20_000);

  test('keeps acknowledgements from the agent, so that a lease runs out as in a real one', async () => {
    const { agent, scheduler } = await meet({ leaseMs: 1_000 });
    const [fenced, free] = [someInstance(), someInstance()];
    const pids: number[] = [];
    for (const [id, onDisconnect] of [
      [fenced, 'stop'],
      [free, 'replace'],
    ] as const) {
      const { body } = await agent.start({ ...shell('sleep 600'), onDisconnect, ...id, ...scheduler.claim });
      pids.push(body.pid);
    }
    await drill(agent, { kind: 'cut', durationMs: 2_500, ...scheduler.claim });
    await until(() => !isAlive(pids[0]!), { what: 'the fence has ended it' });
    expect(isAlive(pids[1]!)).toBe(true);
    // What became of it is told when the agent can speak again.
    expect(scheduler.connection.reports(fenced.instanceId).at(-1)).toMatchObject({ status: 'running' });
    await until(() => scheduler.connection.reports(fenced.instanceId).at(-1)?.status === 'stopped', {
      what: 'its end is told',
    });
    expect((await agent.stop({ ...free, ...scheduler.claim })).status).toBe(200);
    scheduler.close();
  }, 20_000);

  test('is over when the agent is told to end, and its successor knows nothing of it', async () => {
    const { agent, scheduler } = await meet();
    await drill(agent, { kind: 'cut', durationMs: 600_000, ...scheduler.claim });
    const beats = await until(() => scheduler.connection.of('heartbeat').length, { what: 'a heartbeat' });
    await agent.kill('SIGTERM');
    expect(agent.child.exitCode).toBe(0);
    expect(scheduler.connection.of('heartbeat').length).toBeGreaterThanOrEqual(beats);
    const next = await agents.restart(agent);
    expect((await next.request('GET', '/livez')).status).toBe(200);
  }, 20_000);
});

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import {
  agentMessageSchema,
  CLOSE_STALE_EPOCH,
  CLOSE_WRONG_CLUSTER,
  type ForgetMessage,
} from '../../contract/agentApi';
import { Agents, Connection, type TestAgent } from '../support/agent';
import { PlayedScheduler } from '../support/playedScheduler';
import { until } from '../support/until';

const agents = new Agents();
afterAll(() => agents.endAll());

const SLEEP = { command: ['sleep', '600'] };
const ofCluster = (clusterId: string, epoch: number, slot = '0', session = 1) => ({
  instanceId: `web.${slot}`,
  uid: randomUUID(),
  generation: 1,
  clusterId,
  epoch,
  session,
});

describe('whose commands are taken', () => {
  let agent: TestAgent;
  let scheduler: PlayedScheduler;
  beforeAll(async () => {
    agent = await agents.start();
  });
  afterAll(() => scheduler.close());

  test('anybody’s, until a scheduler has commanded', async () => {
    expect((await agent.start({ command: ['true'] })).status).toBe(201);
    expect(await agent.start({ ...SLEEP, ...ofCluster('c1', 3) })).toMatchObject({
      status: 409,
      body: { code: 'STALE_SESSION', detail: expect.stringContaining('none has begun') },
    });
    expect((await agent.status()).clusterId).toBeNull();
    scheduler = await PlayedScheduler.connect(agent, { epoch: 3 });
    const id = { ...ofCluster('c1', 3), ...scheduler.claim };
    expect((await agent.start({ ...SLEEP, ...id })).status).toBe(201);
    expect(await agent.status()).toMatchObject({ clusterId: 'c1', epoch: 3 });

    const wrong = { status: 409, body: { code: 'WRONG_CLUSTER', detail: expect.stringContaining('scheduler') } };
    expect(await agent.start({ command: ['true'] })).toMatchObject(wrong);
    expect(await agent.stop({ instanceId: 'web.0' })).toMatchObject(wrong);
    expect(await agent.stop({ ...id, clusterId: 'c2' })).toMatchObject(wrong);
    expect(await agent.start({ ...SLEEP, ...ofCluster('c2', 9) })).toMatchObject(wrong);
    const stale = { status: 409, body: { code: 'STALE_EPOCH' } };
    expect(await agent.start({ ...SLEEP, ...ofCluster('c1', 2) })).toMatchObject(stale);
    expect(await agent.stop({ ...id, epoch: 2 })).toMatchObject(stale);
    expect(await agent.instance('web.0')).toMatchObject({ status: 'running' });
    expect(await agent.stop({ ...id, epoch: 4 })).toMatchObject({ status: 409, body: { code: 'STALE_SESSION' } });
    const { session: _, ...withoutSession } = id;
    expect((await agent.stop({ ...withoutSession, epoch: 4 })).status).toBe(200);
    expect(await agent.status()).toMatchObject({ clusterId: 'c1', epoch: 4 });
  });

  test('what was started alone stays its starter’s, and no scheduler is told of it', async () => {
    const alone = await agents.start();
    const { body } = await alone.start(SLEEP);
    const connection = await alone.connect('?clusterId=c9&epoch=1');
    const hello = await until(() => connection.messages.find(({ type }) => type === 'hello'), {
      what: 'the inventory',
    });
    expect(hello).toMatchObject({ instances: [] });
    expect((await alone.start(SLEEP)).status).toBe(409);
    expect(await alone.stop({ instanceId: body.instanceId })).toMatchObject({
      status: 200,
      body: { status: 'stopped' },
    });
    expect(connection.messages.filter(({ type }) => type === 'instance')).toEqual([]);
    connection.close();
    await alone.kill('SIGTERM');
  });

  test('each of a batch by itself', async () => {
    scheduler.close();
    scheduler = await PlayedScheduler.connect(agent, { epoch: 4 });
    const { session } = scheduler.claim;
    const { body } = await agent.start({
      instances: [
        { ...SLEEP, ...ofCluster('c2', 9, '1', session) },
        { command: ['true'], ...ofCluster('c1', 4, '2', session) },
      ],
    });
    expect(body.results).toMatchObject([{ status: 409, code: 'WRONG_CLUSTER' }, { instanceId: 'web.2' }]);
  });

  test('also after a restart of the agent', async () => {
    await agent.kill('SIGKILL');
    const next = await agents.start({ name: agent.name, dataDir: agent.dataDir });
    expect(await next.status()).toMatchObject({ clusterId: 'c1', epoch: 4 });
    expect(await next.start({ command: ['true'] })).toMatchObject({ status: 409 });
  });
});

describe('a scheduler’s connection', () => {
  let agent: TestAgent;
  const connections: Connection[] = [];
  const connect = async (query = '') => {
    const connection = await agent.connect(query);
    connections.push(connection);
    return connection;
  };
  beforeAll(async () => {
    agent = await agents.start({ labels: { zone: 'b' } });
  });
  afterEach(() => {
    for (const connection of connections.splice(0)) connection.close();
  });

  test('begins with the inventory, then a heartbeat at once and one each second', async () => {
    await agent.start({ ...SLEEP, instanceId: 'here.0' });
    await agent.start({ command: ['true'], instanceId: 'ended.0' });
    await agent.untilStatus('ended.0', 'completed');
    const listener = await connect();
    await until(() => listener.of('heartbeat').length >= 2, { what: 'two heartbeats' });
    expect(listener.messages.slice(0, 2).map(({ type }) => type)).toEqual(['hello', 'heartbeat']);
    for (const message of listener.messages) agentMessageSchema.parse(message);
    const [hello] = listener.of('hello');
    expect(hello).toMatchObject({ name: agent.name, labels: { zone: 'b' } });
    expect(hello!.instances.map(({ instanceId, status }) => [instanceId, status])).toEqual(
      expect.arrayContaining([
        ['here.0', 'running'],
        ['ended.0', 'completed'],
      ]),
    );
    expect(listener.of('heartbeat').map(({ n }) => n)).toEqual([1, 2]);
    expect(listener.of('heartbeat')[0]!.digest).toEqual({ instances: 2, live: 1 });
    const usage = await until(() => listener.of('heartbeat').find((one) => one.usage !== undefined)?.usage, {
      what: 'a heartbeat that tells of usage',
      timeoutMs: 10_000,
    });
    expect(usage).toEqual([['here.0', 1, expect.any(Number), expect.any(Number)]]);
    expect(usage[0]![3]).toBeGreaterThan(0);
  }, 15_000);

  test('is told of every change at once', async () => {
    const listener = await connect();
    await agent.startShell('exit 3', { instanceId: 'told.0', restart: { attempts: 2, backoffMs: 1 } });
    await until(() => listener.reports('told.0').at(-1)?.status === 'failed', { what: 'the end' });
    const told = listener.reports('told.0').map(({ run, status }) => `${run} ${status}`);
    expect(told).toEqual(['1 starting', '1 running', '1 backoff', '2 starting', '2 running', '2 failed']);
  });

  test('of another cluster or an earlier term is closed', async () => {
    const first = await connect('?clusterId=c1&epoch=5');
    await until(() => first.of('hello').length > 0, { what: 'hello' });
    expect(await agent.status()).toMatchObject({ clusterId: 'c1', epoch: 5 });
    expect(await (await connect('?clusterId=c2&epoch=9')).untilClosed()).toBe(CLOSE_WRONG_CLUSTER);
    expect(await (await connect('?clusterId=c1&epoch=4')).untilClosed()).toBe(CLOSE_STALE_EPOCH);
    expect(first.closeCode).toBeNull();
    const later = await connect('?clusterId=c1&epoch=6');
    expect(await first.untilClosed()).toBe(CLOSE_STALE_EPOCH);
    expect(later.closeCode).toBeNull();
  });

  test('may have ended generations forgotten; a listener may not', async () => {
    const scheduler = await PlayedScheduler.connect(agent, { epoch: 6 });
    connections.push(scheduler.connection);
    const id = { ...ofCluster('c1', 6), ...scheduler.claim };
    await agent.start({ command: ['true'], ...id });
    await agent.untilStatus('web.0', 'completed');
    const live = { ...ofCluster('c1', 6, '1'), ...scheduler.claim };
    await agent.start({ ...SLEEP, ...live });
    const forget: ForgetMessage = {
      type: 'forget',
      instances: [
        { uid: id.uid, slot: '0', generation: 1 },
        { uid: live.uid, slot: '1', generation: 1 },
        { uid: 'unknown', slot: '0', generation: 1 },
      ],
    };
    const listener = await connect();
    listener.socket.send(JSON.stringify(forget));
    await until(() => listener.of('heartbeat').length >= 2, { what: 'it had time to be heard' });
    expect(await agent.instance('web.0')).toBeDefined();
    scheduler.send(forget);
    await until(async () => (await agent.instance('web.0')) === undefined, { what: 'it is forgotten' });
    expect(await agent.instance('web.1')).toMatchObject({ status: 'running' });
    const record = join(agent.dataDir, 'instances', `${id.uid}.0.1`);
    await until(() => !existsSync(record), { what: 'its record is gone' });
  });

  test('that talks nonsense is closed, and a bad query is refused', async () => {
    const scheduler = await connect('?clusterId=c1&epoch=6');
    scheduler.socket.send('nonsense');
    expect(await scheduler.untilClosed()).toBe(1008);
    await expect(connect('?clusterId=c1&epoch=zero')).rejects.toThrow('400');
    const elsewhere = new Connection(`${agent.address.replace('http', 'ws')}/elsewhere`, agent.token);
    await expect(elsewhere.settled).rejects.toThrow('404');
  });
});

test('a restart in place that cannot be executed ends the generation, for the scheduler to try elsewhere', async () => {
  const agent = await agents.start();
  const script = `${agents.directory}/once.sh`;
  writeFileSync(script, '#!/bin/sh\nrm "$0"\nexit 1\n', { mode: 0o755 });
  const scheduler = await PlayedScheduler.connect(agent);
  await agent.start({ script, ...ofCluster('c1', 1), ...scheduler.claim, restart: { backoffMs: 1 } });
  expect(await agent.untilStatus('web.0', 'failed')).toMatchObject({
    run: 2,
    attempts: 2,
    lost: false,
    startError: { errnoCode: 'ENOENT', syscall: 'execve' },
    exit: { code: 1 },
  });
  scheduler.close();
});

describe('registration', () => {
  /** Stands in for a scheduler: the real one is tested with real agents in test/system. */
  class Stub {
    readonly registered: unknown[] = [];
    answer: { status: number; body: object } = { status: 201, body: {} };
    clusterId = 'k1';
    epoch = 7;
    readonly server: Server = createServer(async (request, response) => {
      if (request.url === '/health') {
        response.end(JSON.stringify({ clusterId: this.clusterId, epoch: this.epoch }));
        return;
      }
      let text = '';
      for await (const chunk of request) text += chunk;
      this.registered.push(JSON.parse(text));
      response.writeHead(this.answer.status, { 'Content-Type': 'application/json' });
      response.end(JSON.stringify(this.answer.body));
    });

    async listen(port = 0): Promise<string> {
      this.server.listen(port, '127.0.0.1');
      await once(this.server, 'listening');
      return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    }
  }

  let stub: Stub;
  beforeEach(() => {
    stub = new Stub();
  });
  afterEach(() => {
    stub.server.closeAllConnections();
    stub.server.close();
  });

  test('tells name, address and labels, and joins the scheduler’s cluster', async () => {
    const scheduler = await stub.listen();
    const agent = await agents.start({ scheduler, labels: { zone: 'c' } });
    await until(async () => (await agent.status()).clusterId === 'k1', { what: 'it has joined' });
    expect(stub.registered[0]).toEqual({
      host: '127.0.0.1',
      port: agent.port,
      name: agent.name,
      labels: { zone: 'c' },
      agentToken: agent.token,
    });
    expect(await agent.status()).toMatchObject({ clusterId: 'k1', epoch: 7 });
    await agent.kill('SIGKILL');

    // Joining anew: another cluster takes it over.
    stub.clusterId = 'k2';
    stub.epoch = 1;
    const options = { name: agent.name, dataDir: agent.dataDir, scheduler, advertise: '10.1.2.3:99' };
    const next = await agents.start(options);
    await until(async () => (await next.status()).clusterId === 'k2', { what: 'it has joined the other' });
    expect(await next.status()).toMatchObject({ epoch: 1 });
    expect(stub.registered.at(-1)).toMatchObject({ host: '10.1.2.3', port: 99 });
    await next.kill('SIGKILL');
  });

  test('is tried until it succeeds, each failure said once, and again when no scheduler is connected', async () => {
    stub.answer = {
      status: 409,
      body: { type: 'x', title: 'x', status: 409, code: 'NODE_EXISTS', detail: 'The name is held.' },
    };
    const scheduler = await stub.listen();
    const agent = await agents.start({ scheduler });
    await until(() => stub.registered.length >= 3, { what: 'three tries' });
    expect(agent.stderr.match(/NODE_EXISTS/g)).toHaveLength(1);
    expect(agent.stderr).toContain('--name');
    expect((await agent.status()).clusterId).toBeNull();
    stub.answer = { status: 201, body: {} };
    await until(async () => (await agent.status()).clusterId === 'k1', { what: 'it has joined' });

    const before = stub.registered.length;
    await until(() => stub.registered.length > before, { what: 'it registers again', timeoutMs: 10_000 });
    const connection = await agent.connect('?clusterId=k1&epoch=7');
    expect(connection.closeCode).toBeNull();
    connection.close();
    await agent.kill('SIGKILL');
  }, 30_000);

  test('with what is no scheduler is told in words', async () => {
    const answers: [status: number, text: string][] = [
      [404, '{}'],
      [200, '[]'],
    ];
    for (const [status, text] of answers) {
      const other = createServer((_, response) => response.writeHead(status).end(text)).listen(0, '127.0.0.1');
      await once(other, 'listening');
      const agent = await agents.start({ scheduler: `http://127.0.0.1:${(other.address() as AddressInfo).port}` });
      await until(() => agent.stderr.includes('cannot register'), { what: 'it has said why' });
      expect(agent.stderr).toContain(
        status === 404 ? '(it answered 404 to GET /health)' : '(its answer to GET /health',
      );
      expect(agent.stderr).not.toContain('([');
      await agent.kill('SIGKILL');
      other.close();
    }
  }, 30_000);

  test('that cannot be recorded is blamed on the own disk, and succeeds once it can', async () => {
    const scheduler = await stub.listen();
    const agent = await agents.start({ scheduler });
    await until(async () => (await agent.status()).clusterId === 'k1', { what: 'it has joined' });
    await agent.kill('SIGKILL');
    // In the way of the file that is to replace agent.json.
    const obstacle = join(agent.dataDir, 'agent.json.tmp');
    rmSync(obstacle, { force: true });
    mkdirSync(obstacle);
    stub.clusterId = 'k2';
    const next = await agents.start({ name: agent.name, dataDir: agent.dataDir, scheduler });
    await until(() => next.stdout.includes('cannot register') || next.stderr.includes('cannot register'), {
      what: 'it has said why',
    });
    const told = next.stdout + next.stderr;
    expect(told).toContain(`cannot register: Cannot record the cluster of this agent in ${agent.dataDir}`);
    expect(told).toContain('EISDIR');
    expect(told).not.toContain('does not answer as a scheduler');
    rmdirSync(obstacle);
    await until(async () => (await next.status()).clusterId === 'k2', { what: 'it has joined', timeoutMs: 10_000 });
    await next.kill('SIGKILL');
  }, 30_000);
});

test('a file for the join token that is not there is named at the start, whether or not a scheduler answers', async () => {
  const joinTokenFile = join(agents.directory, 'nowhere', 'join.token');
  const scheduler = 'http://127.0.0.1:9';
  const warned = `--join-token-file ${joinTokenFile} is not there: this agent joins once`;
  const agent = await agents.start({ scheduler, joinTokenFile });
  expect(agent.stderr).toContain(warned);
  await agent.end();
  mkdirSync(join(agents.directory, 'nowhere'));
  writeFileSync(joinTokenFile, 'morch_join_00000000_x');
  const other = await agents.start({ scheduler, joinTokenFile });
  expect(other.stderr).not.toContain('--join-token-file');
  await other.end();
});

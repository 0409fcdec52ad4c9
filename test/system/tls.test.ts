/** A cluster that speaks TLS, on loopback: what users do works as without, and nobody passes for another. */

import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import { connect as connectTcp, createServer as createTcpServer, type Socket } from 'node:net';
import path from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { Agent, request } from 'undici';
import WebSocket from 'ws';
import { makeRequest } from '../../pki/issue';
import { TLS_SETTINGS } from '../../pki/settings';
import { morch } from '../cli/morch';
import { Cluster, end, freePort } from '../support/cluster';
import { until } from '../support/until';

jest.setTimeout(90_000);

/** A port that passes on to another of this machine, and hears all. */
class Tap {
  private readonly chunks: Buffer[] = [];
  private readonly server = createTcpServer((from) => {
    const to = connectTcp(this.target, '127.0.0.1');
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      one.on('data', (chunk: Buffer) => {
        this.chunks.push(chunk);
        other.write(chunk);
      });
      one.on('error', () => other.destroy()).on('close', () => other.destroy());
    }
  });

  private constructor(readonly target: number) {}

  static async open(target: number): Promise<Tap> {
    const tap = new Tap(target);
    tap.server.listen(0, '127.0.0.1');
    await once(tap.server, 'listening');
    return tap;
  }

  get port(): number {
    return (this.server.address() as { port: number }).port;
  }

  heard(): Buffer {
    return Buffer.concat(this.chunks);
  }

  close(): void {
    this.server.close();
  }
}

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(2, { schedulerArgs: { tls: true } });
});
afterAll(() => cluster?.close());

const caOf = () => readFileSync(cluster.caFile, 'utf8');
/** An error on the way to it is what some of them are for. */
const closed = (socket: Socket) =>
  new Promise<void>((resolve) => socket.on('error', () => {}).on('close', () => resolve()));
/** What somebody has who has read a node's disk. */
const stolen = (node: string) => {
  const pem = readFileSync(path.join(cluster.agents.get(node)!.dataDir, 'pki', 'node.pem'), 'utf8');
  return { cert: pem, key: pem };
};

async function askAs(node: string, route: string, body: object): Promise<{ status: number; body: { code?: string } }> {
  const dispatcher = new Agent({ connect: { ca: caOf(), ...stolen(node) } });
  const headers = { 'content-type': 'application/json' };
  const answer = await request(`${cluster.url}${route}`, {
    method: 'POST',
    headers,
    body: JSON.stringify(body),
    dispatcher,
  });
  const told = (await answer.body.json()) as { code?: string };
  await dispatcher.close();
  return { status: answer.statusCode, body: told };
}

test('a workload runs, tells its output and stops, as without TLS', async () => {
  await cluster.submit({
    id: 'web',
    kind: 'service',
    replicas: 2,
    command: ['/bin/sh', '-c', 'echo hello; exec sleep 600'],
  });
  await cluster.untilRunning('web', 2);
  await until(async () => (await (await cluster.fetch('/workloads/web/logs')).text()).split('hello').length === 3, {
    what: 'both have said hello',
  });
  expect((await cluster.request('POST', '/health/check')).body.results).toEqual([
    expect.objectContaining({ ok: true }),
    expect.objectContaining({ ok: true }),
  ]);
  await cluster.request('DELETE', '/workloads/web?purge=true');
  await until(async () => (await cluster.fetch('/workloads/web')).status === 404, { what: 'it is gone' });
});

test('the commands find their way by the authority, and without it say what is missing', async () => {
  const env = { ...cluster.env, MORCH_CACERT: cluster.caFile };
  expect((await morch(['nodes', '-q'], { env })).stdout.trim().split('\n')).toEqual(['n1', 'n2']);
  const stranger = await morch(['nodes'], { env: cluster.env });
  expect(stranger).toMatchObject({ exitCode: 5, stderr: expect.stringContaining('--ca-file') });
  const plain = await morch(['nodes'], { env: { ...env, MORCH_ADDRESS: cluster.url.replace('https', 'http') } });
  expect(plain).toMatchObject({ exitCode: 5, stderr: expect.stringContaining('begins with https://') });
});

test('events come over a WebSocket', async () => {
  const url = `${cluster.url.replace('https', 'wss')}/events?since=0`;
  const socket = new WebSocket(url, { ca: caOf(), headers: { authorization: `Bearer ${cluster.tokens.admin}` } });
  const [first] = await once(socket, 'message');
  expect(JSON.parse(String(first))).toMatchObject({ seq: 1 });
  socket.terminate();
});

test('a request that offers another protocol is served without it', async () => {
  const socket = connect({ port: cluster.scheduler.port, host: '127.0.0.1', ca: caOf() });
  await once(socket, 'secureConnect');
  socket.write(
    'GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n',
  );
  const [answer] = await once(socket, 'data');
  expect(String(answer)).toMatch(/^HTTP\/1\.1 200 /);
  socket.destroy();
});

test('nothing that is said between scheduler and agent passes in the clear', async () => {
  const toScheduler = await Tap.open(cluster.scheduler.port);
  const toAgent = await Tap.open(await freePort());
  const part = await cluster.startAgent('tapped', {
    port: toAgent.target,
    scheduler: `https://127.0.0.1:${toScheduler.port}`,
    advertise: `127.0.0.1:${toAgent.port}`,
    labels: { tapped: 'yes' },
  });
  await cluster.untilNode('tapped', 'healthy');
  const constraints = [{ label: 'tapped', op: 'exists' }];
  const command = ['/bin/sh', '-c', 'echo said-$CANARY'];
  await cluster.submit({ id: 'canary', command, env: { CANARY: 'kept-to-ourselves' }, placement: { constraints } });
  await cluster.untilStatus('canary', 'completed');
  expect(await (await cluster.fetch('/workloads/canary/logs')).text()).toContain('said-kept-to-ourselves');

  const secrets = [
    cluster.tokens.join,
    cluster.tokens.admin,
    readFileSync(path.join(part.dataDir, 'agent.token'), 'utf8'),
  ];
  for (const tap of [toScheduler, toAgent]) {
    const bytes = tap.heard();
    expect(bytes.length).toBeGreaterThan(2_000);
    const words = ['kept-to-ourselves', 'HTTP/1.1', 'canary', 'Bearer', ...secrets.map((text) => text.trim())];
    expect(words.filter((word) => bytes.includes(word))).toEqual([]);
  }
  await end(part.child, 'SIGTERM');
  await cluster.request('DELETE', '/nodes/tapped?force=true');
  cluster.agents.delete('tapped');
  toScheduler.close();
  toAgent.close();
});

test('a drill cuts a node off, and lets it back', async () => {
  expect((await cluster.request('POST', '/nodes/n2/drill', { kind: 'cut', durationMs: 7_000 })).status).toBe(202);
  await cluster.untilNode('n2', 'lost');
  await cluster.untilNode('n2', 'healthy');
});

describe('a stolen certificate of n1', () => {
  test('registers no other node', async () => {
    const answer = await askAs('n1', '/nodes', {
      host: '127.0.0.1',
      port: cluster.agents.get('n2')!.port,
      name: 'n2',
      tls: true,
    });
    expect(answer).toMatchObject({ status: 403, body: { code: 'FORBIDDEN' } });
    expect((await cluster.request('GET', '/nodes/n2')).body).toMatchObject({ status: 'healthy' });
  });

  test('gets no certificate of another', async () => {
    const { request: csr } = await makeRequest({ kind: 'node', id: 'n2' });
    expect(await askAs('n1', '/nodes/n2/certificate', { csr })).toMatchObject({
      status: 403,
      body: { code: 'FORBIDDEN' },
    });
    expect(await askAs('n1', '/nodes/n3/certificate', { csr })).toMatchObject({
      status: 403,
      body: { code: 'FORBIDDEN' },
    });
  });

  test('opens nothing else of the scheduler', async () => {
    for (const route of ['/workloads', '/tokens', '/nodes/n2/drain', '/recovery/release']) {
      expect(await askAs('n1', route, {})).toMatchObject({ status: 403 });
    }
  });

  test('is not let in by another agent, not even with its token', async () => {
    const { port, dataDir } = cluster.agents.get('n2')!;
    const token = readFileSync(path.join(dataDir, 'agent.token'), 'utf8').trim();
    const socket = connect({
      port,
      host: '127.0.0.1',
      ca: caOf(),
      ...stolen('n1'),
      checkServerIdentity: () => undefined,
    });
    socket.on('secureConnect', () =>
      socket.write(`GET /status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n\r\n`),
    );
    let answer = '';
    socket.on('data', (data) => {
      answer += data;
    });
    await closed(socket);
    expect(answer).toBe('');
  });

  test('does not pass for another agent', async () => {
    const { child, port } = cluster.agents.get('n2')!;
    await end(child, 'SIGKILL');
    let heard = 0;
    const impostor = createServer({ ...TLS_SETTINGS, ...stolen('n1') }, (_, response) => {
      heard += 1;
      response.end('{}');
    });
    const handshakes: (string | undefined)[] = [];
    impostor.on('connection', () => handshakes.push('begun'));
    impostor.listen(port, '127.0.0.1');
    await until(() => handshakes.length > 3, { what: 'the scheduler has come several times' });
    await cluster.untilNode('n2', 'lost');
    expect(heard).toBe(0);
    await new Promise((resolve) => impostor.close(resolve));
    await cluster.startAgent('n2');
    await cluster.untilNode('n2', 'healthy');
  });
});

test('whoever shows no certificate is not let in by an agent', async () => {
  const { port } = cluster.agents.get('n2')!;
  const socket: TLSSocket = connect({ port, host: '127.0.0.1', ca: caOf(), checkServerIdentity: () => undefined });
  socket.on('secureConnect', () => socket.write('GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n'));
  const answered = jest.fn();
  socket.on('data', answered);
  await closed(socket);
  expect(answered).not.toHaveBeenCalled();
});

test('an agent started again is known by its certificate, without a join token', async () => {
  await end(cluster.agents.get('n1')!.child, 'SIGKILL');
  await cluster.startAgent('n1', { joinTokenFile: '/nonexistent' });
  await cluster.untilNode('n1', 'healthy');
});

test('a node that was forgotten is nobody, until a join token lets it in again', async () => {
  const before = stolen('n1');
  await end(cluster.agents.get('n1')!.child, 'SIGTERM');
  await cluster.untilNode('n1', 'lost');
  expect((await cluster.request('DELETE', '/nodes/n1?force=true')).status).toBe(204);
  const { request: csr } = await makeRequest({ kind: 'node', id: 'n1' });
  expect(await askAs('n1', '/nodes/n1/certificate', { csr })).toMatchObject({ status: 401 });
  // Records are kept where certificates are not: the scheduler started anew knows it as well.
  await end(cluster.scheduler.child, 'SIGTERM');
  await cluster.startScheduler();
  expect(await askAs('n1', '/nodes/n1/certificate', { csr })).toMatchObject({ status: 401 });
  await cluster.startAgent('n1');
  await cluster.untilNode('n1', 'healthy');
  expect(stolen('n1')).not.toEqual(before);
});

test('with the certificate from before it was forgotten nobody passes for the node when it is away', async () => {
  const former = stolen('n1');
  await end(cluster.agents.get('n1')!.child, 'SIGTERM');
  await cluster.untilNode('n1', 'lost');
  expect((await cluster.request('DELETE', '/nodes/n1?force=true')).status).toBe(204);
  await cluster.startAgent('n1');
  await cluster.untilNode('n1', 'healthy');
  const { port, child } = cluster.agents.get('n1')!;
  await end(child, 'SIGKILL');
  const said: string[] = [];
  const impostor = createServer({ ...TLS_SETTINGS, ...former }, (message, response) => {
    said.push(`${message.method} ${message.url} ${message.headers.authorization}`);
    response.end('{}');
  });
  impostor.on('upgrade', (message, socket) => {
    said.push(`${message.url} ${message.headers.authorization}`);
    socket.destroy();
  });
  impostor.listen(port, '127.0.0.1');
  await once(impostor, 'listening');
  const { body } = await cluster.request('POST', '/health/check');
  expect(body.results).toContainEqual(
    expect.objectContaining({ node: 'n1', ok: false, error: expect.stringContaining('it was revoked') }),
  );
  await cluster.untilNode('n1', 'lost');
  expect(said).toEqual([]);
  await new Promise((resolve) => impostor.close(resolve));
  await cluster.startAgent('n1');
  await cluster.untilNode('n1', 'healthy');
});

test('a join token for one node lets in one, by its certificate', async () => {
  const wish = { name: 'one', role: 'join', maxUses: 1 };
  const { body } = await cluster.request<{ id: string; token: string }>('POST', '/tokens', wish);
  expect(body.token).toMatch(/\.[\w-]{43}$/);
  await cluster.startAgent('first', { joinToken: body.token });
  await cluster.untilNode('first', 'healthy');
  await cluster.startAgent('second', { joinToken: body.token });
  await until(async () => (await cluster.logOf('second')).includes('UNAUTHENTICATED'), {
    timeoutMs: 20_000,
    what: 'the second is refused',
  });
  expect((await cluster.fetch('/nodes/second')).status).toBe(404);
  for (const name of ['first', 'second']) {
    await end(cluster.agents.get(name)!.child, 'SIGTERM');
    cluster.agents.delete(name);
  }
  await cluster.request('DELETE', '/nodes/first?force=true');
});

test('before it knows its scheduler by the hash in the join token, an agent says nothing to it', async () => {
  const said: string[] = [];
  const { cert, key } = stolen('n2');
  const impostor = createServer({ ...TLS_SETTINGS, cert, key }, (message, response) => {
    said.push(`${message.method} ${message.url} ${message.headers.authorization ?? 'no token'}`);
    response
      .setHeader('content-type', 'application/x-pem-file')
      .end(cert.slice(cert.indexOf('-----BEGIN CERTIFICATE')));
  });
  impostor.listen(0, '127.0.0.1');
  await once(impostor, 'listening');
  const { port } = impostor.address() as { port: number };
  await cluster.startAgent('n3', { scheduler: `https://127.0.0.1:${port}` });
  await until(async () => (await cluster.logOf('n3')).includes('shows another authority'), {
    what: 'the agent says what it found',
  });
  expect(new Set(said)).toEqual(new Set(['GET /ca no token']));
  await end(cluster.agents.get('n3')!.child, 'SIGTERM');
  cluster.agents.delete('n3');
  await new Promise((resolve) => impostor.close(resolve));
});

test('somebody in between who shows the right authority, and has no certificate of it, is told no token', async () => {
  // Passes on the answer to GET /ca, by a certificate that is not the scheduler's.
  const said: string[] = [];
  const ca = caOf();
  const impostor = createServer({ ...TLS_SETTINGS, ...stolen('n2') }, (message, response) => {
    said.push(`${message.method} ${message.url} ${message.headers.authorization ?? 'no token'}`);
    response.end(ca);
  });
  impostor.listen(0, '127.0.0.1');
  await once(impostor, 'listening');
  const { port } = impostor.address() as { port: number };
  await cluster.startAgent('n4', { scheduler: `https://127.0.0.1:${port}` });
  await until(async () => (await cluster.logOf('n4')).includes('ERR_TLS_CERT_ALTNAME_INVALID'), {
    what: 'the agent does not take it for the scheduler',
  });
  expect(new Set(said)).toEqual(new Set(['GET /ca no token']));
  await end(cluster.agents.get('n4')!.child, 'SIGTERM');
  cluster.agents.delete('n4');
  await new Promise((resolve) => impostor.close(resolve));
});

test('a port of TLS says nothing to whoever does not speak it', async () => {
  const socket = connectTcp(cluster.scheduler.port, '127.0.0.1');
  socket.write('GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n');
  let answer = '';
  socket.on('data', (data) => {
    answer += data.toString('latin1');
  });
  await closed(socket);
  expect(answer).not.toContain('HTTP');
});

test('a scheduler whose authority is another one is joined anew by the hash in its join token', async () => {
  const before = caOf();
  await end(cluster.scheduler.child, 'SIGTERM');
  rmSync(path.dirname(cluster.caFile), { recursive: true });
  await cluster.startScheduler();
  expect(caOf()).not.toBe(before);
  await cluster.untilHealthy(2, 30_000);
  expect(await cluster.logOf('n1')).toContain('the join token tells of another authority');
});

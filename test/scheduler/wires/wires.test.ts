/** Wires against real servers: what is said over an event connection, in which order, and how it ends. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { type WebSocket, WebSocketServer } from 'ws';
import type { AgentAddress } from '../../../scheduler/agentClient';
import { BATCHES_AT_MOST, type WireCommand, type WireNews } from '../../../scheduler/wires/messages';
import type { Wire, WireListener, Wires } from '../../../scheduler/wires/wires';
import { until } from '../../support/until';
import { KINDS, PROGRAM } from './kinds';

const MS = 2_000;
/** None of them is one. */
const CERTIFICATES = { node: 'n1', authority: 'no authority', countsFromMs: 0, ca: '', cert: '', key: '' };
const DIST = join(__dirname, '../../../dist/scheduler/wires');

describe.each(KINDS)('%s', (_, make) => {
  let wires: Wires;
  let server: WebSocketServer;
  let heard: string[];
  let ends: string[];
  let opened: Wire[];

  beforeEach(async () => {
    [heard, ends, opened] = [[], [], []];
    wires = make();
    server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
    await once(server, 'listening');
  });
  afterEach(async () => {
    for (const wire of opened) wire.end();
    await wires.close();
    for (const socket of server.clients) socket.terminate();
    server.close();
  });

  const address = () => ({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, token: 'the-token' });
  const listener: WireListener = {
    onMessage: (text) => heard.push(text),
    onError: (message) => ends.push(message),
    onClose: (code, reason) => ends.push(`${code} ${reason}`.trim()),
  };

  function begin(to: AgentAddress = address()): Wire {
    const wire = wires.open(to, '/events?a=b', MS, listener);
    opened.push(wire);
    return wire;
  }

  async function open(): Promise<{ wire: Wire; socket: WebSocket; asked: string }> {
    const connected = once(server, 'connection');
    const wire = begin();
    const [socket, request] = await connected;
    return { wire, socket, asked: `${request.url} ${request.headers.authorization}` };
  }

  test('asks for its path with the token, and is heard', async () => {
    const { wire, socket, asked } = await open();
    expect(asked).toBe('/events?a=b Bearer the-token');
    const said: string[] = [];
    socket.on('message', (data) => said.push(String(data)));
    socket.send('hello');
    await until(() => heard.length === 1, { what: 'the greeting has come' });
    wire.send('grüß dich');
    await until(() => said.length === 1, { what: 'the answer has come' });
    expect([heard, said]).toEqual([['hello'], ['grüß dich']]);
  });

  test('hears everything in its order, however much comes at once, and the end after it', async () => {
    const { socket } = await open();
    const long = 'x'.repeat(4 * 2 ** 20);
    const told = Array.from({ length: 2_000 }, (_, n) => (n % 100 === 0 ? `${n} ${long}` : String(n)));
    for (const text of told) socket.send(text);
    socket.close(4_009, 'a later term');
    await until(() => ends.length > 0, { what: 'the end has come', timeoutMs: 20_000 });
    expect(heard.map((text) => Number.parseInt(text, 10))).toEqual(told.map((_, n) => n));
    expect(heard[100]!.length).toBe('100 '.length + long.length);
    expect(ends).toEqual(['4009 a later term']);
  });

  test('hears nothing more once it has been ended', async () => {
    const { wire, socket } = await open();
    const closed = once(socket, 'close');
    for (let n = 0; n < 100; n += 1) socket.send(String(n));
    await until(() => heard.length > 0, { what: 'something has come' });
    wire.end();
    const before = heard.length;
    await closed;
    await open();
    for (const client of server.clients) client.send('other');
    await until(() => heard.includes('other'), { what: 'another one hears' });
    expect(heard.slice(before)).toEqual(['other']);
    expect(ends).toEqual([]);
  });

  test('tells why nobody answers', async () => {
    const { port } = address();
    server.close();
    begin({ host: '127.0.0.1', port });
    await until(() => ends.length === 2, { what: 'it has failed' });
    expect(ends).toEqual([expect.stringContaining('ECONNREFUSED'), '1006']);
  });

  test('what no connection can be begun to is refused', async () => {
    const nowhere = { ...address(), host: 'fe80::1%nowhere' };
    begin(nowhere);
    await until(() => ends.length === 2, { what: 'it has failed' });
    expect(ends).toEqual([expect.stringContaining('Invalid URL'), '1006']);
    const { port } = address();
    const tls = { connection: () => ({ ...CERTIFICATES, key: 'no key' }), keepSession: () => {} };
    begin({ host: '127.0.0.1', port, tls });
    await until(() => ends.length === 4, { what: 'the other has failed' });
    expect(await wires.prober().probe({ host: '127.0.0.1', port, tls }, MS, false)).toMatchObject({ kind: 'refused' });
  });

  test('what is said while it is not open goes nowhere', async () => {
    const connected = once(server, 'connection');
    const wire = begin();
    wire.send('too early');
    const [socket] = await connected;
    const said: string[] = [];
    socket.on('message', (data: Buffer) => said.push(String(data)));
    socket.send('ready');
    await until(() => heard.length === 1, { what: 'it is open' });
    wire.send('in time');
    await until(() => said.length > 0, { what: 'something has come' });
    expect(said).toEqual(['in time']);
  });

  test('a prober asks over a connection that it keeps, until it is closed', async () => {
    const connections: unknown[] = [];
    const agent = createServer((_request, response) => response.writeHead(503).end());
    agent.on('connection', (socket) => connections.push(socket));
    await once(agent.listen(0, '127.0.0.1'), 'listening');
    const to = { host: '127.0.0.1', port: (agent.address() as AddressInfo).port };
    const prober = wires.prober();
    const results = await Promise.all([prober.probe(to, MS, true), wires.prober().probe(to, MS, false)]);
    expect(results).toEqual([
      expect.objectContaining({ kind: 'strange', error: 'answered 503' }),
      expect.objectContaining({ kind: 'strange', error: 'answered 503' }),
    ]);
    prober.close();
    agent.closeAllConnections();
    agent.close();
    expect(connections).toHaveLength(2);
  });
});

test('of the heartbeats of an agent that wait to be taken in, the last one is left', async () => {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  const worker = new Worker(PROGRAM);
  const heard: string[] = [];
  let batches = 0;
  worker.on('message', (batch: WireNews[]) => {
    batches += 1;
    for (const news of batch) if (news.kind === 'message') heard.push(news.text);
  });
  const connected = once(server, 'connection');
  const address = { host: '127.0.0.1', port: (server.address() as AddressInfo).port, token: undefined, tls: undefined };
  worker.postMessage([{ kind: 'open', wire: 1, address, path: '/', handshakeMs: MS }] satisfies WireCommand[]);
  const [socket] = await connected;
  for (let sent = 1; batches < BATCHES_AT_MOST; sent += 1) {
    socket.send('a report');
    await until(() => heard.length === sent, { what: 'it is told', everyMs: 1 });
  }
  const beat = (n: number, more = '') => `{"type":"heartbeat","n":${n}${more}}`;
  const told = [beat(1), beat(2), 'a report', beat(3), beat(4, ',"usage":[]'), beat(5), beat(6)];
  heard.length = 0;
  for (const text of told) socket.send(text);
  socket.close();
  await once(socket, 'close');
  expect(heard).toEqual([]);
  const taken = Array.from({ length: BATCHES_AT_MOST }, () => ({ kind: 'taken' }) as const);
  worker.postMessage(taken satisfies WireCommand[]);
  await until(() => heard.length >= 4, { what: 'what waited is told' });
  expect(heard).toEqual([beat(2), 'a report', beat(4, ',"usage":[]'), beat(6)]);
  await worker.terminate();
  server.close();
});

test('a scheduler whose thread of wires has ended ends as well', async () => {
  const program = `new (require(${JSON.stringify(join(DIST, 'thread.js'))}).WireThread)(${JSON.stringify(join(DIST, 'nothing.js'))}).prober().close(); setInterval(() => {}, 1000)`;
  await expect(promisify(execFile)(process.execPath, ['-e', program])).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('nothing.js'),
  });
});

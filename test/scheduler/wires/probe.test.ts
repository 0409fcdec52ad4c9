/** Probes against real servers: what an answer is, and when the connection is kept. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { Prober } from '../../../scheduler/wires/probe';
import { OwnWires, probeOnce } from '../../../scheduler/wires/wires';
import { until } from '../../support/until';

const STATUS = {
  name: 'n1',
  version: '0.1.0',
  nodeKey: 'key',
  incarnation: 'one',
  bootId: 'boot',
  clusterId: null,
  epoch: 0,
  startedAt: '2026-01-01T00:00:00.000Z',
  features: [],
  labels: {},
  capacity: { cpuMillis: 1_000, memoryBytes: 1_000 },
  system: {
    cpuPercent: 1,
    memoryPercent: 1,
    memoryTotalBytes: 1,
    memoryAvailableBytes: 1,
    cpuCount: 1,
    loadAverage: [0, 0, 0],
  },
};
const MS = 2_000;

let server: Server;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let sockets: Socket[];
let asked: string[];
const prober = (): Prober => {
  const one = new Prober();
  probers.push(one);
  return one;
};
const probers: Prober[] = [];

const address = () => ({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
const tell = (response: ServerResponse, body: unknown = STATUS, status = 200): void => {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
};

beforeEach(async () => {
  sockets = [];
  asked = [];
  answer = (_request, response) => tell(response);
  server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.connection ?? ''}`.trim());
    answer(request, response);
  });
  server.on('connection', (socket: Socket) => sockets.push(socket));
  await once(server.listen(0, '127.0.0.1'), 'listening');
});

afterEach(() => {
  for (const one of probers.splice(0)) one.close();
  for (const socket of sockets) socket.destroy();
  server.close();
});

test('asks over one connection again and again', async () => {
  const one = prober();
  for (let at = 0; at < 3; at += 1) expect((await one.probe(address(), MS, true)).kind).toBe('answered');
  expect(sockets).toHaveLength(1);
  expect(asked).toEqual(Array.from({ length: 3 }, () => 'GET /status?processes=false'));
});

test('asks over a fresh connection when told to, and keeps that one instead', async () => {
  const one = prober();
  for (const overKept of [true, false, true]) expect((await one.probe(address(), MS, overKept)).kind).toBe('answered');
  expect(sockets).toHaveLength(2);
  await until(() => sockets[0]?.destroyed === true, { what: 'the first one is closed' });
  expect(sockets[1]?.destroyed).toBe(false);
});

test('asks once more when the agent has ended the connection meanwhile', async () => {
  const one = prober();
  await one.probe(address(), MS, true);
  answer = (request, response) => (request.socket === sockets[0] ? request.socket.destroy() : tell(response));
  expect((await one.probe(address(), MS, true)).kind).toBe('answered');
  expect(sockets).toHaveLength(2);
});

test('keeps no connection that the agent wants to end', async () => {
  const one = prober();
  answer = (_request, response) => tell(response.setHeader('Connection', 'close'));
  for (let at = 0; at < 2; at += 1) expect((await one.probe(address(), MS, true)).kind).toBe('answered');
  expect(sockets).toHaveLength(2);
});

test('asks elsewhere when the agent has moved, or its token is another', async () => {
  const one = prober();
  await one.probe(address(), MS, true);
  await one.probe({ ...address(), token: 'new' }, MS, true);
  expect(sockets).toHaveLength(2);
});

test('an agent that is gone refuses, although a connection was kept', async () => {
  const one = prober();
  const where = address();
  await one.probe(where, MS, true);
  server.close();
  sockets[0]?.destroy();
  expect(await one.probe(where, MS, true)).toMatchObject({ kind: 'refused', system: { errnoCode: 'ECONNREFUSED' } });
});

test('an agent that does not answer has the time that was given, over a kept connection too', async () => {
  const one = prober();
  await one.probe(address(), MS, true);
  answer = () => undefined;
  expect(await one.probe(address(), 50, true)).toMatchObject({ kind: 'timedOut', error: 'no answer within 50 ms' });
  answer = (_request, response) => tell(response);
  expect((await one.probe(address(), MS, true)).kind).toBe('answered');
  expect(sockets).toHaveLength(2);
});

test('what is no status is strange, and an error ends its connection', async () => {
  const one = prober();
  for (const [body, status, expected] of [
    [{}, 200, { error: 'did not answer as an agent does' }],
    [STATUS, 503, { error: 'answered 503' }],
    [{}, 401, { needsToken: true }],
  ] as const) {
    answer = (_request, response) => tell(response, body, status);
    expect(await one.probe(address(), MS, true)).toMatchObject({ kind: 'strange', ...expected });
  }
  answer = (_request, response) => tell(response);
  expect((await one.probe(address(), MS, true)).kind).toBe('answered');
  // What came as HTTP should, but is no status, is no reason to end the connection.
  expect(sockets).toHaveLength(3);
});

test('whoever speaks no HTTP is strange', async () => {
  const babbler = createTcpServer((socket) => {
    socket.on('error', () => undefined);
    socket.end('SSH-2.0-OpenSSH_9.0\r\n\r\n');
  });
  await once(babbler.listen(0, '127.0.0.1'), 'listening');
  const { port } = babbler.address() as AddressInfo;
  expect((await probeOnce(new OwnWires(), { host: '127.0.0.1', port }, MS)).kind).toBe('strange');
  babbler.close();
});

test('leaves nothing open when it is closed', async () => {
  const one = prober();
  await one.probe(address(), MS, true);
  one.close();
  await until(() => sockets[0]?.destroyed === true, { what: 'the connection is closed' });
});

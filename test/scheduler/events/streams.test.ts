/** The events as clients get them, over real sockets. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { request } from 'undici';
import { WebSocket } from 'ws';
import { CLOSE_EVENTS_GONE, CLOSE_TOO_SLOW, type MorchEvent } from '../../../contract/events';
import { until } from '../../support/until';
import { type Served, serveFake } from '../http/serve';
import { publish, sequence } from './events';

let served: Served;
afterEach(() => served.close());

function listen(query: string) {
  const webSocket = new WebSocket(`ws://127.0.0.1:${served.http.port}/events${query}`);
  const seqs: number[] = [];
  const state: { closed?: number; status?: number; body?: string } = {};
  webSocket.on('message', (bytes) => seqs.push((JSON.parse(String(bytes)) as MorchEvent).seq));
  webSocket.on('close', (code) => {
    state.closed = code;
  });
  webSocket.on('error', () => {});
  webSocket.on('unexpected-response', (req, res) => {
    state.status = res.statusCode ?? 0;
    state.body = '';
    res.on('data', (bytes) => {
      state.body += bytes;
    });
    res.on('end', () => {
      state.closed = 0;
      req.destroy();
    });
  });
  return { webSocket, seqs, state };
}

/** Reads server-sent events until `last` has come. */
async function sseUntil(path: string, last: number, headers: Record<string, string> = {}) {
  const { statusCode, headers: answered, body } = await request(served.url + path, { headers });
  expect([statusCode, answered['content-type']]).toEqual([200, 'text/event-stream; charset=utf-8']);
  const events: { id: number; type: string; data: MorchEvent }[] = [];
  let text = '';
  for await (const chunk of body) {
    text += chunk;
    for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
      const block = text.slice(0, end);
      text = text.slice(end + 2);
      if (block.startsWith(':')) continue;
      const [, id, type, data] = /^id: (\d+)\nevent: (\S+)\ndata: (.*)$/.exec(block)!;
      events.push({ id: Number(id), type: type!, data: JSON.parse(data!) });
    }
    if (events.at(-1)?.id === last) break;
  }
  return events;
}

async function publishSlowly(total: number) {
  while (served.events.lastSeq < total) {
    await publish(served.store, served.events, Math.min(7, total - served.events.lastSeq));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('WebSocket /events', () => {
  it('resumes without a gap or a repetition while events are being published', async () => {
    served = await serveFake();
    await publish(served.store, served.events, 50);
    const publishing = publishSlowly(3_000);
    const all: number[] = [];
    while (all.at(-1) !== 3_000) {
      const { webSocket, seqs } = listen(`?since=${all.at(-1) ?? 0}`);
      const wanted = Math.min(500, 3_000 - all.length);
      await until(() => seqs.length >= wanted, { what: `${wanted} events have come` });
      webSocket.terminate();
      all.push(...seqs);
    }
    await publishing;
    expect(all).toEqual(sequence(1, 3_000));
  });

  it('begins with what is new where no position is given', async () => {
    served = await serveFake();
    await publish(served.store, served.events, 5);
    const { webSocket, seqs } = listen('');
    await once(webSocket, 'open');
    await publish(served.store, served.events, 2);
    await until(() => seqs.length === 2, { what: 'both have come' });
    expect(seqs).toEqual([6, 7]);
    webSocket.close();
  });

  it('closes with 4410 where the position is no longer kept', async () => {
    served = await serveFake({ firstSeq: 101, lastSeq: 100 });
    await publish(served.store, served.events, 5);
    const { state } = listen('?since=42');
    await until(() => state.closed, { what: 'it is closed' });
    expect(state.closed).toBe(CLOSE_EVENTS_GONE);
    const { webSocket, seqs } = listen('?since=0');
    await until(() => seqs.length === 5, { what: 'all kept have come' });
    webSocket.close();
  });

  it.each(['?since=abc', '?since=-1', '?since=9', '?since=1&since=2', '?nope=1', '?__proto__=1'])(
    'answers 400 to %s before the upgrade',
    async (query) => {
      served = await serveFake();
      const { state } = listen(query);
      await until(() => state.closed !== undefined, { what: 'it is answered' });
      expect(state.status).toBe(400);
      expect(JSON.parse(state.body!)).toMatchObject({ code: 'INVALID_INPUT', status: 400 });
    },
  );

  it.each(['/health', '/nope', '/events/', '//x'])('answers 404 to an upgrade of %s', async (path) => {
    served = await serveFake();
    const webSocket = new WebSocket(`ws://127.0.0.1:${served.http.port}${path}`);
    const [, answer] = (await once(
      webSocket.on('error', () => {}),
      'unexpected-response',
    )) as [unknown, { statusCode: number; resume(): void }];
    answer.resume();
    expect(answer.statusCode).toBe(404);
    webSocket.terminate();
  });

  it('answers a handshake without a key with a problem', async () => {
    served = await serveFake();
    const { socket, heard } = rawSocket();
    socket.write('GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    await once(socket, 'close');
    expect(heard()).toMatch(/^HTTP\/1.1 400 [\s\S]*application\/problem\+json/);
  });

  it('pings, and ends a connection that does not answer', async () => {
    served = await serveFake({ pingMs: 30 });
    const { socket, heard } = rawSocket();
    socket.write(HANDSHAKE);
    await once(socket, 'close');
    // The frame of an empty ping.
    expect(heard()).toContain('\x89\x00');
    const { webSocket } = listen('');
    let pings = 0;
    webSocket.on('ping', () => (pings += 1));
    await until(() => pings >= 5, { what: 'five pings have come' });
    expect(webSocket.readyState).toBe(WebSocket.OPEN);
    webSocket.close();
  });

  it('lets a slow listener wait, keeps little for it, and goes on without a gap', async () => {
    served = await serveFake({ stuckMs: 60_000 });
    const { webSocket, seqs } = listen('?since=0');
    await once(webSocket, 'open');
    webSocket.pause();
    const reads = jest.spyOn(served.store, 'range');
    const data = { uid: 'u', filling: 'x'.repeat(10_000) };
    for (let i = 0; i < 40; i++) await publish(served.store, served.events, 100, { data });
    await new Promise((resolve) => setImmediate(resolve));
    webSocket.resume();
    await until(() => seqs.length === 4_000, { what: 'all have come', timeoutMs: 20_000 });
    expect(seqs).toEqual(sequence(1, 4_000));
    // 40 MB did not wait in memory: they were read from the store again.
    expect(reads).toHaveBeenCalled();
    webSocket.close();
  });

  it('closes a listener that reads nothing at all with 4429', async () => {
    served = await serveFake({ stuckMs: 200 });
    const { webSocket, state } = listen('?since=0');
    await once(webSocket, 'open');
    webSocket.pause();
    const data = { uid: 'u', filling: 'x'.repeat(100_000) };
    for (let i = 0; i < 20; i++) await publish(served.store, served.events, 10, { data });
    const [connection] = await until(() => served.sockets(), { what: 'there is a connection' });
    await until(() => connection!.destroyed || connection!.writableEnded, { what: 'the scheduler has ended it' });
    webSocket.resume();
    await until(() => state.closed !== undefined, { what: 'it is closed' });
    expect([CLOSE_TOO_SLOW, 1006]).toContain(state.closed);
  });
});

describe('SSE /events', () => {
  it('resumes without a gap or a repetition while events are being published', async () => {
    served = await serveFake();
    await publish(served.store, served.events, 50);
    const publishing = publishSlowly(1_000);
    const first = await sseUntil('/events?since=0', 400);
    const second = await sseUntil('/events?since=7', 1_000, { 'last-event-id': String(first.at(-1)!.id) });
    await publishing;
    const all = [...first, ...second];
    expect(all.map(({ id }) => id)).toEqual(sequence(1, 1_000));
    expect(all.every(({ id, type, data }) => data.seq === id && data.type === type)).toBe(true);
  });

  it('begins with what is new where no position is given', async () => {
    served = await serveFake();
    await publish(served.store, served.events, 5);
    const { socket, heard } = rawSocket();
    socket.write('GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await until(() => heard().includes('events follow'), { what: 'it is answered' });
    await publish(served.store, served.events, 1);
    await until(() => heard().includes('id: 6\n'), { what: 'the sixth has come' });
    expect(heard()).not.toContain('id: 5\n');
    socket.destroy();
  });

  it('answers 410 where the position is no longer kept', async () => {
    served = await serveFake({ firstSeq: 101, lastSeq: 100 });
    await publish(served.store, served.events, 5);
    for (const [path, headers] of [
      ['/events?since=42', {}],
      ['/events', { 'last-event-id': '42' }],
    ] as const) {
      const { statusCode, body } = await request(served.url + path, { headers });
      expect([statusCode, await body.json()]).toEqual([410, expect.objectContaining({ code: 'EVENTS_GONE' })]);
    }
    expect((await sseUntil('/events?since=0', 105)).map(({ id }) => id)).toEqual(sequence(101, 105));
    expect((await sseUntil('/events?since=100', 105)).map(({ id }) => id)).toEqual(sequence(101, 105));
  });

  it('lets a slow reader wait and keeps little for it', async () => {
    served = await serveFake();
    const { socket, heard } = rawSocket();
    socket.write('GET /events?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await until(() => heard().includes('events follow'), { what: 'it is answered' });
    socket.pause();
    const data = { uid: 'u', filling: 'x'.repeat(10_000) };
    for (let i = 0; i < 40; i++) await publish(served.store, served.events, 100, { data });
    const [connection] = await until(() => served.sockets(), { what: 'there is a connection' });
    expect(connection!.writableLength).toBeLessThan(1024 * 1024);
    socket.resume();
    await until(() => heard().includes('id: 4000\n'), { what: 'the last has come', timeoutMs: 20_000 });
    const ids = [...heard().matchAll(/\nid: (\d+)\n/g)].map(([, id]) => Number(id));
    expect(ids).toEqual(sequence(1, 4_000));
    socket.destroy();
  });
});

const HANDSHAKE =
  'GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

function rawSocket(): { socket: Socket; heard: () => string } {
  const socket = connect(served.http.port, '127.0.0.1');
  const chunks: string[] = [];
  socket.setEncoding('latin1').on('data', (text: string) => chunks.push(text));
  socket.on('error', () => {});
  return { socket, heard: () => chunks.join('') };
}

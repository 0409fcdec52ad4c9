/** Real connections to a port that holds few of them, and answers that nobody takes. */
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Connections, endWhenStalled } from '../../access/connections';
import { makeAuthority } from '../../pki/ca';
import { until } from '../support/until';

const servers: Server[] = [];
const clients: Socket[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

async function listen(server: Server): Promise<number> {
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function open(port: number, overTls = false): Promise<Socket> {
  const client = overTls ? connectTls({ port, rejectUnauthorized: false }) : connect(port, '127.0.0.1');
  client.on('error', () => {});
  clients.push(client);
  await once(client, overTls ? 'secureConnect' : 'connect');
  return client;
}

/** @returns the status; null: the connection has ended */
async function ask(client: Socket, headers = ''): Promise<string | null> {
  if (client.destroyed) return null;
  client.write(`GET / HTTP/1.1\r\nHost: x\r\n${headers}\r\n`);
  const answer = await Promise.race([once(client, 'data'), once(client, 'close')]);
  return answer[0] instanceof Buffer ? answer[0].toString().slice(9, 12) : null;
}

describe.each([
  ['HTTP', false],
  ['TLS', true],
])('a port with room for three, over %s', (_name, overTls) => {
  let port: number;
  beforeEach(async () => {
    const connections = new Connections(3);
    const serve: RequestListener = (req, res) => {
      if (req.headers.authorization !== undefined) connections.noteKnown(req);
      res.end('ok');
    };
    const { certificate: cert, key } = await makeAuthority(Date.now());
    const server = overTls ? createTlsServer({ cert, key }, serve) : createServer(serve);
    connections.watch(server);
    port = await listen(server);
  });
  const stranger = () => open(port, overTls);
  const known = async () => {
    const client = await stranger();
    expect(await ask(client, 'Authorization: Bearer good\r\n')).toBe('200');
    return client;
  };

  test('lets go of who has been a stranger longest, and of nobody else', async () => {
    const friend = await known();
    const first = await stranger();
    const second = await stranger();
    const third = await stranger();
    await until(() => first.destroyed, { what: 'the first stranger has made room' });
    expect([await ask(friend), await ask(second), await ask(third)]).toEqual(['200', '200', '200']);
    const late = await known();
    await until(() => second.destroyed, { what: 'the second stranger has made room' });
    expect([await ask(friend), await ask(late), await ask(third)]).toEqual(['200', '200', '200']);
  });

  test('takes nobody more once all are known, until one goes', async () => {
    const friends = [await known(), await known(), await known()];
    const stranger = await open(port).catch(() => undefined);
    if (stranger !== undefined) await until(() => stranger.destroyed, { what: 'there is no room' });
    expect(await Promise.all(friends.map((friend) => ask(friend)))).toEqual(['200', '200', '200']);
    friends[0]!.destroy();
    await until(async () => (await ask(await open(port, overTls).catch(() => friends[0]!))) === '200', {
      what: 'there is room again',
    });
  });
});

describe('an answer', () => {
  const LARGE = Buffer.alloc(64 * 2 ** 20, 'x');
  let port: number;
  let ended: Promise<void>;
  beforeEach(async () => {
    port = 0;
    ended = new Promise((resolve) => {
      const server = createServer((req, res) => {
        endWhenStalled(res, 200);
        res.on('close', resolve);
        if (req.url === '/large') res.end(LARGE);
        else res.write('a little');
      });
      void listen(server).then((on) => {
        port = on;
      });
    });
    await until(() => port, { what: 'it serves' });
  });

  test('that nobody takes is broken off', async () => {
    const client = await open(port);
    client.pause();
    client.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n');
    await ended;
    let bytes = 0;
    client.on('data', (data) => {
      bytes += data.length;
    });
    client.resume();
    await once(client, 'close');
    expect(bytes).toBeLessThan(LARGE.length);
  });

  test('that is taken slowly is not, nor is one that has nothing to say', async () => {
    const idle = await open(port);
    expect(await ask(idle)).toBe('200');
    const idleSinceMs = performance.now();
    const slow = await open(port);
    slow.write('GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    let bytes = 0;
    // Little enough at a time that all of it takes several times what a stalled one is given.
    slow.on('data', (data) => {
      bytes += data.length;
      slow.pause();
      setTimeout(() => slow.resume(), 1);
    });
    await once(slow, 'close');
    expect(bytes).toBeGreaterThan(LARGE.length);
    await until(() => performance.now() - idleSinceMs > 1_000, { what: 'the idle one had the time to be ended' });
    expect(idle.destroyed).toBe(false);
  });
});

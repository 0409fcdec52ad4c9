/** What pages of other sites can reach of the scheduler, also where nobody is asked for a token: nothing. */
import { once } from 'node:events';
import { request } from 'undici';
import { WebSocket } from 'ws';
import { exchange, type Served, serveFake } from './serve';

let served: Served;
beforeAll(async () => {
  served = await serveFake();
});
afterAll(() => served.close());
beforeEach(() => {
  served.api.calls = [];
});

const FOREIGN = [
  ['a name that was pointed here', { host: 'evil.example:5000' }, 421, 'WRONG_HOST'],
  ['another origin', { origin: 'https://evil.example' }, 403, 'CROSS_SITE'],
  ['a sandboxed frame', { origin: 'null' }, 403, 'CROSS_SITE'],
  [
    'another site without an origin',
    { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' },
    403,
    'CROSS_SITE',
  ],
] as const;

test.each(FOREIGN)('a request from %s changes nothing and learns nothing', async (_what, headers, status, code) => {
  for (const [method, path] of [
    ['POST', '/workloads'],
    ['DELETE', '/workloads/web'],
    ['POST', '/nodes/n1/cordon'],
    ['OPTIONS', '/workloads'],
    ['GET', '/nodes'],
    ['GET', '/health'],
    ['GET', '/nope'],
  ] as const) {
    const hasBody = method === 'POST';
    const answer = await request(served.url + path, {
      method: method as 'GET',
      headers: { ...headers, ...(hasBody ? { 'content-type': 'application/json' } : {}) },
      body: hasBody ? JSON.stringify({ command: ['true'] }) : null,
    });
    expect([path, answer.statusCode, await answer.body.json()]).toEqual([
      path,
      status,
      expect.objectContaining({ code }),
    ]);
  }
  expect(served.api.calls).toEqual([]);
});

test.each(FOREIGN)('no WebSocket opens for %s', async (_what, headers, status) => {
  const socket = new WebSocket(`ws://127.0.0.1:${served.http.port}/events`, { headers });
  const [, response] = await once(socket, 'unexpected-response');
  expect(response.statusCode).toBe(status);
});

test('a form of another site cannot send what is taken, whatever else it may', async () => {
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
    const answer = await request(`${served.url}/workloads`, {
      method: 'POST',
      headers: { 'content-type': type },
      body: '{"command":["true"]}',
    });
    expect([type, answer.statusCode]).toEqual([type, 415]);
    await answer.body.dump();
  }
  expect(served.api.calls).toEqual([]);
});

test('every answer, of whatever layer, forbids to frame, run and guess, and allows no other origin', async () => {
  const local = 'Host: localhost\r\nConnection: close\r\n';
  const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';
  const requests = {
    'a page of its own': `GET /health HTTP/1.1\r\n${local}Origin: http://localhost\r\n\r\n`,
    text: `GET /livez HTTP/1.1\r\n${local}\r\n`,
    'an answer to OPTIONS': `OPTIONS /workloads HTTP/1.1\r\n${local}\r\n`,
    'nothing there': `GET /nope HTTP/1.1\r\n${local}\r\n`,
    'another name': 'GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n',
    'a stream of bytes': `GET /backup HTTP/1.1\r\n${local}\r\n`,
    'no HTTP': 'NONSENSE\r\n\r\n',
    'too large a head': `GET / HTTP/1.1\r\n${local}X-Big: ${'x'.repeat(20_000)}\r\n\r\n`,
    'a refused upgrade': `GET /nope HTTP/1.1\r\nHost: localhost\r\n${upgrade}\r\n`,
    'an upgrade of another name': `GET /events HTTP/1.1\r\nHost: evil.example\r\n${upgrade}\r\n`,
    'an upgrade without a key': `GET /events HTTP/1.1\r\nHost: localhost\r\n${upgrade}\r\n`,
  };
  for (const [what, bytes] of Object.entries(requests)) {
    const [head = ''] = (await exchange(served.http.port, bytes)).split('\r\n\r\n');
    expect([what, head]).toEqual([
      what,
      expect.stringMatching(/content-security-policy: default-src 'none';.* frame-ancestors 'none'/i),
    ]);
    expect(head).toMatch(/x-frame-options: DENY/i);
    expect(head).toMatch(/x-content-type-options: nosniff/i);
    expect(head).not.toMatch(/access-control-/i);
  }
});

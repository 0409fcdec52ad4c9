/** What the routes answer when all is well: statuses, headers, and that they agree with the contract's schemas. */
import { connect, createServer } from 'node:net';
import { request } from 'undici';
import { Connections } from '../../../access/connections';
import { type Route, SCHEDULER_ROUTES } from '../../../contract/routes';
import { startHttpServer } from '../../../scheduler/http/server';
import { until } from '../../support/until';
import { exchange, type Served, serveFake } from './serve';

let served: Served;
beforeAll(async () => {
  served = await serveFake();
});
afterAll(() => served.close());
beforeEach(() => {
  served.api.calls = [];
  served.api.checks = [{ name: 'store', ok: true }];
});

async function send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const answer = await request(served.url + path, {
    method: method as 'GET',
    headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
    body: body === undefined ? null : JSON.stringify(body),
  });
  const text = await answer.body.text();
  return { status: answer.statusCode, headers: answer.headers, text };
}

/** Of the thing of that list that the fake scheduler has. */
function pathOf({ path }: { path: string }): string {
  if (path === '/tokens/:id') return `/tokens/${served.tokens.create({ name: 'ci', role: 'read' }, 0).record.id}`;
  return path.replace(':id', path.startsWith('/nodes') ? 'n1' : 'web');
}

const BODIES: Record<string, unknown> = {
  'POST /nodes': { host: '127.0.0.1', port: 8080 },
  'POST /nodes/:id/certificate': { csr: 'a request' },
  'POST /nodes/:id/drill': { kind: 'cut', durationMs: 1_000 },
  'POST /tokens': { name: 'ci', role: 'read' },
  'POST /workloads': { command: ['a'] },
  'PUT /workloads/:id': { command: ['a'] },
  'POST /workloads/:id/scale': { replicas: 2 },
  'PUT /secrets/:id': { value: 'x' },
};

test('a request and its answer have the prototypes of Express before Express sees them', async () => {
  const { server } = served.http;
  const seen: unknown[][] = [];
  const look = (req: object, res: object) => seen.push([req, res].map((one) => Object.getPrototypeOf(one)));
  server.prependListener('request', look).on('request', look);
  await send('GET', '/livez');
  server.off('request', look).off('request', look);
  const [before, after] = seen;
  expect(after).toBeDefined();
  expect(before!.map((prototype, at) => prototype === after![at])).toEqual([true, true]);
});

describe('every route', () => {
  const once = SCHEDULER_ROUTES.filter((route) => route.path !== '/events') as readonly Route[];
  it.each(once.map((route) => [`${route.method} ${route.path}`, route] as const))(
    '%s answers as told',
    async (name, route) => {
      const { status, headers, text } = await send(route.method, pathOf(route), BODIES[name]);
      expect(Object.keys(route.answers).map(Number)).toContain(status);
      const schema = route.answers[status];
      if (schema) expect(schema.safeParse(JSON.parse(text)).error).toBeUndefined();
      if (status !== 204) expect(headers['content-type']).toBe(`${route.media ?? 'application/json'}; charset=utf-8`);
      expect(headers['x-powered-by']).toBeUndefined();
      expect(headers['x-request-id']).toMatch(/^[\w-]{12}-\d+$/);
    },
  );

  it('that answers GET answers HEAD with the same head and no body', async () => {
    for (const { method, path } of SCHEDULER_ROUTES) {
      if (method !== 'GET') continue;
      const url = pathOf({ path });
      const bytes = await exchange(
        served.http.port,
        `HEAD ${url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
      );
      expect([path, bytes.split('\r\n')[0]]).toEqual([path, 'HTTP/1.1 200 OK']);
      expect(bytes.endsWith('\r\n\r\n')).toBe(true);
    }
    const gone = await exchange(
      served.http.port,
      'HEAD /nope HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
    );
    expect(gone).toMatch(/^HTTP\/1.1 404 /);
  });
});

describe('X-Request-Id', () => {
  it('comes back as it was given', async () => {
    expect((await send('GET', '/health', undefined, { 'x-request-id': 'abc 123' })).headers['x-request-id']).toBe(
      'abc 123',
    );
  });

  it('is replaced where it is too long', async () => {
    const { headers } = await send('GET', '/health', undefined, { 'x-request-id': 'x'.repeat(129) });
    expect(headers['x-request-id']).toMatch(/^[\w-]{12}-\d+$/);
  });
});

describe('/livez and /readyz', () => {
  it('are brief unless asked', async () => {
    expect((await send('GET', '/livez')).text).toBe('ok\n');
    expect((await send('GET', '/livez?verbose')).text).toBe('[+]process ok\n');
    expect((await send('GET', '/readyz')).text).toBe('ok\n');
    expect((await send('GET', '/readyz?verbose')).text).toBe('[+]store ok\n');
    expect((await send('GET', '/readyz?verbose=true')).text).toBe('[+]store ok\n');
  });

  it('say which check failed', async () => {
    served.api.checks = [
      { name: 'store', ok: false, detail: 'disk full' },
      { name: 'inventory', ok: true },
    ];
    for (const path of ['/readyz', '/readyz?verbose']) {
      const { status, text } = await send('GET', path);
      expect([status, text]).toEqual([503, '[-]store failed: disk full\n[+]inventory ok\n']);
    }
    expect((await send('GET', '/livez')).status).toBe(200);
  });
});

describe('/nodes', () => {
  it('says whether a registration made a node', async () => {
    expect((await send('POST', '/nodes', { host: 'a', port: 8080 })).status).toBe(200);
    const made = await send('POST', '/nodes', { host: 'a', port: 8081 });
    expect([made.status, made.headers.location]).toEqual([201, '/nodes/n1']);
  });

  it('takes deadline and force', async () => {
    await send('POST', '/nodes/n1/drain', { deadlineMs: 5 });
    await send('DELETE', '/nodes/n1?force=true');
    expect(served.api.calls.map(({ args }) => args)).toEqual([
      ['n1', 5],
      ['n1', true],
    ]);
  });
});

describe('/workloads', () => {
  it('hands on page and filter', async () => {
    await send('GET', '/workloads?limit=7&cursor=c&status=running&node=n1&label=a%3Db%3Dc');
    await send('GET', '/workloads?label=a=');
    expect(served.api.calls.map(({ args }) => args)).toEqual([
      [
        { status: 'running', node: 'n1', label: { key: 'a', value: 'b=c' } },
        { limit: 7, cursor: 'c' },
      ],
      [{ status: undefined, node: undefined, label: { key: 'a', value: '' } }, { limit: 100 }],
    ]);
  });

  it('tags a workload with its version, and its place when it is new', async () => {
    const made = await send('POST', '/workloads', { command: ['a'] });
    expect([made.headers.etag, made.headers.location]).toEqual(['"3"', '/workloads/web']);
    const put = await send('PUT', '/workloads/api', { id: 'api', command: ['a'] });
    expect([put.status, put.headers.etag, put.headers.location]).toEqual([201, '"3"', '/workloads/api']);
    for (const [method, path] of [
      ['GET', '/workloads/web'],
      ['DELETE', '/workloads/web'],
      ['POST', '/workloads/web/restart'],
    ] as const) {
      expect((await send(method, path)).headers.etag).toBe('"3"');
    }
  });

  it('is told in full even to one who knows the version: its status changes without it', async () => {
    expect((await send('GET', '/workloads/web', undefined, { 'if-none-match': '"3"' })).status).toBe(200);
  });

  it('hands on If-Match, and * as any version', async () => {
    await send('DELETE', '/workloads/web?purge=true', undefined, { 'if-match': '"3"' });
    await send('PUT', '/workloads/web', { command: ['a'] }, { 'if-match': '*' });
    await send('POST', '/workloads/web/scale', { replicas: 4 }, { 'if-match': '"3"' });
    expect(served.api.calls.map(({ method, args }) => [method, args.at(-1)])).toEqual([
      ['stop', 3],
      ['apply', undefined],
      ['scale', 3],
    ]);
  });

  it('hands on Idempotency-Key with a hash of the very bytes', async () => {
    await send('POST', '/workloads', { command: ['a'] }, { 'idempotency-key': 'k 1' });
    const first = served.api.idempotency;
    expect(first).toEqual({ key: 'k 1', bodyHash: expect.stringMatching(/^[0-9a-f]{64}$/) });
    await send('POST', '/workloads', { command: ['b'] }, { 'idempotency-key': 'k 1' });
    expect(served.api.idempotency?.bodyHash).not.toBe(first?.bodyHash);
    await send('POST', '/workloads', { command: ['a'] });
    expect(served.api.idempotency).toBeUndefined();
  });
});

describe('/backup', () => {
  it('is what the scheduler gives, as it comes', async () => {
    const { status, headers, text } = await send('GET', '/backup');
    expect([status, headers['content-type'], text]).toEqual([200, 'application/x-ndjson; charset=utf-8', 'one\ntwo\n']);
  });

  it('has no end when a record could not be read', async () => {
    const get = 'GET /backup HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
    const end = /\r\n0\r\n\r\n$/;
    expect(await exchange(served.http.port, get)).toMatch(end);
    served.api.failure = new Error('the store is damaged');
    expect(await exchange(served.http.port, get)).not.toMatch(end);
    served.api.backupChunks = [];
    expect((await send('GET', '/backup')).status).toBe(500);
    served.api.failure = undefined;
  });
});

describe('the server', () => {
  it('serves a request whose upgrade it does not know as if it had not asked (curl --http2, Java)', async () => {
    const body = '{"command":["a"]}';
    const answer = await exchange(
      served.http.port,
      `POST /workloads HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1.1 201 /);
    expect(answer).toMatch(/HTTP\/1.1 200 OK[\s\S]*ok\n$/);
  });

  it('names --port when that is in use', async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    const { port } = holder.address() as { port: number };
    const options = { host: '127.0.0.1', port, app: () => {}, upgrade: () => {}, connections: new Connections() };
    await expect(startHttpServer(options)).rejects.toThrow(/in use.*--port/);
    holder.close();
  });

  it('names --host when that is not this machine', async () => {
    const options = { host: '192.0.2.1', port: 0, app: () => {}, upgrade: () => {}, connections: new Connections() };
    await expect(startHttpServer(options)).rejects.toThrow(/--host/);
  });

  it('ends open streams and idle connections when it closes', async () => {
    const other = await serveFake();
    const stream = connect(other.http.port, '127.0.0.1', () => {
      stream.write('GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n');
    });
    const idle = connect(other.http.port, '127.0.0.1');
    let heard = '';
    let closed = 0;
    for (const socket of [stream, idle]) socket.on('close', () => (closed += 1)).on('error', () => {});
    stream.on('data', (bytes) => {
      heard += bytes;
    });
    await until(() => heard.includes('events follow'), { what: 'the stream is open' });
    await other.close();
    await until(() => closed === 2, { what: 'both connections are closed' });
  });
});

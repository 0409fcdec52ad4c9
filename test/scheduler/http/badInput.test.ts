/** The table of api.md 1, over a real socket, for every route. */
import { request } from 'undici';
import { MorchError, type Problem, problemSchema } from '../../../contract/errors';
import { SCHEDULER_ROUTES } from '../../../contract/routes';
import { exchange, type Served, serveFake } from './serve';

let served: Served;
beforeAll(async () => {
  served = await serveFake();
});
afterAll(() => served.close());
beforeEach(() => {
  served.api.failure = undefined;
  served.api.calls = [];
});
// Whatever was sent, the process serves on.
afterEach(async () => {
  expect((await fetch(`${served.url}/livez`)).status).toBe(200);
});

type Send = { method?: string; headers?: Record<string, string>; body?: string | Buffer };

async function send(path: string, { method = 'GET', headers = {}, body }: Send = {}) {
  const answer = await request(served.url + path, { method: method as 'GET', headers, body: body ?? null });
  const text = await answer.body.text();
  return { status: answer.statusCode, headers: answer.headers, text };
}

async function problemFor(path: string, sent: Send = {}): Promise<Problem & { headers: Record<string, unknown> }> {
  const { status, headers, text } = await send(path, sent);
  expect(headers['content-type']).toBe('application/problem+json; charset=utf-8');
  const problem = problemSchema.parse(JSON.parse(text));
  expect(problem.status).toBe(status);
  expect(problem.requestId).toBe(headers['x-request-id']);
  return { ...problem, headers };
}

const json = { 'content-type': 'application/json' };
const post = (body: unknown, headers: Record<string, string> = {}): Send => ({
  method: 'POST',
  headers: { ...json, ...headers },
  body: typeof body === 'string' ? body : JSON.stringify(body),
});
const at = (path: string) => path.replace(':id', path.startsWith('/nodes') ? 'n1' : 'web');

describe('every route', () => {
  it.each([...new Set(SCHEDULER_ROUTES.map((route) => route.path))])('%s answers 405 with Allow', async (path) => {
    const methods = SCHEDULER_ROUTES.filter((route) => route.path === path).map((route) => route.method as string);
    const wrong = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'].filter((method) => !methods.includes(method));
    for (const method of wrong) {
      const problem = await problemFor(at(path), { method });
      expect([method, problem.code]).toEqual([method, 'METHOD_NOT_ALLOWED']);
      const allow = methods.flatMap((m) => (m === 'GET' ? ['GET', 'HEAD'] : [m]));
      expect(problem.headers.allow).toBe(allow.join(', '));
    }
  });

  it.each(SCHEDULER_ROUTES.map((route) => [route.method, route.path] as const))(
    '%s %s refuses an unknown query parameter',
    async (method, path) => {
      const problem = await problemFor(`${at(path)}?surprise=1`, { method });
      expect([problem.code, problem.errors?.[0]?.pointer]).toEqual(['INVALID_INPUT', '/surprise']);
      expect(served.api.calls).toEqual([]);
    },
  );

  it.each(SCHEDULER_ROUTES.map((route) => [route.method, route.path] as const))(
    '%s %s refuses a parameter named __proto__',
    async (method, path) => {
      expect((await problemFor(`${at(path)}?__proto__=1`, { method })).code).toBe('INVALID_INPUT');
      expect((await problemFor(`${at(path)}?__proto__[polluted]=1`, { method })).code).toBe('INVALID_INPUT');
    },
  );

  it.each(SCHEDULER_ROUTES.filter((r) => r.method === 'POST' || r.method === 'PUT').map((r) => [r.method, r.path]))(
    '%s %s checks its body',
    async (method, path) => {
      const url = at(path!);
      const cases: [string, Send, number, string][] = [
        ['not JSON', { headers: json, body: '{"a":' }, 400, 'BAD_JSON'],
        ['not UTF-8', { headers: json, body: Buffer.from([0x22, 0xff, 0x22]) }, 400, 'BAD_JSON'],
        ['an unknown field', { headers: json, body: '{"surprise":1}' }, 400, 'INVALID_INPUT'],
        ['an array', { headers: json, body: '[]' }, 400, 'INVALID_INPUT'],
        ['null', { headers: json, body: 'null' }, 400, 'INVALID_INPUT'],
        ['a string', { headers: json, body: '"text"' }, 400, 'INVALID_INPUT'],
        ['__proto__', { headers: json, body: '{"__proto__":{"polluted":1}}' }, 400, 'INVALID_INPUT'],
        ['escaped __proto__', { headers: json, body: '{"\\u005f_proto__":{"polluted":1}}' }, 400, 'INVALID_INPUT'],
        ['constructor', { headers: json, body: '{"constructor":{"prototype":{"polluted":1}}}' }, 400, 'INVALID_INPUT'],
        ['text', { headers: { 'content-type': 'text/plain' }, body: '{}' }, 415, 'NOT_JSON'],
        ['a form', { headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: 'a=1' }, 415, 'NOT_JSON'],
        ['no type', { body: '{}' }, 415, 'NOT_JSON'],
        ['latin1', { headers: { 'content-type': 'application/json; charset=latin1' }, body: '{}' }, 415, 'NOT_JSON'],
        ['gzip', { headers: { ...json, 'content-encoding': 'gzip' }, body: '{}' }, 415, 'NOT_JSON'],
        ['300 KiB', { headers: json, body: `{"a":"${'x'.repeat(300 * 1024)}"}` }, 413, 'BODY_TOO_LARGE'],
        ['10 MiB', { headers: json, body: Buffer.alloc(10 << 20, 'x') }, 413, 'BODY_TOO_LARGE'],
        ['10,000 levels', { headers: json, body: '['.repeat(10_000) + ']'.repeat(10_000) }, 400, 'INVALID_INPUT'],
        ['120,000 levels, open', { headers: json, body: '{"a":'.repeat(40_000) }, 400, 'BAD_JSON'],
        [
          'deep __proto__',
          { headers: json, body: `${'{"a":'.repeat(10_000)}{"__proto__":1}${'}'.repeat(10_000)}` },
          400,
          'INVALID_INPUT',
        ],
      ];
      for (const [what, sent, status, code] of cases) {
        const problem = await problemFor(url, { ...sent, method: method! });
        expect([what, problem.status, problem.code]).toEqual([what, status, code]);
      }
      expect(served.api.calls).toEqual([]);
      expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    },
  );

  const NOT_FOUND: Record<string, string> = {
    nodes: 'NODE_NOT_FOUND',
    workloads: 'WORKLOAD_NOT_FOUND',
    tokens: 'TOKEN_NOT_FOUND',
    secrets: 'SECRET_NOT_FOUND',
  };
  it('with an id answers 404 for an unknown one, whatever it looks like', async () => {
    const ids = ['nope', '__proto__', 'constructor', '%00', 'a%2Fb', 'WEB', 'x'.repeat(4_000), '%F0%9F%92%A5'];
    for (const { method, path } of SCHEDULER_ROUTES) {
      // These make what is not there.
      if (!path.includes(':id') || method === 'PUT' || path === '/nodes/:id/certificate') continue;
      for (const id of ids) {
        const bodies: Record<string, object> = {
          '/workloads/:id/scale': { replicas: 1 },
          '/nodes/:id/drill': { kind: 'kill' },
        };
        const body = method === 'POST' && path in bodies ? post(bodies[path]!) : {};
        const problem = await problemFor(path.replace(':id', id), { ...body, method });
        const code = NOT_FOUND[path.split('/')[1]!];
        expect([method, path, id.slice(0, 20), problem.code]).toEqual([method, path, id.slice(0, 20), code]);
      }
    }
  });

  it('with an id answers 400 for one that cannot be decoded', async () => {
    for (const { method, path } of SCHEDULER_ROUTES) {
      if (!path.includes(':id')) continue;
      for (const id of ['%', '%zz', '%ff', '%E0%A4%A']) {
        const problem = await problemFor(path.replace(':id', id), { method });
        expect([method, path, id, problem.code]).toEqual([method, path, id, 'INVALID_INPUT']);
      }
    }
  });
});

describe('a path', () => {
  it.each(['/', '/nope', '/workloads/web/nope', '/workloads/web/logs/x', '//', '/..', '/health/nope', '/%zz'])(
    '%s is no route',
    async (path) => {
      for (const method of ['GET', 'POST', 'DELETE']) {
        expect((await problemFor(path, { method })).code).toBe('NOT_FOUND');
      }
    },
  );
});

describe('a query', () => {
  it.each([
    '/workloads?limit=0',
    '/workloads?limit=1001',
    '/workloads?limit=-1',
    '/workloads?limit=1e3',
    '/workloads?limit=ten',
    '/workloads?limit=',
    '/workloads?limit=1&limit=2',
    '/workloads?limit[]=1',
    `/workloads?cursor=${'x'.repeat(600)}`,
    '/workloads?status=sleeping',
    '/workloads?label=novalue',
    '/workloads?label=%20=x',
    '/nodes?limit=0',
    '/workloads/web/instances?limit=9999999999999999999',
    '/workloads/web/history?limit=0.5',
    '/workloads/web/logs?tail=-1',
    '/workloads/web/logs?tail=99999999',
    '/workloads/web/logs?stream=stdin',
    '/workloads/web/logs?follow=maybe',
    '/events?since=-1',
    '/events?since=abc',
    '/events?since=1',
    '/readyz?verbose=yes',
  ])('%s is refused', async (path) => {
    const problem = await problemFor(path);
    expect(problem.code).toBe('INVALID_INPUT');
    expect(problem.errors).not.toHaveLength(0);
  });

  it('of DELETE is checked before anything happens', async () => {
    expect((await problemFor('/workloads/web?purge=maybe', { method: 'DELETE' })).code).toBe('INVALID_INPUT');
    expect((await problemFor('/nodes/n1?force=1', { method: 'DELETE' })).code).toBe('INVALID_INPUT');
    expect(served.api.calls).toEqual([]);
  });
});

describe('a body', () => {
  it('that is missing where one is needed is 400', async () => {
    for (const [method, path] of [
      ['POST', '/workloads'],
      ['POST', '/nodes'],
      ['PUT', '/workloads/web'],
      ['POST', '/workloads/web/scale'],
    ] as const) {
      expect((await problemFor(path, { method })).code).toBe('INVALID_INPUT');
      expect((await problemFor(path, { method, headers: json })).code).toBe('INVALID_INPUT');
      expect((await problemFor(path, { method, headers: { 'content-type': 'text/plain' } })).code).toBe('NOT_JSON');
    }
  });

  it('may be missing or empty where none is needed', async () => {
    for (const path of ['/nodes/n1/drain', '/nodes/n1/cordon', '/workloads/web/restart', '/health/check']) {
      for (const sent of [{}, { headers: json }, { headers: { 'content-type': 'text/plain' } }, post('{}')]) {
        expect((await send(path, { ...sent, method: 'POST' })).status).toBeLessThan(300);
      }
    }
    expect(served.api.calls.filter(({ method }) => method === 'drainNode')[0]?.args).toEqual(['n1', 3_600_000]);
  });

  it.each<[unknown, string]>([
    [{}, '/script'],
    [{ script: '/a', command: ['b'] }, '/script'],
    [{ script: 'relative' }, '/script'],
    [{ script: '/a\0b' }, '/script'],
    [{ command: [] }, '/command'],
    [{ command: [1] }, '/command/0'],
    [{ command: ['a'], env: { 'a b': 'x' } }, '/env/a b'],
    [{ command: ['a'], env: { MORCH_X: 'x' } }, '/env/MORCH_X'],
    [{ command: ['a'], id: 'Not_A_Label' }, '/id'],
    [{ command: ['a'], replicas: -1 }, '/replicas'],
    [{ command: ['a'], replicas: 1.5 }, '/replicas'],
    [{ command: ['a'], replicas: 1_000_001 }, '/replicas'],
    [{ command: ['a'], kind: 'daemon', replicas: 2 }, '/replicas'],
    [{ command: ['a'], stop: { signal: 'SIGNOPE' } }, '/stop/signal'],
    [{ command: ['a'], resources: { cpuMillis: -5 } }, '/resources/cpuMillis'],
    [{ command: ['a'], restart: { nope: 1 } }, '/restart/nope'],
    [{ command: ['a'], restart: { 'a/b~c': 1 } }, '/restart/a~1b~0c'],
    [{ command: ['a'], user: 'Nobody' }, '/user'],
    [{ command: ['a'], user: '4294967295' }, '/user'],
    [{ command: ['a'], user: 1000 }, '/user'],
    [{ command: ['a'], limits: { memory: 1 } }, '/limits/memory'],
    [{ command: ['a'], limits: { memoryBytes: 2 ** 20 - 1 } }, '/limits/memoryBytes'],
    [{ command: ['a'], limits: { cpuMillis: 9 } }, '/limits/cpuMillis'],
    [{ command: ['a'], limits: { pids: 0 } }, '/limits/pids'],
    [{ command: ['a'], limits: { openFiles: 1_073_741_817 } }, '/limits/openFiles'],
    [{ command: ['a'], nice: 20 }, '/nice'],
    [{ command: ['a'], umask: '088' }, '/umask'],
    [{ command: ['a'], umask: 18 }, '/umask'],
  ])('%j is refused, and %s named', async (body, pointer) => {
    for (const [method, path] of [
      ['POST', '/workloads'],
      ['PUT', '/workloads/web'],
    ] as const) {
      const problem = await problemFor(path, { ...post(body), method });
      expect(problem.code).toBe('INVALID_INPUT');
      expect(problem.errors?.map((error) => error.pointer)).toContain(pointer);
    }
    expect(served.api.calls).toEqual([]);
  });

  it('refuses an environment variable named __proto__ rather than lose it', async () => {
    const problem = await problemFor('/workloads', post('{"command":["a"],"env":{"__proto__":"x"}}'));
    expect(problem.errors).toEqual([{ pointer: '/env/__proto__', message: 'is not taken as a name' }]);
  });

  it('for another id than the path is refused', async () => {
    const problem = await problemFor('/workloads/web', { ...post({ id: 'api', command: ['a'] }), method: 'PUT' });
    expect(problem.errors?.[0]?.pointer).toBe('/id');
    expect((await problemFor('/workloads/Not_A_Label', { ...post({ command: ['a'] }), method: 'PUT' })).status).toBe(
      400,
    );
  });
});

describe('a header', () => {
  it.each(['3', 'W/"3"', '"three"', '"1", "2"', '""', '"-1"'])('If-Match: %s is refused', async (value) => {
    for (const [method, path, body] of [
      ['PUT', '/workloads/web', { command: ['a'] }],
      ['DELETE', '/workloads/web', undefined],
      ['POST', '/workloads/web/restart', undefined],
      ['POST', '/workloads/web/scale', { replicas: 1 }],
    ] as const) {
      const sent = body === undefined ? {} : post(body);
      const headers = { ...('headers' in sent ? sent.headers : {}), 'if-match': value };
      const problem = await problemFor(path, { ...sent, headers, method });
      expect([problem.code, problem.errors?.[0]?.pointer]).toEqual(['INVALID_INPUT', '/If-Match']);
    }
    expect(served.api.calls).toEqual([]);
  });

  it('If-Match of another version is 412, also with * where there is nothing', async () => {
    const other = { 'if-match': '"2"' };
    expect((await problemFor('/workloads/web', { ...post({ command: ['a'] }, other), method: 'PUT' })).status).toBe(
      412,
    );
    expect((await problemFor('/workloads/web', { method: 'DELETE', headers: other })).status).toBe(412);
    expect((await problemFor('/workloads/web/restart', { method: 'POST', headers: other })).status).toBe(412);
    expect((await problemFor('/workloads/web/scale', post({ replicas: 1 }, other))).status).toBe(412);
    const any = { 'if-match': '*' };
    expect((await problemFor('/workloads/new', { ...post({ command: ['a'] }, any), method: 'PUT' })).status).toBe(412);
  });

  it('Idempotency-Key is 1 to 256 printable characters', async () => {
    for (const key of ['', 'x'.repeat(257), 'ä']) {
      const answer = await exchange(
        served.http.port,
        Buffer.from(
          `POST /workloads HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nIdempotency-Key: ${key}\r\nContent-Length: 17\r\n\r\n{"command":["a"]}`,
          'latin1',
        ),
      );
      expect(answer).toMatch(/^HTTP\/1.1 400 /);
      expect(answer).toContain('"pointer":"/Idempotency-Key"');
    }
    expect(served.api.calls).toEqual([]);
  });

  it('Last-Event-ID that is no position is 400', async () => {
    expect((await problemFor('/events', { headers: { 'last-event-id': 'abc' } })).code).toBe('INVALID_INPUT');
    expect((await problemFor('/events', { headers: { 'last-event-id': '77' } })).code).toBe('INVALID_INPUT');
  });
});

describe('what the scheduler refuses', () => {
  it.each(['NOT_POSSIBLE', 'WORKLOAD_EXISTS', 'START_FAILED', 'SHUTTING_DOWN', 'STORE_UNWRITABLE'] as const)(
    '%s keeps its status, and the kernel what it said',
    async (code) => {
      served.api.failure = new MorchError(code, 'because', {
        system: { syscall: 'execve', errno: 2, errnoCode: 'ENOENT' },
      });
      const problem = await problemFor('/workloads', post({ command: ['a'] }));
      expect(problem).toMatchObject({ code, detail: 'because', syscall: 'execve', errno: 2, errnoCode: 'ENOENT' });
    },
  );

  it.each([[new Error('secret')], ['a string'], [null], [{ status: 418 }]])(
    'unexpectedly (%p) is a 500 that tells no details',
    async (failure) => {
      served.api.failure = failure;
      const problem = await problemFor('/workloads', post({ command: ['a'] }));
      expect(problem.code).toBe('INTERNAL');
      expect(JSON.stringify(problem)).not.toContain('secret');
    },
  );
});

describe('what is not HTTP', () => {
  const head = 'POST /workloads HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';
  it.each([
    ['no protocol at all', 'hello\r\n\r\n', 400],
    ['a TLS greeting', Buffer.from('160301020001000001fc0303', 'hex'), 400],
    ['malformed chunked encoding', `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n`, 400],
    ['two lengths', `${head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`, 400],
    ['length and chunks', `${head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ['a negative length', `${head}Content-Length: -5\r\n\r\n`, 400],
    ['oversized headers', `GET /health HTTP/1.1\r\nHost: localhost\r\nX-Big: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    ['an oversized path', `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`, 431],
    ['no Host', 'GET /health HTTP/1.1\r\n\r\n', 400],
    ['a NUL in a header', 'GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: a\0b\r\n\r\n', 400],
  ] as const)('%s is refused and the connection ended', async (_what, bytes, status) => {
    expect(await exchange(served.http.port, bytes)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  });

  it('a body that breaks off harms nobody', async () => {
    const { connect } = await import('node:net');
    await new Promise<void>((resolve) => {
      const socket = connect(served.http.port, '127.0.0.1', () => {
        socket.write(`${head}Content-Length: 100\r\n\r\n{"command"`, () => socket.destroy());
      });
      socket.on('close', () => resolve());
    });
    expect(served.api.calls).toEqual([]);
  });

  it('an endless chunked body is refused without being kept', async () => {
    const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
    const answer = await exchange(served.http.port, `${head}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(140)}`);
    expect(answer).toMatch(/^HTTP\/1.1 413 /);
  });
});

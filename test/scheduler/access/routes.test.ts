/**
 * Walks the scheduler's own router: every route that it has, asked by everybody there is, over real HTTP. Prints the table.
 * What is expected is written down here by hand, so that a route which opens too far fails, and so does a new one.
 */
import { once } from 'node:events';
import { request } from 'undici';
import { WebSocket } from 'ws';
import { makeToken, tokenText } from '../../../access/tokenText';
import type { NodeRecord } from '../../../scheduler/core/model';
import { type Served, serveFake } from '../http/serve';

/** The least that opens each: `read` also lets operators and admins in, `operator` admins. */
const EXPECTED: Record<string, 'open' | 'read' | 'operator' | 'admin' | 'node'> = {
  'GET /health': 'open',
  'GET /livez': 'open',
  'GET /ca': 'open',
  'GET /readyz': 'open',
  'GET /health/summary': 'read',
  'POST /health/check': 'read',
  'GET /recovery/metrics': 'read',
  'POST /recovery/release': 'operator',
  'GET /nodes': 'read',
  'POST /nodes': 'node',
  'POST /nodes/:id/certificate': 'node',
  'GET /nodes/:id': 'read',
  'DELETE /nodes/:id': 'admin',
  'POST /nodes/:id/cordon': 'operator',
  'POST /nodes/:id/uncordon': 'operator',
  'POST /nodes/:id/drain': 'operator',
  'GET /nodes/:id/drill': 'read',
  'POST /nodes/:id/drill': 'admin',
  'GET /workloads': 'read',
  'POST /workloads': 'operator',
  'GET /workloads/:id': 'read',
  'PUT /workloads/:id': 'operator',
  'DELETE /workloads/:id': 'operator',
  'GET /workloads/:id/instances': 'read',
  'POST /workloads/:id/restart': 'operator',
  'POST /workloads/:id/scale': 'operator',
  'GET /workloads/:id/logs': 'read',
  'GET /workloads/:id/blackbox': 'read',
  'GET /workloads/:id/history': 'read',
  'GET /events': 'read',
  'WS /events': 'read',
  'GET /backup': 'admin',
  'GET /tokens': 'admin',
  'POST /tokens': 'admin',
  'DELETE /tokens/:id': 'admin',
  'GET /secrets': 'read',
  'PUT /secrets/:id': 'operator',
  'DELETE /secrets/:id': 'operator',
  'GET /audit': 'admin',
  'GET /metrics': 'read',
  'GET /nodes/:id/metrics': 'read',
  'GET /openapi.json': 'read',
};

const GOOD = ['read', 'operator', 'admin', 'join', 'node'] as const;
type Good = (typeof GOOD)[number];
const BAD = ['nonsense', 'wrong secret', 'wrong role', 'expired', 'revoked', 'used up', 'of another', 'basic'] as const;
type Who = 'none' | Good | (typeof BAD)[number];

function lets(access: string, who: Good): boolean {
  if (access === 'node') return who === 'join' || who === 'node' || who === 'admin';
  const ranks = ['open', 'read', 'operator', 'admin'];
  const rank = who === 'join' || who === 'node' ? 0 : ranks.indexOf(who);
  return rank >= ranks.indexOf(access);
}

function expectedStatus(access: string, who: Who): 'in' | 401 | 403 {
  if (who === 'none') return access === 'open' ? 'in' : 401;
  if (!(GOOD as readonly string[]).includes(who)) return 401;
  return lets(access, who as Good) ? 'in' : 403;
}

let served: Served;
const authorizations = new Map<Who, string | undefined>();

beforeAll(async () => {
  served = await serveFake({ auth: true });
  const { tokens, nodeTokens } = served;
  const make = (
    role: 'read' | 'operator' | 'admin' | 'join',
    limits: { expiresInMs?: number; maxUses?: number } = {},
  ) => tokens.create({ name: role, role, ...limits }, Date.now() - 1_000);
  const bearer = (text: string) => `Bearer ${text}`;
  authorizations.set('none', undefined);
  for (const role of ['read', 'operator', 'admin', 'join'] as const) {
    authorizations.set(role, bearer(tokenText(make(role).parts)));
  }
  const agentToken = tokenText(makeToken('agent'));
  nodeTokens.set({ id: 'n1' } as NodeRecord, agentToken);
  authorizations.set('node', bearer(agentToken));
  const admin = make('admin').parts;
  authorizations.set('nonsense', bearer('open-sesame'));
  authorizations.set('wrong secret', bearer(tokenText({ ...admin, secret: makeToken('admin').secret })));
  authorizations.set('wrong role', bearer(tokenText({ ...make('read').parts, role: 'admin' })));
  authorizations.set('expired', bearer(tokenText(make('admin', { expiresInMs: 500 }).parts)));
  const revoked = make('admin');
  tokens.remove(revoked.record.id);
  authorizations.set('revoked', bearer(tokenText(revoked.parts)));
  const usedUp = make('join', { maxUses: 1 });
  tokens.takeUse(usedUp.record.id);
  authorizations.set('used up', bearer(tokenText(usedUp.parts)));
  authorizations.set('of another', bearer(tokenText(makeToken('admin'))));
  authorizations.set('basic', `Basic ${Buffer.from(`admin:${tokenText(admin)}`).toString('base64')}`);
});
afterAll(() => served.close());

interface Layer {
  route?: { path: string; methods: Record<string, boolean> };
}

/** As the router has them, whatever the table says. What answers to every method refuses them all: it is no route. */
function routesOfRouter(): string[] {
  const { stack } = served.app.router as unknown as { stack: Layer[] };
  const routes = stack.flatMap(({ route }) => {
    const methods = Object.keys(route?.methods ?? {});
    return methods.length > 1 ? [] : methods.map((method) => `${method.toUpperCase()} ${route!.path}`);
  });
  return [...routes, 'WS /events'];
}

async function ask(name: string, authorization: string | undefined): Promise<number> {
  const [method = '', route = ''] = name.split(' ');
  const path = route.replace(':id', 'nope');
  const headers = authorization === undefined ? {} : { authorization };
  if (method === 'WS') {
    const socket = new WebSocket(`ws://127.0.0.1:${served.http.port}${path}`, { headers });
    const status = await Promise.race([
      once(socket, 'open').then(() => 101),
      once(socket, 'unexpected-response').then(([, response]) => response.statusCode as number),
    ]);
    socket.on('error', () => {});
    socket.terminate();
    return status;
  }
  const answer = await request(served.url + path, { method: method as 'GET', headers });
  const { statusCode } = answer;
  answer.body.on('error', () => {}).destroy();
  return statusCode;
}

test('every route lets in exactly whom it is meant for', async () => {
  const names = routesOfRouter();
  expect([...names].sort()).toEqual(Object.keys(EXPECTED).sort());
  const everybody = [...authorizations.keys()];
  const rows: string[] = [];
  const wrong: string[] = [];
  for (const name of names) {
    const cells: string[] = [];
    for (const who of everybody) {
      const status = await ask(name, authorizations.get(who));
      const expected = expectedStatus(EXPECTED[name]!, who);
      const isRight = expected === 'in' ? status !== 401 && status !== 403 && status < 500 : status === expected;
      if (!isRight) wrong.push(`${name} by ${who}: ${status}, not ${expected}`);
      cells.push(String(status).padEnd(Math.max(4, who.length)));
    }
    rows.push(`${name.padEnd(30)} ${cells.join(' ')}`);
  }
  const title = `${'scheduler'.padEnd(30)} ${everybody.map((who) => who.padEnd(4)).join(' ')}`;
  process.stdout.write(`${title}\n${rows.join('\n')}\n`);
  expect(wrong).toEqual([]);
  expect(rows.length * everybody.length).toBeGreaterThan(400);
}, 60_000);

test('a refusal comes before the path, the query and the body are looked at, and tells how to be let in', async () => {
  for (const path of [
    '/nope',
    '/workloads/%ff',
    '/workloads?limit=x',
    '//',
    '/LIVEZ',
    '/livez/',
    '/health/%2e%2e/nodes',
  ]) {
    const answer = await request(served.url + path, {
      method: 'POST',
      body: '{',
      headers: { 'content-type': 'text/x' },
    });
    expect([path, answer.statusCode, answer.headers['www-authenticate']]).toEqual([path, 401, 'Bearer']);
    expect(await answer.body.json()).toMatchObject({ code: 'UNAUTHENTICATED', status: 401 });
  }
  const known = await request(`${served.url}/nope`, { headers: { authorization: authorizations.get('read')! } });
  expect(known.statusCode).toBe(404);
  await known.body.dump();
});

test('strangers are told of the whole what an agent needs to join, and no more', async () => {
  const ask = async (authorization?: string) =>
    (
      await request(`${served.url}/health`, { headers: authorization === undefined ? {} : { authorization } })
    ).body.json();
  const bare = ['clusterId', 'epoch', 'status', 'version'];
  expect(Object.keys((await ask()) as object).sort()).toEqual(bare);
  expect(Object.keys((await ask(authorizations.get('join'))) as object).sort()).toEqual(bare);
  expect(await ask(authorizations.get('read'))).toMatchObject({ nodes: { total: 1 }, reasons: [] });
});

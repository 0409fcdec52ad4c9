/**
 * Somebody who has all that lies on the disk of node n2, its token and the join token among it: asks every route of the
 * scheduler and of the other agent, over plain HTTP, where no certificate helps. (With certificates: test/system/tls.test.ts.)
 */
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import path from 'node:path';
import { WebSocket } from 'ws';
import { parseToken } from '../../access/tokenText';
import type { CreatedToken, Token } from '../../contract/access';
import { AGENT_ROUTES, type Route, SCHEDULER_ROUTES } from '../../contract/routes';
import { Agents } from '../support/agent';
import { Cluster, end, freePort } from '../support/cluster';

jest.setTimeout(90_000);

const agents = new Agents();
let cluster: Cluster;
let secretOfN2: string;
/** What is found there that could open anything, and the join token that the agent was started with. */
let loot: string[];
beforeAll(async () => {
  cluster = await Cluster.start(2);
  await cluster.submit({ id: 'web', kind: 'service', replicas: 2, command: ['sleep', '600'], stop: { graceMs: 100 } });
  await cluster.untilRunning('web', 2);
  const { dataDir } = cluster.agents.get('n2')!;
  const entries = await readdir(dataDir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
  const texts = await Promise.all(files.map((file) => readFile(file, 'latin1')));
  const found = texts.flatMap((text) => text.match(/morch_[a-z]+_[0-9a-f]{8}_[\w-]{43}/g) ?? []);
  loot = [...new Set([...found, cluster.tokens.join])];
  secretOfN2 = loot.find((text) => parseToken(text)?.role === 'agent')!;
});
afterAll(async () => {
  await cluster?.close();
  await agents.endAll();
}, 60_000);

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
async function statusOf(url: string, method: string, token: string): Promise<number> {
  const answer = await fetch(url, {
    method,
    headers: { ...bearer(token), 'content-type': 'application/json' },
    ...(['POST', 'PUT'].includes(method) ? { body: '{}' } : {}),
  });
  await answer.body?.cancel();
  return answer.status;
}

async function statusOfSocket(url: string, token: string): Promise<number> {
  const socket = new WebSocket(url.replace('http', 'ws'), { headers: bearer(token) });
  socket.on('error', () => {});
  const status = await Promise.race([
    once(socket, 'open').then(() => 101),
    once(socket, 'unexpected-response').then(([, response]) => response.statusCode as number),
  ]);
  socket.terminate();
  return status;
}

const post = (url: string, token: string, body: object) =>
  fetch(url, {
    method: 'POST',
    headers: { ...bearer(token), 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

const registration = (name: string, agentToken: string, part = 'n2') => ({
  ...{ host: '127.0.0.1', port: cluster.agents.get(part)!.port, name, agentToken },
});

test('on its disk is the token of that agent, and none of anybody else', async () => {
  const roles = loot.map((text) => parseToken(text)!.role);
  expect(roles.sort()).toEqual(['agent', 'join']);
});

test('no route of the scheduler opens but those by which a node comes in', async () => {
  const open: string[] = [];
  for (const token of loot) {
    for (const { method, path: route, access } of SCHEDULER_ROUTES as readonly Route[]) {
      if (access === 'open') continue;
      for (const id of ['n1', 'web']) {
        const status = await statusOf(`${cluster.url}${route.replace(':id', id)}`, method, token);
        if (status !== 403) open.push(`${method} ${route} ${parseToken(token)!.role}: ${status}`);
      }
    }
    expect(await statusOfSocket(`${cluster.url}/events?since=0`, token)).toBe(403);
  }
  expect(new Set(open.map((text) => text.split(' ').slice(0, 2).join(' ')))).toEqual(
    new Set(['POST /nodes', 'POST /nodes/:id/certificate']),
  );
  // In what is let in, the body or the name is what is wrong.
  for (const text of open) expect(text).toMatch(/: 4\d\d$/);
});

test('no route of another agent opens, nor its events', async () => {
  const n1 = `http://127.0.0.1:${cluster.agents.get('n1')!.port}`;
  for (const token of [...loot, cluster.tokens.admin]) {
    for (const { method, path: route, access } of AGENT_ROUTES as readonly Route[]) {
      if (access === 'open') continue;
      expect([route, await statusOf(`${n1}${route.replace(':id', 'web.0')}`, method, token)]).toEqual([route, 401]);
    }
    expect(await statusOfSocket(`${n1}/events`, token)).toBe(401);
  }
});

test('it is no other node: neither by its own token nor by the join token, with whatever token of an agent', async () => {
  const n1 = (await cluster.request('GET', '/nodes/n1')).body;
  const tries: [name: string, by: string, agentToken: string, part: string][] = loot.flatMap((by) =>
    ['n1', 'n2'].map((part): [string, string, string, string] => ['n1', by, secretOfN2, part]),
  );
  for (const [name, by, agentToken, part] of tries) {
    const answer = await post(`${cluster.url}/nodes`, by, registration(name, agentToken, part));
    expect([by === secretOfN2 ? 'own' : 'join', part, answer.status]).toEqual([
      ...[by === secretOfN2 ? 'own' : 'join', part],
      by === secretOfN2 ? 403 : 409,
    ]);
  }
  // Nor may it move its own name onto the port of another.
  const moved = await post(`${cluster.url}/nodes`, secretOfN2, registration('n2', secretOfN2, 'n1'));
  expect([409, 422]).toContain(moved.status);
  const { id, host, port, status } = (await cluster.request('GET', '/nodes/n1')).body;
  expect({ id, host, port, status }).toEqual({ id: n1.id, host: n1.host, port: n1.port, status: 'healthy' });
  expect((await cluster.workload('web')).counts).toEqual({ running: 2 });
});

test('it takes no name by a join token from an agent that is there and cannot answer, which it may have brought about', async () => {
  // A way to an agent that lets nothing through, once told so, but what the scheduler has open to hear its events.
  let isFlooded = false;
  const others = new Set<Socket>();
  const target = await freePort();
  const way = createServer((from) => {
    from.on('error', () => from.destroy());
    from.once('data', (first) => {
      if (!first.toString('latin1').startsWith('GET /events')) others.add(from);
      if (isFlooded && others.has(from)) return;
      const to = connect(target, '127.0.0.1', () => to.write(first));
      to.on('error', () => from.destroy()).on('close', () => from.destroy());
      from.on('close', () => to.destroy());
      from.pipe(to).pipe(from);
    });
  });
  await new Promise<void>((resolve) => way.listen(0, '127.0.0.1', resolve));
  const { port } = way.address() as AddressInfo;
  const { child } = await cluster.startAgent('n3', { port: target, advertise: `127.0.0.1:${port}` });
  await cluster.untilNode('n3', 'healthy');
  isFlooded = true;
  for (const socket of others) socket.destroy();
  await cluster.untilNode('n3', 'degraded', 30_000);

  const own = await agents.start();
  const body = { host: '127.0.0.1', port: own.port, name: 'n3', agentToken: own.token };
  const answer = await post(`${cluster.url}/nodes`, cluster.tokens.join, body);
  expect([answer.status, await answer.json()]).toEqual([409, expect.objectContaining({ code: 'NODE_EXISTS' })]);
  expect((await cluster.request('GET', '/nodes/n3')).body.port).toBe(port);

  await own.end();
  await end(child, 'SIGTERM');
  cluster.agents.delete('n3');
  expect((await cluster.request('DELETE', '/nodes/n3?force=true')).status).toBe(204);
  for (const socket of others) socket.destroy();
  way.close();
});

describe('a join token', () => {
  const make = async (limits: object) =>
    (await cluster.request<CreatedToken>('POST', '/tokens', { name: 'made', role: 'join', ...limits })).body;
  const nodesOf = async () =>
    ((await cluster.request('GET', '/nodes')).body.nodes as { id: string }[]).map(({ id }) => id).sort();

  test.each(['expired', 'revoked'] as const)('that is %s lets nobody in', async (how) => {
    const agent = await agents.start();
    const { id, token } = await make(how === 'expired' ? { expiresInMs: 1 } : {});
    if (how === 'revoked') expect((await cluster.request('DELETE', `/tokens/${id}`)).status).toBe(204);
    const body = { host: '127.0.0.1', port: agent.port, name: agent.name, agentToken: agent.token };
    expect((await post(`${cluster.url}/nodes`, token, body)).status).toBe(401);
    expect((await post(`${cluster.url}/nodes/${agent.name}/certificate`, token, { csr: 'x' })).status).toBe(401);
    expect(await nodesOf()).toEqual(['n1', 'n2']);
    // Not for what the agent is: a good one lets it in.
    const good = await make({});
    expect((await post(`${cluster.url}/nodes`, good.token, body)).status).toBe(201);
    await agent.end();
    expect((await cluster.request('DELETE', `/nodes/${agent.name}?force=true`)).status).toBe(204);
  });

  test('that is good for one lets in one of four that come at once', async () => {
    const { id, token } = await make({ maxUses: 1 });
    const four = await Promise.all(Array.from({ length: 4 }, () => agents.start()));
    const answers = await Promise.all(
      four.map(({ name, port, token: agentToken }) =>
        post(`${cluster.url}/nodes`, token, { host: '127.0.0.1', port, name, agentToken }),
      ),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 401, 401, 401]);
    expect(await nodesOf()).toHaveLength(3);
    const { tokens } = (await cluster.request<{ tokens: Token[] }>('GET', '/tokens')).body;
    expect(tokens.find((one) => one.id === id)).toMatchObject({ uses: 1 });
    await Promise.all(four.map((agent) => agent.end()));
    const joined = (await nodesOf()).find((name) => name.startsWith('t-'));
    expect((await cluster.request('DELETE', `/nodes/${joined}?force=true`)).status).toBe(204);
  });
});

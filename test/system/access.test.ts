/** Tokens of a real cluster: first start, revocation of what is open, joining, and where a secret may be found. */
import { once } from 'node:events';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { WebSocket } from 'ws';
import { parseToken } from '../../access/tokenText';
import type { CreatedToken, Token, TokenRole } from '../../contract/access';
import { CLOSE_TOKEN_GONE } from '../../contract/events';
import { morch } from '../cli/morch';
import { Cluster, end, freePort } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(1);
}, 60_000);
afterAll(() => cluster.close(), 60_000);

const create = async (wish: { role: TokenRole; expiresInMs?: number; maxUses?: number }) => {
  const { status, body } = await cluster.request<CreatedToken>('POST', '/tokens', { name: 'made', ...wish });
  expect(status).toBe(201);
  return body;
};
const as = (token: string) => ({ authorization: `Bearer ${token}` });
const statusOf = async (route: string, token?: string) =>
  (await fetch(`${cluster.url}${route}`, token === undefined ? {} : { headers: as(token) })).status;
const agentTokenOf = async (name: string) =>
  (await readFile(path.join(cluster.directory, name, 'agent.token'), 'utf8')).trim();

describe('a token', () => {
  test('is made by the first start for its owner alone, and stays over restarts', async () => {
    for (const name of ['admin.token', 'join.token', 'secret.key']) {
      expect([name, (await stat(path.join(cluster.directory, 'scheduler', name))).mode & 0o777]).toEqual([name, 0o600]);
    }
    const before = { ...cluster.tokens };
    const made = await create({ role: 'read' });
    await end(cluster.scheduler.child, 'SIGKILL');
    await cluster.startScheduler();
    expect(cluster.tokens).toEqual(before);
    expect(await statusOf('/nodes', made.token)).toBe(200);
    await cluster.untilHealthy(1);
  }, 30_000);

  test('that is revoked opens nothing from then on, and what it held open ends', async () => {
    const { token, id } = await create({ role: 'read' });
    const stream = await fetch(`${cluster.url}/events?since=0`, { headers: as(token) });
    const socket = new WebSocket(`${cluster.url.replace('http', 'ws')}/events`, { headers: as(token) });
    await once(socket, 'open');
    const reading = (async () => {
      for await (const _ of stream.body!);
    })().catch(() => undefined);
    const closed = once(socket, 'close');
    expect((await cluster.request('DELETE', `/tokens/${id}`)).status).toBe(204);
    expect((await closed)[0]).toBe(CLOSE_TOKEN_GONE);
    await reading;
    expect(await statusOf('/nodes', token)).toBe(401);
    expect((await cluster.request('DELETE', `/tokens/${id}`)).body).toMatchObject({ code: 'TOKEN_NOT_FOUND' });
    await end(cluster.scheduler.child, 'SIGKILL');
    await cluster.startScheduler();
    expect(await statusOf('/nodes', token)).toBe(401);
    await cluster.untilHealthy(1);
  }, 30_000);

  test('may be revoked by itself', async () => {
    const { token, id } = await create({ role: 'admin' });
    const answer = await fetch(`${cluster.url}/tokens/${id}`, { method: 'DELETE', headers: as(token) });
    expect(answer.status).toBe(204);
    expect(await statusOf('/nodes', token)).toBe(401);
  });

  test('that expires ends what it holds open', async () => {
    const { token } = await create({ role: 'read', expiresInMs: 1_500 });
    const socket = new WebSocket(`${cluster.url.replace('http', 'ws')}/events`, { headers: as(token) });
    await once(socket, 'open');
    expect((await once(socket, 'close'))[0]).toBe(CLOSE_TOKEN_GONE);
    expect(await statusOf('/nodes', token)).toBe(401);
  }, 15_000);

  test('whose file is removed is replaced at the next start, and good no more', async () => {
    const before = cluster.tokens.admin;
    await end(cluster.scheduler.child, 'SIGTERM');
    await rm(path.join(cluster.directory, 'scheduler', 'admin.token'));
    await cluster.startScheduler();
    expect(cluster.tokens.admin).not.toBe(before);
    expect(await statusOf('/nodes', before)).toBe(401);
    expect(await statusOf('/nodes', cluster.tokens.admin)).toBe(200);
    await cluster.untilHealthy(1);
  }, 30_000);
});

describe('the command line', () => {
  const run = (token: string, ...args: string[]) =>
    morch(args, { env: { MORCH_ADDRESS: cluster.url, MORCH_TOKEN: token } });

  test('makes tokens, lists them without their texts, and revokes them', async () => {
    const made = await run(cluster.tokens.admin, 'token', 'create', 'ci', '--role', 'operator', '--expires', '30d');
    expect(made).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^morch_operator_[0-9a-f]{8}_\S{43}\n$/) });
    const token = made.stdout.trim();
    const { id, secret } = parseToken(token)!;
    const list = await run(cluster.tokens.admin, 'token', 'list', '-o', 'json');
    expect((JSON.parse(list.stdout) as Token[]).find((one) => one.id === id)).toMatchObject({
      name: 'ci',
      role: 'operator',
    });
    expect(list.stdout).not.toContain(secret);
    expect(await run(token, 'nodes', '-q')).toMatchObject({ exitCode: 0, stdout: 'n1\n' });
    expect(await run(token, 'token', 'list')).toMatchObject({
      exitCode: 6,
      stderr: expect.stringContaining('role admin'),
    });
    expect((await run(cluster.tokens.admin, 'token', 'revoke', id)).exitCode).toBe(0);
    expect(await run(token, 'nodes')).toMatchObject({ exitCode: 6, stderr: expect.stringContaining('MORCH_TOKEN') });
  }, 30_000);

  test('without a token says what to do, with 6', async () => {
    const env = { MORCH_ADDRESS: cluster.url };
    for (const verb of [['nodes'], ['health'], ['status'], ['logs', 'web']]) {
      const { exitCode, stderr } = await morch(verb, { env });
      expect([verb, exitCode, stderr]).toEqual([verb, 6, expect.stringContaining('--token-file')]);
    }
  }, 30_000);
});

describe('joining', () => {
  const register = async (name: string, port: number, token: string, agentToken: string | undefined) => {
    const answer = await fetch(`${cluster.url}/nodes`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...as(token) },
      body: JSON.stringify({ host: '127.0.0.1', port, name, agentToken }),
    });
    return { status: answer.status, body: (await answer.json()) as { code?: string; detail?: string } };
  };

  test('needs a join token; one with limits lets in so many and no more, who then need it no longer', async () => {
    const { token, id } = await create({ role: 'join', maxUses: 1 });
    const limited = { joinTokenFile: undefined, joinToken: token };
    await cluster.startAgent('n2', limited);
    await cluster.untilHealthy(2);
    await cluster.startAgent('n3', limited);
    await until(async () => (await cluster.logOf('n3')).includes('as many nodes as it may'), { what: 'n3 is refused' });
    expect(await cluster.logOf('n3')).toContain('--join-token-file');
    const { body } = await cluster.request<{ tokens: Token[] }>('GET', '/tokens');
    expect(body.tokens.find((one) => one.id === id)).toMatchObject({ uses: 1, maxUses: 1 });
    await end(cluster.agents.get('n3')!.child, 'SIGTERM');
    cluster.agents.delete('n3');
    await end(cluster.agents.get('n2')!.child, 'SIGKILL');
    await cluster.startAgent('n2', limited);
    await cluster.untilAnswers('n2');
    await cluster.untilNode('n2', 'healthy');
    expect((await cluster.request('GET', '/nodes')).body.nodes).toHaveLength(2);
  }, 60_000);

  test('a node speaks for itself only, and a join token takes no name from an agent that is there', async () => {
    const [one, two] = await Promise.all([agentTokenOf('n1'), agentTokenOf('n2')]);
    const { port } = cluster.agents.get('n2')!;
    expect((await register('n2', port, two, two)).status).toBe(200);
    expect((await register('n1', port, two, two)).body.code).toBe('FORBIDDEN');
    expect((await register('n9', port, two, two)).body.code).toBe('FORBIDDEN');
    expect((await register('n1', port, cluster.tokens.join, two)).body.code).toBe('NODE_EXISTS');
    // Another agent than n1 does not take n1's token.
    expect((await register('n1', port, cluster.tokens.join, one)).body.code).toBe('NODE_UNREACHABLE');
    expect((await register('n2', port, cluster.tokens.join, undefined)).body.code).toBe('NODE_EXISTS');
    expect((await cluster.request('GET', '/nodes/n1')).body).toMatchObject({
      status: 'healthy',
      port: cluster.agents.get('n1')!.port,
    });
  });

  test('a join token is no way to look about from where the scheduler is; its log and admins are told what is there', async () => {
    const listening = createServer((_, response) => response.writeHead(404).end()).listen(0, '127.0.0.1');
    await once(listening, 'listening');
    const ports = {
      'another server': (listening.address() as AddressInfo).port,
      nobody: await freePort(),
      'an agent that wants a token': cluster.agents.get('n1')!.port,
    };
    const told = new Set<string>();
    for (const port of Object.values(ports)) {
      const { status, body } = await register('n9', port, cluster.tokens.join, undefined);
      expect([status, body.code, body.detail]).toEqual([422, 'NODE_UNREACHABLE', expect.stringContaining(`:${port}`)]);
      const { requestId: _, ...rest } = body as Record<string, unknown>;
      told.add(JSON.stringify(rest).replaceAll(String(port), 'PORT'));
    }
    expect([...told]).toEqual([expect.stringContaining('--advertise')]);
    const why = {
      'another server': 'answered 404',
      nobody: 'ECONNREFUSED',
      'an agent that wants a token': 'asks for a token',
    };
    for (const [what, port] of Object.entries(ports)) {
      const expected = expect.stringContaining(why[what as keyof typeof why]);
      expect((await register('n9', port, cluster.tokens.admin, undefined)).body.detail).toEqual(expected);
    }
    const log = await cluster.logOf('scheduler');
    for (const found of Object.values(why)) expect(log).toContain(found);
    listening.close();
  });

  test('an agent takes commands of its scheduler only, also when a token of the scheduler is known', async () => {
    const { port } = cluster.agents.get('n1')!;
    for (const token of [cluster.tokens.admin, cluster.tokens.join, await agentTokenOf('n2')]) {
      expect((await fetch(`http://127.0.0.1:${port}/status`, { headers: as(token) })).status).toBe(401);
    }
  });
});

describe('what is lost', () => {
  test('a token of an agent: it is let in again by its join token, once its node counts as lost', async () => {
    await end(cluster.agents.get('n2')!.child, 'SIGTERM');
    await rm(path.join(cluster.directory, 'n2', 'agent.token'));
    await cluster.startAgent('n2');
    await cluster.untilNode('n2', 'healthy', 40_000);
    expect(await cluster.logOf('n2')).toContain('NODE_EXISTS');
    expect((await cluster.request('POST', '/health/check')).body.results).toContainEqual(
      expect.objectContaining({ node: 'n2', ok: true }),
    );
  }, 60_000);

  test('the key that they are sealed under: agents register anew by themselves', async () => {
    const verdicts = async () => (await cluster.request('GET', '/recovery/metrics')).body.verdicts;
    const before = await verdicts();
    await end(cluster.scheduler.child, 'SIGTERM');
    await rm(path.join(cluster.directory, 'scheduler', 'secret.key'));
    await cluster.startScheduler();
    expect(await cluster.logOf('scheduler')).toContain('secret.key is another one');
    await cluster.untilHealthy(2, 40_000);
    // They answered all along, though not to whom they do not know.
    expect(await verdicts()).toBe(before);
  }, 60_000);
});

test('secrets of tokens are found nowhere but in their files', async () => {
  const { token } = await create({ role: 'admin' });
  await cluster.submit({ id: 'web', command: ['sleep', '1000'], kind: 'service', stop: { graceMs: 300 } });
  await cluster.untilRunning('web', 1);
  const texts = [token, cluster.tokens.admin, cluster.tokens.join, await agentTokenOf('n1')];
  const secrets = texts.map((text) => parseToken(text)!.secret);
  const found: string[] = [];
  const look = (where: string, content: string) => {
    for (const secret of secrets) if (content.includes(secret)) found.push(where);
  };
  const visit = async (folder: string): Promise<void> => {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const file = path.join(folder, entry.name);
      if (entry.isDirectory()) await visit(file);
      else if (entry.isFile()) look(path.relative(cluster.directory, file), await readFile(file, 'latin1'));
    }
  };
  await visit(cluster.directory);
  expect(found.sort()).toEqual(['n1/agent.token', 'scheduler/admin.token', 'scheduler/join.token']);
  found.length = 0;
  for (const route of [
    '/nodes',
    '/nodes/n1',
    '/tokens',
    '/workloads/web',
    '/workloads/web/history',
    '/backup',
    '/health',
  ]) {
    look(route, await (await cluster.fetch(route)).text());
  }
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    look(`cmdline of ${pid}`, await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => ''));
  }
  for (const pid of await cluster.workloadPids()) {
    look(`environment of ${pid}`, await readFile(`/proc/${pid}/environ`, 'latin1'));
  }
  expect(found).toEqual([]);
}, 60_000);

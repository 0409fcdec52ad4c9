/** Who may command an agent: its own routes asked by everybody there is, over real HTTP. Prints the table. */
import { once } from 'node:events';
import { chmod, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { WebSocket } from 'ws';
import { makeToken, parseToken, tokenText } from '../../access/tokenText';
import { AGENT_ROUTES } from '../../contract/routes';
import { Agents, type TestAgent } from '../support/agent';

const agents = new Agents();
let agent: TestAgent;
/** What the agent's token was before its file was removed. */
let revoked: string;

beforeAll(async () => {
  const first = await agents.start();
  revoked = first.token;
  await first.end();
  await rm(join(first.dataDir, 'agent.token'));
  agent = await agents.start({ name: first.name, dataDir: first.dataDir });
}, 30_000);
afterAll(() => agents.endAll(), 30_000);

/** The agent's router is made of the table, and has no other route. */
const OPEN = ['GET /livez', 'GET /readyz'];
const ROUTES = [...AGENT_ROUTES.map(({ method, path }) => `${method} ${path}`), 'WS /events'];

function callers(): [who: string, authorization: string | undefined][] {
  const own = parseToken(agent.token)!;
  const bearer = (text: string) => `Bearer ${text}`;
  return [
    ['none', undefined],
    ['own', bearer(agent.token)],
    ['nonsense', bearer('open-sesame')],
    ['wrong secret', bearer(tokenText({ ...own, secret: makeToken('agent').secret }))],
    ['revoked', bearer(revoked)],
    ['of another agent', bearer(tokenText(makeToken('agent')))],
    ['an admin of a scheduler', bearer(tokenText({ ...own, role: 'admin' }))],
    ['a join token', bearer(tokenText(makeToken('join')))],
    ['basic', `Basic ${Buffer.from(`agent:${agent.token}`).toString('base64')}`],
  ];
}

async function ask(name: string, authorization: string | undefined): Promise<number> {
  const [method = '', route = ''] = name.split(' ');
  const path = route.replace(':id', 'nope.0');
  const headers = authorization === undefined ? {} : { authorization };
  if (method === 'WS') {
    const socket = new WebSocket(`${agent.address.replace('http', 'ws')}${path}`, { headers });
    const status = await Promise.race([
      once(socket, 'open').then(() => 101),
      once(socket, 'unexpected-response').then(([, response]) => response.statusCode as number),
    ]);
    socket.on('error', () => {});
    socket.terminate();
    return status;
  }
  const answer = await request(agent.address + path, { method: method as 'GET', headers });
  await answer.body.dump();
  return answer.statusCode;
}

test('every route lets in who has the token of this agent, and nobody else', async () => {
  const everybody = callers();
  const rows: string[] = [];
  const wrong: string[] = [];
  for (const name of ROUTES) {
    const cells: string[] = [];
    for (const [who, authorization] of everybody) {
      const status = await ask(name, authorization);
      const isIn = who === 'own' || (who === 'none' && OPEN.includes(name));
      const isRight = isIn ? status !== 401 && status !== 403 && status < 500 : status === 401;
      if (!isRight) wrong.push(`${name} by ${who}: ${status}`);
      cells.push(String(status).padEnd(Math.max(4, who.length)));
    }
    rows.push(`${name.padEnd(26)} ${cells.join(' ')}`);
  }
  const title = `${'agent'.padEnd(26)} ${everybody.map(([who]) => who.padEnd(4)).join(' ')}`;
  process.stdout.write(`${title}\n${rows.join('\n')}\n`);
  expect(wrong).toEqual([]);
  expect(rows).toHaveLength(11);
});

test('a refusal comes before the path and the body are looked at, and nothing is done', async () => {
  const marker = join(agents.directory, 'marker');
  const body = JSON.stringify({ command: ['/bin/touch', marker], instanceId: 'evil.0' });
  for (const path of ['/start', '/nope', '/instances/%ff/logs', '/LIVEZ']) {
    const answer = await request(agent.address + path, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json' },
    });
    expect([path, answer.statusCode, answer.headers['www-authenticate']]).toEqual([path, 401, 'Bearer']);
    expect(await answer.body.json()).toMatchObject({ code: 'UNAUTHENTICATED' });
  }
  expect((await agent.status()).processes).toEqual([]);
  await expect(stat(marker)).rejects.toThrow('ENOENT');
});

test('the token is in a file for the owner alone, and stays the same', async () => {
  const file = join(agent.dataDir, 'agent.token');
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  await chmod(file, 0o644);
  const before = agent.token;
  await agent.end();
  agent = await agents.restart(agent);
  expect(agent.token).toBe(before);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(await readFile(`/proc/${agent.pid}/cmdline`, 'latin1')).not.toContain(before);
  expect(agent.stdout + agent.stderr).not.toContain(parseToken(before)!.secret);
}, 30_000);

test('a file with something else in it is not taken', async () => {
  const other = await agents.start();
  await other.end();
  await writeFile(join(other.dataDir, 'agent.token'), 'open-sesame');
  await expect(agents.restart(other)).rejects.toThrow('does not hold the token of an agent');
}, 30_000);

test('with --no-auth nobody is asked, but pages of other sites are refused all the same', async () => {
  const open = await agents.start({ auth: false });
  expect(open.stderr).toContain('--no-auth');
  const status = async (headers: Record<string, string>) => {
    const answer = await request(`${open.address}/status`, { headers });
    await answer.body.dump();
    return answer.statusCode;
  };
  expect(await status({})).toBe(200);
  expect(await status({ host: 'evil.example' })).toBe(421);
  expect(await status({ origin: 'http://evil.example' })).toBe(403);
  expect(await status({ 'sec-fetch-site': 'cross-site' })).toBe(403);
  const upgrade = (headers: Record<string, string>) =>
    once(new WebSocket(`${open.address.replace('http', 'ws')}/events`, { headers }), 'unexpected-response').then(
      ([, response]) => response.statusCode as number,
    );
  expect(await upgrade({ origin: 'http://evil.example' })).toBe(403);
  expect(await upgrade({ host: 'evil.example' })).toBe(421);
});

test('no answer may be framed, run or guessed from, whatever it is', async () => {
  for (const [path, headers] of [
    ['/livez', {}],
    ['/status', {}],
    ['/status', { authorization: `Bearer ${agent.token}` }],
    ['/status', { host: 'evil.example' }],
  ] as const) {
    const answer = await request(agent.address + path, { headers });
    await answer.body.dump();
    expect(answer.headers['content-security-policy']).toContain("default-src 'none'");
    expect(answer.headers['content-security-policy']).toContain("frame-ancestors 'none'");
    expect(answer.headers).toMatchObject({ 'x-frame-options': 'DENY', 'x-content-type-options': 'nosniff' });
    expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control-'))).toEqual([]);
  }
});

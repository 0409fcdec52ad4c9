/** Bodies and heads made to hurt whoever reads them: refused as the sender's fault, by scheduler and agent, which serve on. */
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { Agents, type TestAgent } from '../support/agent';
import { Cluster } from '../support/cluster';
import { Asker } from './asker';
import { sendUntilCut } from './untilCut';

jest.setTimeout(60_000);

const agents = new Agents();
let cluster: Cluster;
let agent: TestAgent;
let scheduler: Asker;
let node: Asker;
beforeAll(async () => {
  [cluster, agent] = await Promise.all([Cluster.start(0), agents.start()]);
  scheduler = Asker.ofScheduler(cluster);
  node = Asker.ofAgent(agent);
});
afterAll(async () => {
  await Promise.all([scheduler?.close(), node?.close()]);
  await cluster?.close();
  await agents.endAll();
});
afterEach(async () => {
  expect([await scheduler.serves(), await node.serves()]).toEqual([true, true]);
  expect([cluster.scheduler.child.exitCode, agent.child.exitCode]).toEqual([null, null]);
});

/** Routes that read a body, each with one that is good but for what is put in. */
const bodies = (): [asker: Asker, path: string, with_: (field: string) => string][] => [
  [scheduler, '/workloads', (field) => `{"command":["true"],"replicas":0,${field}}`],
  [scheduler, '/tokens', (field) => `{"name":"a","role":"read",${field}}`],
  [node, '/start', (field) => `{"command":["true"],${field}}`],
  [node, '/start', (field) => `{"instances":[{"command":["true"],${field}}]}`],
  [node, '/stop', (field) => `{"pid":1,${field}}`],
];

async function statusesOf(field: string): Promise<number[]> {
  const told = bodies().map(([asker, path, with_]) => asker.ask({ method: 'POST', path, body: with_(field) }));
  return (await Promise.all(told)).map(({ status }) => status);
}
const ALL_REFUSED = [400, 400, 400, 400, 400];

const LEVELS = 100_000;
const arrays = `${'['.repeat(LEVELS)}${']'.repeat(LEVELS)}`;
const objects = `${'{"a":'.repeat(LEVELS / 3)}1${'}'.repeat(LEVELS / 3)}`;
const DEEP: [string, string][] = [
  ['100,000 arrays', arrays],
  ['33,000 objects', objects],
  ['objects whose end is missing', '{"a":'.repeat(LEVELS / 3)],
  ['100,000 arrays, and a key that is not taken', arrays.replace('[]', '[{"__proto__":1}]')],
];

describe('what is nested deep', () => {
  test.each(DEEP)('%s, is refused in the place of a field, a list, a map and the whole', async (_what, deep) => {
    for (const name of ['surprise', 'command', 'args', 'env', 'labels', 'restart', 'placement', 'instances', 'kind']) {
      expect([name, await statusesOf(`"${name}":${deep}`)]).toEqual([name, ALL_REFUSED]);
    }
    for (const [asker, path] of bodies()) {
      expect((await asker.ask({ method: 'POST', path, body: deep })).status).toBe(400);
    }
  });

  test('a batch of 8 MiB of brackets is refused by an agent', async () => {
    const half = 4 * 1024 ** 2 - 1_000;
    const body = `{"instances":[${'['.repeat(half)}${']'.repeat(half)}]}`;
    expect((await node.ask({ method: 'POST', path: '/start', body })).status).toBe(400);
    expect((await node.ask({ method: 'POST', path: '/stop', body })).status).toBe(400);
  });
});

test.each([
  ...['1e400', '-1e400', '9007199254740993', '1.5', '-1', '-9007199254740993'].map((number) => [number, number]),
  ['of 200,000 digits', `1${'0'.repeat(200_000)}`],
  ['of 200,000 digits behind the point', `0.${'3'.repeat(200_000)}`],
])('the number %s is refused where a whole one is counted', async (_what, number) => {
  const fields = ['"maxRunMs":N', '"restart":{"attempts":N}', '"limits":{"memoryBytes":N}', '"stop":{"graceMs":N}'];
  for (const field of [...fields, '"maxUses":N', '"generation":N', '"epoch":N']) {
    expect([field, await statusesOf(field.replace('N', number))]).toEqual([field, ALL_REFUSED]);
  }
  const scale = { method: 'POST', path: '/workloads/x/scale', body: `{"replicas":${number}}` };
  expect((await scheduler.ask(scale)).status).toBe(400);
  const register = { method: 'POST', path: '/nodes', body: `{"host":"127.0.0.1","port":${number}}` };
  expect((await scheduler.ask(register)).status).toBe(400);
});

test('of a key given twice the last counts, in what is checked as in what is done', async () => {
  const canary = path.join(agents.directory, 'canary');
  const commands = `"command":["touch","${canary}"],"command":["true"]`;
  const told = await scheduler.ask({ method: 'POST', path: '/workloads', body: `{"replicas":0,${commands}}` });
  expect([told.status, JSON.parse(told.text).command]).toEqual([201, ['true']]);
  const started = await node.ask({ method: 'POST', path: '/start', body: `{${commands}}` });
  expect(started.status).toBe(201);
  await agent.untilStatus(JSON.parse(started.text).instanceId, 'completed');
  expect(existsSync(canary)).toBe(false);
  const bad = `"command":["true"],"command":["a\\u0000b"]`;
  expect((await node.ask({ method: 'POST', path: '/start', body: `{${bad}}` })).status).toBe(400);
});

test('half of a surrogate pair, which no program could be given, is refused wherever it stands', async () => {
  for (const half of ['\\ud800', '\\udfff', '\\uD83D', 'a\\udc00\\ud800', '\\ud83d\\ud83d\\ude00']) {
    for (const field of [
      '"args":["T"]',
      '"env":{"A":"T"}',
      '"labels":{"a":"T"}',
      '"T":1',
      '"env":{"T":"x"}',
      '"id":"T"',
    ]) {
      expect([field, half, await statusesOf(field.replace('T', half))]).toEqual([field, half, ALL_REFUSED]);
    }
    const secret = { method: 'PUT', path: '/secrets/a', body: `{"value":"${half}"}` };
    expect((await scheduler.ask(secret)).status).toBe(400);
  }
  const told = await scheduler.ask({
    method: 'POST',
    path: '/workloads',
    body: '{"command":["true"],"replicas":0,"args":["\\ud83d\\ude00"]}',
  });
  expect([told.status, JSON.parse(told.text).args]).toEqual([201, ['😀']]);
});

test('a byte order mark changes nothing; what is not UTF-8 is refused', async () => {
  const body = '{"command":["true"],"id":"bom","replicas":0}';
  const send = async (bytes: Buffer) => {
    const answer = await cluster.fetch('/workloads', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: bytes,
    });
    return { status: answer.status, body: (await answer.json()) as { id?: string; command?: string[] } };
  };
  const mark = Buffer.from([0xef, 0xbb, 0xbf]);
  expect(await send(Buffer.concat([mark, Buffer.from(body)]))).toMatchObject({
    status: 201,
    body: { id: 'bom', command: ['true'] },
  });
  const bad = [
    Buffer.concat([mark, mark, Buffer.from(body)]),
    Buffer.from(`\ufeff${body}`, 'utf16le'),
    Buffer.from(`${body}\0`),
    Buffer.from(body.replace('true', '\xff'), 'latin1'),
    // A surrogate, an overlong slash, and more than there is of Unicode.
    ...['eda080', 'c0af', 'f4908080'].map((hex) =>
      Buffer.from(body.replace('true', Buffer.from(hex, 'hex').toString('latin1')), 'latin1'),
    ),
  ];
  for (const bytes of bad) {
    expect((await send(bytes)).status).toBe(400);
    const answer = await agent.fetch('/start', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: bytes,
    });
    expect(answer.status).toBe(400);
  }
});

test('a body of 256 KiB is taken, one byte more is not', async () => {
  const LIMIT = 256 * 1024;
  for (const [asker, path, with_] of [bodies()[0]!, bodies()[2]!]) {
    const rest = with_('"env":{"A":"","B":""}').length;
    // Of one string the kernel takes 128 KiB.
    const [a, b] = ['a'.repeat(LIMIT / 2 - 1_000), 'b'.repeat(LIMIT / 2 + 1_000 - rest)];
    const edge = with_(`"env":{"A":"${a}","B":"${b.slice(1_500)}"}`).padEnd(LIMIT, ' ');
    expect(edge).toHaveLength(LIMIT);
    expect([path, (await asker.ask({ method: 'POST', path, body: edge })).status]).toEqual([path, 201]);
    expect([path, (await asker.ask({ method: 'POST', path, body: `${edge} ` })).status]).toEqual([path, 413]);
  }
});

test('as many unknown fields as there is room for are refused', async () => {
  const names = Array.from({ length: 30_000 }, (_, i) => `"${i.toString(36)}":1`).join();
  expect(await statusesOf(names.slice(0, 250_000).replace(/,[^,]*$/, ''))).toEqual(ALL_REFUSED);
});

const START = 'GET /livez HTTP/1.1\r\nHost: localhost\r\n';
const MEGABYTE = 1024 ** 2;
describe.each([
  ['the scheduler', () => cluster.scheduler.port],
  ['an agent', () => agent.port],
])('%s refuses', (_who, port) => {
  test.each([
    ['10,000 header lines', START, 'a:b\r\n'.repeat(10_000), 1],
    ['10,000 times the same header', START, 'X-Forwarded-For: 127.0.0.1\r\n'.repeat(10_000), 1],
    ['10,000 hosts', START, 'Host: localhost\r\n'.repeat(10_000), 1],
    ['header lines without end', START, 'a: b\r\n'.repeat(1_000), 4 * MEGABYTE],
    ['a header without end', `${START}X: `, 'x'.repeat(10_000), 4 * MEGABYTE],
    ['the name of a header without end', START, 'x'.repeat(10_000), 4 * MEGABYTE],
    ['a path without end', 'GET /', 'x'.repeat(10_000), 4 * MEGABYTE],
    ['a token of 17 KiB', `${START}Authorization: Bearer `, 'x'.repeat(17 * 1_024), 1],
  ])('%s', async (_what, head, more, atMost) => {
    const { answer } = await sendUntilCut(port(), head, more, atMost);
    // What was sent beyond may have made the kernel take the answer back.
    if (answer !== '') expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /);
    expect(answer).not.toMatch(/HTTP\/1\.1 [25]/);
  });

  test.each([
    ['two lengths', 'Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}'],
    ['a length and chunks', 'Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['a length that is none', 'Content-Length: 0x2\r\n\r\n{}'],
    ['chunks of a size that is none', 'Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n'],
    ['a size of a chunk beyond all counting', `Transfer-Encoding: chunked\r\n\r\n${'f'.repeat(17)}\r\n`],
    ['an extension of a chunk without end', `Transfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(40_000)}`],
    ['a header line that goes on in the next', 'Content-Length: 2\r\nX: a\r\n b\r\n\r\n{}'],
  ])('%s', async (_what, rest) => {
    const [path, token] = port() === agent.port ? ['/start', agent.token] : ['/workloads', cluster.tokens.admin];
    const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer ${token}\r\n`;
    const { answer } = await sendUntilCut(port(), `${head}Content-Type: application/json\r\n${rest}`, '', 0);
    expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /);
  });
});

describe('what could be read in two ways', () => {
  const upgrade =
    'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n';
  const statusOf = async (address: string, head: string): Promise<string> => {
    const { hostname, port } = new URL(address);
    const socket = connect(Number(port), hostname);
    let told = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      told += text;
      // What has been switched to another protocol is not ended by the other side.
      if (told.includes('\r\n\r\n')) socket.destroy();
    });
    socket.on('error', () => {});
    socket.write(`${head}\r\n`);
    await new Promise((resolve) => socket.on('close', resolve));
    return told.split(' ')[1] ?? '';
  };

  test.each([
    ['two hosts', '/', 'Host: localhost\r\nHost: evil.example\r\n', ''],
    ['two tokens, the first of them good', '/', 'Host: localhost\r\n', 'authorization: Bearer other\r\n'],
    ['a target of another host', 'http://evil.example/', 'Host: localhost\r\n', ''],
  ])('is refused: %s', async (_what, base, host, after) => {
    for (const [address, path, token] of [
      [cluster.url, 'nodes', cluster.tokens.admin],
      [agent.address, 'status', agent.token],
    ] as const) {
      const good = `Authorization: Bearer ${token}\r\n`;
      for (const [target, more] of [
        [path, 'Connection: close\r\n'],
        ['events', upgrade],
      ]) {
        const plain = `GET /${target} HTTP/1.1\r\nHost: localhost\r\n${good}${more}`;
        expect([target, await statusOf(address, plain)]).toEqual([target, target === 'events' ? '101' : '200']);
        const doubtful = `GET ${base}${target} HTTP/1.1\r\n${host}${good}${after}${more}`;
        expect([target, await statusOf(address, doubtful)]).toEqual([target, '400']);
      }
    }
  });
});

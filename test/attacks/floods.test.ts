/** Whoever opens many connections, says little on them, or asks too often, keeps nobody else out, and costs no node its verdict. */
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { makeToken, tokenText } from '../../access/tokenText';
import type { RecoveryMetrics } from '../../contract/health';
import { Cluster, type Part } from '../support/cluster';
import { until } from '../support/until';

const CONNECTIONS = 10_000;
/** Of the port, see access/connections.ts. */
const HELD_AT_MOST = 4_096;
/** How long a header may take, and how often that is looked at: access/connections.ts. */
const HEADER_WITHIN_MS = 10_000 + 5_000;

let cluster: Cluster;
const opened: Socket[] = [];
let jobs = 0;
afterEach(() => {
  for (const socket of opened.splice(0)) socket.destroy();
});
afterEach(() => cluster.close(), 60_000);

/** One that goes on reading, and does not mind to be ended. */
function open(port: number): Socket {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {}).resume();
  opened.push(socket);
  return socket;
}

const openFilesOf = ({ child }: Part) => readdirSync(`/proc/${child.pid}/fd`).length;
const partOf = (name: string) => (name === 'the scheduler' ? cluster.scheduler : cluster.agents.get('n1')!);

/** All along the node is probed, work is taken, and nothing is said of the node that is not so. */
async function expectService(): Promise<void> {
  jobs += 1;
  const id = `job-${jobs}`;
  await cluster.submit({ id, command: ['true'] });
  await cluster.untilStatus(id, 'completed', 10_000);
  const { body } = await cluster.request<RecoveryMetrics>('GET', '/recovery/metrics');
  expect(body.verdicts).toBe(0);
  expect((await cluster.request('GET', '/nodes/n1')).body).toMatchObject({ status: 'healthy' });
}

describe('connections without end', () => {
  beforeEach(async () => {
    cluster = await Cluster.start(1);
  }, 60_000);

  test.each(['the scheduler', 'the agent'])(
    `${CONNECTIONS}: %s holds no more than it can, and serves`,
    async (name) => {
      const part = partOf(name);
      const before = openFilesOf(part);
      for (let i = 0; i < CONNECTIONS; i += 500) {
        const some = Array.from({ length: 500 }, () => open(part.port));
        await until(() => some.every((socket) => !socket.connecting), { timeoutMs: 20_000, what: 'they are open' });
      }
      await expectService();
      expect(openFilesOf(part) - before).toBeLessThan(HELD_AT_MOST + 100);
      expect(opened.filter(({ destroyed }) => destroyed).length).toBeGreaterThan(CONNECTIONS - HELD_AT_MOST - 100);
    },
    90_000,
  );

  test('with requests that arrive a byte at a time end, and both serve meanwhile', async () => {
    const ports = ['the scheduler', 'the agent'].map((name) => partOf(name).port);
    const begin = (text: string) =>
      ports.flatMap((port) =>
        Array.from({ length: 200 }, () => {
          const socket = open(port);
          socket.write(text);
          let answer = '';
          socket.on('data', (data) => {
            answer += String(data);
          });
          return { socket, statusOf: () => answer.slice(9, 12) };
        }),
      );
    const sinceMs = performance.now();
    const heads = begin('GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ');
    const type = 'Content-Type: application/json\r\nContent-Length: 99';
    const bodies = begin(`POST /start HTTP/1.1\r\nHost: localhost\r\n${type}\r\n\r\n{`);
    const dripping = setInterval(() => {
      for (const { socket } of [...heads, ...bodies]) if (!socket.destroyed) socket.write('a');
    }, 1_000);
    try {
      while (!heads.every(({ socket }) => socket.destroyed)) {
        expect(performance.now() - sinceMs).toBeLessThan(2 * HEADER_WITHIN_MS);
        await expectService();
      }
    } finally {
      clearInterval(dripping);
    }
    expect(heads.map(({ statusOf }) => statusOf())).toEqual(heads.map(() => '408'));
    // Whoever has no token has no body that is waited for.
    expect(bodies.map(({ statusOf }) => statusOf())).toEqual(bodies.map(() => '401'));
  }, 90_000);
});

describe('requests without end', () => {
  /** Statuses of so many at once, by how often. */
  async function statusesOf(count: number, ask: () => Promise<Response>): Promise<Record<string, number>> {
    const statuses: Record<string, number> = {};
    for (const { status, headers } of await Promise.all(Array.from({ length: count }, ask))) {
      statuses[status] = (statuses[status] ?? 0) + 1;
      if (status === 429) expect(headers.get('retry-after')).toBe('1');
    }
    return statuses;
  }

  test('of one token are refused beyond its rate, and take nothing from another', async () => {
    cluster = await Cluster.start(0, { schedulerArgs: { rateLimit: 20 } });
    const other = await cluster.request<{ token: string }>('POST', '/tokens', { name: 'other', role: 'read' });
    const bearer = { headers: { authorization: `Bearer ${other.body.token}` } };
    const statuses = await statusesOf(60, () => cluster.ask('/workloads', bearer));
    // They came within two seconds at most.
    expect(statuses[200]).toBeGreaterThanOrEqual(20);
    expect(statuses[200]).toBeLessThanOrEqual(40);
    expect(statuses[429]).toBe(60 - statuses[200]!);
    expect((await cluster.fetch('/workloads')).status).toBe(200);
  });

  test.each(['the scheduler', 'the agent'])(
    'of strangers are refused by %s, and take nothing from who has a token',
    async (name) => {
      cluster = await Cluster.start(1);
      const url = `http://127.0.0.1:${partOf(name).port}`;
      const guess = () =>
        fetch(`${url}/status`, { headers: { authorization: `Bearer ${tokenText(makeToken('admin'))}` } });
      let refused = 0;
      await until(
        async () => {
          const { 429: tooMany = 0, 401: wrong = 0, ...others } = await statusesOf(400, guess);
          expect(others).toEqual({});
          expect(wrong).toBeLessThanOrEqual(400);
          refused += tooMany;
          // Nor from who asks, at the same address, for what is open.
          if (tooMany > 0) expect((await fetch(`${url}/livez`)).status).toBe(200);
          await expectService();
          return refused > 0;
        },
        { timeoutMs: 30_000, what: 'some have been too many' },
      );
    },
    60_000,
  );
});

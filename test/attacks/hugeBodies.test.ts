/** A body of 1 GB, declared and in chunks without end: refused early, and never held. */
import { readFileSync, writeFileSync } from 'node:fs';
import { Agents, type TestAgent } from '../support/agent';
import { Cluster } from '../support/cluster';
import { sendUntilCut } from './untilCut';

jest.setTimeout(60_000);

const agents = new Agents();
let cluster: Cluster;
let agent: TestAgent;
beforeAll(async () => {
  [cluster, agent] = await Promise.all([Cluster.start(0), agents.start()]);
});
afterAll(async () => {
  await cluster?.close();
  await agents.endAll();
});

const MEGABYTE = 1024 ** 2;
const WHOLE = 1024 * MEGABYTE;
const PIECE = Buffer.alloc(64 * 1024, 'x');
const asChunk = Buffer.concat([Buffer.from(`${PIECE.length.toString(16)}\r\n`), PIECE, Buffer.from('\r\n')]);

/** The most that it has had in memory since `forgetPeak`. */
const peakOf = (pid: number) =>
  Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
const nowOf = (pid: number) => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
/** See clear_refs in proc(5). */
const forgetPeak = (pid: number) => writeFileSync(`/proc/${pid}/clear_refs`, '5');

const SERVERS = [
  [
    'the scheduler',
    '/workloads',
    () => ({ pid: cluster.scheduler.child.pid!, port: cluster.scheduler.port, token: cluster.tokens.admin }),
  ],
  ['an agent', '/start', () => agent],
] as const;
const FRAMINGS = [
  ['declared', `Content-Length: ${WHOLE}\r\n`, PIECE],
  ['in chunks', 'Transfer-Encoding: chunked\r\n', asChunk],
] as const;
const CASES = SERVERS.flatMap(([who, path, server]) =>
  FRAMINGS.map(([how, header, piece]) => ({ who, path, server, how, header, piece })),
);

/** What the sockets of both sides hold is sent without being read. */
const BUFFERED = 16 * MEGABYTE;

test.each(CASES)('$who refuses one that is $how', async ({ path, server, how, header, piece }) => {
  const { pid, port, token } = server();
  const before = nowOf(pid);
  forgetPeak(pid);
  const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\n${header}\r\n`;
  const { answer, sentBytes } = await sendUntilCut(port, head, piece, WHOLE);
  // The end of a connection with bytes on their way may take the answer with it.
  if (answer !== '' || how === 'in chunks') expect(answer).toMatch(/^HTTP\/1\.1 413 /);
  expect(sentBytes).toBeLessThan((how === 'declared' ? 0 : 64 * MEGABYTE) + BUFFERED);
  expect((peakOf(pid) - before) / MEGABYTE).toBeLessThan(96);
  expect((await fetch(`http://127.0.0.1:${port}/livez`)).status).toBe(200);
});

test.each(CASES)('$who lets no stranger send one that is $how', async ({ path, server, header, piece }) => {
  const { pid, port } = server();
  const before = nowOf(pid);
  forgetPeak(pid);
  const { answer, sentBytes } = await sendUntilCut(
    port,
    `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${header}\r\n`,
    piece,
    WHOLE,
  );
  if (answer !== '') expect(answer).toMatch(/^HTTP\/1\.1 401 /);
  expect(sentBytes).toBeLessThan(BUFFERED);
  expect((peakOf(pid) - before) / MEGABYTE).toBeLessThan(96);
  expect((await fetch(`http://127.0.0.1:${port}/livez`)).status).toBe(200);
});

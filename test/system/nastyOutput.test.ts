/** What nasty programs write, compared byte for byte with what is read back. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Agents, type TestAgent } from '../support/agent';
import { fixture, Notes } from '../support/fixtures';
import { until } from '../support/until';

const agents = new Agents();
let agent: TestAgent;
let count = 0;

beforeAll(async () => {
  agent = await agents.start();
}, 30_000);
afterAll(() => agents.endAll(), 30_000);

const ONCE = { restart: { policy: 'never' } };
const MIB = 1024 ** 2;
const nextId = () => `out-${++count}.0`;

async function run(command: string[], more: object = {}, timeoutMs = 30_000): Promise<string> {
  const instanceId = nextId();
  expect((await agent.start({ ...ONCE, command, instanceId, ...more })).status).toBe(201);
  await until(async () => /completed|failed/.test((await agent.instance(instanceId)).status), {
    what: `${instanceId} has ended`,
    timeoutMs,
  });
  return instanceId;
}

interface Digest {
  bytes: number;
  sha256: string;
  first: Buffer;
}

async function readBack(instanceId: string, query = ''): Promise<Digest> {
  const response = await agent.fetch(`/instances/${instanceId}/logs${query}`);
  expect(response.status).toBe(200);
  const hash = createHash('sha256');
  let bytes = 0;
  let first: Buffer = Buffer.alloc(0);
  for await (const chunk of response.body!) {
    const piece = Buffer.from(chunk);
    if (bytes === 0) first = piece.subarray(0, 64);
    bytes += piece.length;
    hash.update(piece);
  }
  return { bytes, sha256: hash.digest('hex'), first };
}

/** What the last `bytes` bytes of a program's output hash to, when nobody stands between. */
function sha256Of(command: string[], bytes?: number): string {
  const cut = bytes === undefined ? '' : `| tail -c ${bytes}`;
  return execFileSync('/bin/sh', ['-c', `"$@" ${cut} | sha256sum`, 'sh', ...command], { encoding: 'utf8' }).slice(
    0,
    64,
  );
}

test('40 MB of lines come back whole', async () => {
  const command = [fixture('write_lines'), '40000000'];
  const instanceId = await run(command);
  expect((await agent.instance(instanceId)).status).toBe('completed');
  expect(await readBack(instanceId)).toMatchObject({ bytes: 40_000_000, sha256: sha256Of(command) });
}, 60_000);

test('a line of 100 MB comes back whole', async () => {
  const command = [fixture('long_line'), '100000000'];
  const instanceId = await run(command);
  expect(await readBack(instanceId)).toMatchObject({ bytes: 100_000_000, sha256: sha256Of(command) });
  expect((await agent.request('GET', '/livez')).status).toBe(200);
}, 60_000);

test('of more than is kept, the end is there, from the beginning of a line on', async () => {
  const command = [fixture('write_lines'), String(256 * MIB)];
  const instanceId = await run(command, {}, 60_000);
  const { bytes, sha256, first } = await readBack(instanceId);
  // Ten files of 10 MiB: nine of them full, in the worst case, less their indexes.
  expect(bytes).toBeGreaterThan(88 * MIB);
  expect(bytes).toBeLessThanOrEqual(100 * MIB);
  expect(bytes % 64).toBe(0);
  expect(first.toString()).toMatch(/^\d{16}[a-z0-9 ]{47}\n$/);
  expect(sha256).toBe(sha256Of(command, bytes));
  const tail = await readBack(instanceId, '?tail=1000');
  expect(tail).toMatchObject({ bytes: 64_000, sha256: sha256Of(command, 64_000) });
}, 90_000);

test('lines of both streams come back in each, and merged in the order of writing', async () => {
  const numbers = Array.from({ length: 200 }, (_, number) => number);
  const instanceId = await run([fixture('both_streams'), '200', '5']);
  const lines = (of: number[]) => of.map((number) => `${number}\n`).join('');
  expect(await agent.logs(instanceId, '?stream=stdout')).toBe(lines(numbers.filter((number) => number % 2 === 0)));
  expect(await agent.logs(instanceId, '?stream=stderr')).toBe(lines(numbers.filter((number) => number % 2 === 1)));
  const merged = (await agent.logs(instanceId)).trimEnd().split('\n').map(Number);
  expect([...merged].sort((a, b) => a - b)).toEqual(numbers);
  // A shim that does not get to run for 5 ms sees two lines at once; all others are in their order.
  const swapped = merged.filter((number, index) => number !== index);
  expect(swapped.length).toBeLessThan(numbers.length / 4);
});

test('a closed stdout takes nothing from stderr or from the exit', async () => {
  const instanceId = await run([fixture('closes_stdout'), '9']);
  expect(await agent.instance(instanceId)).toMatchObject({ status: 'failed', exit: { code: 9, signal: null } });
  expect(await agent.logs(instanceId)).toBe('before\nstdout is closed\n');
});

test('bytes that are no text come back as they were', async () => {
  const command = [fixture('invalid_utf8')];
  const instanceId = await run(command);
  expect((await readBack(instanceId)).sha256).toBe(sha256Of(command));
});

test('what a grandchild writes after the end of the main process, while it is being stopped, is there', async () => {
  const notes = new Notes(join(agents.directory, 'late'));
  const instanceId = await run([fixture('late_writer'), notes.path, '6', '300'], { stop: { graceMs: 10_000 } });
  expect(await agent.instance(instanceId)).toMatchObject({ status: 'failed', exit: { code: 6 } });
  expect(notes.read().map(({ role }) => role)).toEqual(['writer', 'main']);
  expect(notes.left()).toEqual([]);
  expect(await agent.logs(instanceId, '?stream=stdout')).toBe('the main process ends\nthe last word\n');
  expect(await agent.logs(instanceId, '?stream=stderr')).toBe('and one of another stream\n');
});

test('a reader of a flood sees it whole while it is written', async () => {
  const instanceId = nextId();
  const command = [fixture('write_lines'), '20000000', '1000000', '10'];
  await agent.start({ ...ONCE, command, instanceId });
  expect(await readBack(instanceId, '?follow=true')).toMatchObject({ bytes: 20_000_000, sha256: sha256Of(command) });
  expect((await agent.instance(instanceId)).status).toBe('completed');
}, 60_000);

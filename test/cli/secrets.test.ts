/** `morch secret` and `morch audit tail` as real processes; the answers are those of fakeScheduler.ts. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { MorchError } from '../../contract/errors';
import { FakeScheduler } from './fakeScheduler';
import { morch as run } from './morch';

const scheduler = new FakeScheduler();
const folder = mkdtempSync(path.join(tmpdir(), 'morch-cli-'));
const morch = (args: string[], stdin?: string | Buffer) =>
  run(args, { env: { MORCH_ADDRESS: scheduler.address }, cwd: folder, ...(stdin === undefined ? {} : { stdin }) });

beforeAll(() => scheduler.start());
beforeEach(() => {
  scheduler.reset();
  scheduler.handlers.set('PUT /secrets/db.password', () => ({}));
});
afterAll(async () => {
  await scheduler.stop();
  rmSync(folder, { recursive: true });
});

const sent = () => Buffer.from((scheduler.seen.at(-1)!.body as { value: string }).value, 'base64').toString('latin1');

test('a value comes from standard input, byte by byte, and is shown nowhere', async () => {
  const { exitCode, stdout, stderr } = await morch(['secret', 'set', 'db.password'], Buffer.from([104, 0, 255, 105]));
  expect([exitCode, stdout, sent()]).toEqual([0, '', 'h\0\xffi']);
  expect(stderr).toMatch(/^db\.password: set/);
  expect(scheduler.seen.at(-1)).toMatchObject({
    method: 'PUT',
    url: '/secrets/db.password',
    body: { encoding: 'base64' },
  });
});

test('a newline at its end is kept, and said', async () => {
  const { stderr } = await morch(['secret', 'set', 'db.password'], 'hunter2\n');
  expect(sent()).toBe('hunter2\n');
  expect(stderr).toContain('ends in a newline');
  expect(stderr).not.toContain('hunter2');
});

test('a value comes from a file', async () => {
  writeFileSync(path.join(folder, 'pw'), 'hunter2\n');
  expect(await morch(['secret', 'set', 'db.password', '--from-file', 'pw'])).toMatchObject({ exitCode: 0 });
  expect(sent()).toBe('hunter2\n');
});

test.each([
  ['an empty one', [], '', /is empty/],
  ['one that is too long', [], 'x'.repeat(65_537), /longer than 64 KiB/],
  ['a file that is not there', ['--from-file', 'nope'], '', /Cannot read nope: ENOENT/],
])('%s is refused before anything is sent', async (_what, flags, stdin, why) => {
  const { exitCode, stderr } = await morch(['secret', 'set', 'db.password', ...flags], stdin);
  expect([exitCode, stderr]).toEqual([4, expect.stringMatching(why)]);
  expect(scheduler.seen).toEqual([]);
});

test('a value among the arguments is refused', async () => {
  expect(await morch(['secret', 'set', 'db.password', 'hunter2'])).toMatchObject({ exitCode: 4 });
  expect(scheduler.seen).toEqual([]);
});

test('the list has names, versions and who uses them', async () => {
  const secret = { name: 'db.password', version: 3, updatedAt: new Date().toISOString(), readable: true };
  scheduler.handlers.set('GET /secrets', () => ({
    secrets: [
      { ...secret, usedBy: ['api', 'web'] },
      { ...secret, name: 'tls.key', readable: false, usedBy: [] },
    ],
    nextCursor: null,
  }));
  const { stdout } = await morch(['secret', 'list']);
  expect(stdout.split('\n').map((line) => line.trim().split(/ {2,}/))).toEqual([
    ['SECRET', 'VERSION', 'AGE', 'READABLE', 'USED BY'],
    ['db.password', '3', expect.any(String), 'yes', 'api,web'],
    ['tls.key', '3', expect.any(String), 'no: sealed under another secret.key', '-'],
    [''],
  ]);
  expect((await morch(['secret', 'list', '-q'])).stdout).toBe('db.password\ntls.key\n');
});

test('one that is needed is not removed', async () => {
  scheduler.handlers.set('DELETE /secrets/db.password', () => {
    throw new MorchError('SECRET_IN_USE', 'Secret db.password is needed by web.');
  });
  expect(await morch(['secret', 'rm', 'db.password'])).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('needed by web'),
  });
});

test('the last lines of the audit log are shown in their order, over pages', async () => {
  const who = { kind: 'token', id: '0a1b2c3d', name: 'ci', role: 'operator' };
  const line = (seq: number) => ({
    ...{ seq, at: '2026-01-31T08:00:00.000Z', who, from: '10.0.0.7', method: 'POST', path: '/workloads' },
    ...{ what: `id=web${seq}\u001b[31m`, prev: '', hash: '' },
  });
  scheduler.handlers.set('GET /audit', ({ url }) => {
    const cursor = new URL(url, 'http://x').searchParams.get('cursor');
    return cursor === null ? { lines: [line(3), line(2)], nextCursor: 'on' } : { lines: [line(1)], nextCursor: null };
  });
  const { stdout } = await morch(['audit', 'tail', '-n', '3']);
  expect(stdout.split('\n').slice(0, 3)).toEqual(
    [1, 2, 3].map(
      (seq) => `${seq} 2026-01-31T08:00:00.000Z ci (operator) from 10.0.0.7: POST /workloads id=web${seq}\\x1b[31m`,
    ),
  );
});

/** `morch backup` and `morch restore` as processes. The whole round with a running cluster is in ../system/backup.test.ts. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { backupOf } from '../../scheduler/backup';
import { keys } from '../../scheduler/store/keys';
import { openMemoryStore } from '../../scheduler/store/memory';
import { openLevelStore } from '../../scheduler/store/open';
import { FakeScheduler } from './fakeScheduler';
import { morch as run } from './morch';

const scheduler = new FakeScheduler();
const META = { clusterId: '1f0c2d3e-0000', epoch: 5, schema: 2, firstEventSeq: 1 };
let folder: string;
let content: string;

beforeAll(async () => {
  await scheduler.start();
  const store = openMemoryStore();
  await store.write([
    { type: 'put', key: keys.meta, value: META },
    { type: 'put', key: keys.metaCopy, value: META },
    { type: 'put', key: 'workload/u1', value: { text: 'ä'.repeat(50_000) } },
  ]);
  content = '';
  for await (const chunk of backupOf(store, new Date('2026-01-31T08:00:00Z'))) content += chunk;
});
beforeEach(() => {
  scheduler.reset();
  scheduler.handlers.set('GET /backup', (_, response) => void response.end(content));
  folder = mkdtempSync(path.join(tmpdir(), 'morch-backup-'));
});
afterEach(() => rmSync(folder, { recursive: true }));
afterAll(() => scheduler.stop());

const morch = (...args: string[]) => run(args, { env: { MORCH_ADDRESS: scheduler.address }, cwd: folder });
const files = () => readdirSync(folder).sort();

describe('morch backup', () => {
  it('names the file by cluster and time, and keeps it from others', async () => {
    const { exitCode, stdout, stderr } = await morch('backup');
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: 'morch-backup-1f0c2d3e-20260131T080000Z.ndjson\n' });
    expect(stderr).toContain('cluster 1f0c2d3e-0000, epoch 5: 3 records');
    expect(files()).toEqual(['morch-backup-1f0c2d3e-20260131T080000Z.ndjson']);
    expect(readFileSync(path.join(folder, files()[0]!), 'utf8')).toBe(content);
    expect(statSync(path.join(folder, files()[0]!)).mode & 0o777).toBe(0o600);
  });

  it('writes to standard output, and nothing else there', async () => {
    const { exitCode, stdout } = await morch('backup', '--file', '-');
    expect(exitCode).toBe(0);
    expect(stdout).toBe(content);
    expect(files()).toEqual([]);
  });

  it('replaces a file only when told to', async () => {
    writeFileSync(path.join(folder, 'b'), 'precious');
    const refused = await morch('backup', '--file', 'b');
    expect(refused.exitCode).toBe(4);
    expect(refused.stderr).toContain('--force');
    expect(readFileSync(path.join(folder, 'b'), 'utf8')).toBe('precious');
    expect(scheduler.seen).toEqual([]);
    expect((await morch('backup', '--file', 'b', '--force')).exitCode).toBe(0);
    expect(readFileSync(path.join(folder, 'b'), 'utf8')).toBe(content);
  });

  it.each([
    ['breaks off', 5, (text: string) => text.slice(0, 60_000), true],
    ['ends early', 4, (text: string) => text.slice(0, text.lastIndexOf('{')), false],
    ['is not what was sent', 4, (text: string) => text.replace('ää', 'äÄ'), false],
  ])('leaves no file when the answer %s', async (_what, exitCode, harm, breaks) => {
    writeFileSync(path.join(folder, 'b'), 'precious');
    scheduler.handlers.set('GET /backup', (_, response) => {
      response.write(harm(content), () => (breaks ? response.destroy() : response.end()));
    });
    expect((await morch('backup', '--file', 'b', '--force')).exitCode).toBe(exitCode);
    expect(files()).toEqual(['b']);
    expect(readFileSync(path.join(folder, 'b'), 'utf8')).toBe('precious');
  });

  it('says where it could not write', async () => {
    const { exitCode, stderr } = await morch('backup', '--file', 'no/such/folder/b');
    expect(exitCode).toBe(1);
    expect(stderr).toContain('could not be written to no/such/folder/b: ENOENT');
  });
});

describe('morch restore', () => {
  const dataDir = () => path.join(folder, 'data', 'scheduler');
  const file = () => path.join(folder, 'b');
  const restore = (...more: string[]) => morch('restore', file(), '--data-dir', dataDir(), ...more);
  beforeEach(() => writeFileSync(file(), content));

  async function recordsIn(directory: string): Promise<Map<string, unknown>> {
    const { store, damage, notes } = await openLevelStore(directory);
    // The mark stays with the name of the store, and is missing for one that was moved aside.
    expect({ damage, notes: notes.length }).toEqual({ damage: null, notes: directory.includes('before') ? 1 : 0 });
    const records = new Map<string, unknown>();
    for await (const [key, value] of store.range('')) records.set(key, value);
    await store.close();
    return records;
  }

  it('makes a store that is to be rebuilt, and says what to do next', async () => {
    const { exitCode, stdout } = await restore();
    expect(exitCode).toBe(0);
    expect(stdout).toContain('restored 3 records of cluster 1f0c2d3e-0000, epoch 5, as of 2026-01-31T08:00:00.000Z');
    expect(stdout).toContain(`morch scheduler --data-dir ${dataDir()}`);
    const records = await recordsIn(path.join(dataDir(), 'store'));
    const rebuilding = { reason: 'restored', since: expect.any(String) };
    expect(records.get(keys.meta)).toEqual({ ...META, rebuilding });
    expect(records.get(keys.metaCopy)).toEqual({ ...META, rebuilding });
    expect(records.get('workload/u1')).toEqual({ text: 'ä'.repeat(50_000) });
    expect(records.size).toBe(3);
  });

  it('takes a directory with a store only when told to, and keeps that store', async () => {
    const { store } = await openLevelStore(path.join(dataDir(), 'store'));
    for (let i = 0; i < 20; i++) await store.write([{ type: 'put', key: 'old', value: i }]);
    await store.close();
    const refused = await restore();
    expect(refused.exitCode).toBe(4);
    expect(refused.stderr).toContain('--force');
    expect((await recordsIn(path.join(dataDir(), 'store'))).get('old')).toBe(19);
    const { exitCode, stdout } = await restore('--force');
    expect(exitCode).toBe(0);
    const aside = readdirSync(dataDir()).find((name) => name.startsWith('store.before-restore-'))!;
    expect(stdout).toContain(path.join(dataDir(), aside));
    expect((await recordsIn(path.join(dataDir(), 'store'))).has('old')).toBe(false);
    const old = await recordsIn(path.join(dataDir(), aside));
    expect(old.get('old')).toBe(19);
  });

  it('refuses while a scheduler has the directory', async () => {
    const { store } = await openLevelStore(path.join(dataDir(), 'store'));
    await store.write([{ type: 'put', key: 'old', value: 1 }]);
    const { exitCode, stderr } = await restore('--force');
    expect(exitCode).toBe(4);
    expect(stderr).toMatch(/a scheduler that is still running.*--data-dir/);
    expect(await store.get('old')).toBe(1);
    await store.close();
    expect(readdirSync(dataDir()).sort()).toEqual(['store', 'store.lock', 'store.mark']);
  });

  it.each([
    ['is cut off', () => content.slice(0, -10), /cut off/],
    ['was altered', () => content.replace('ää', 'äb'), /altered/],
    ['is something else', () => 'hello\n', /not a whole backup/],
    ['has records of a later layout', () => resealed(content.replace('"schema":2', '"schema":5')), /layout 5/],
  ])('refuses a file that %s, and makes nothing', async (_what, harmed, message) => {
    writeFileSync(file(), harmed());
    const { exitCode, stderr } = await restore();
    expect(exitCode).toBe(4);
    expect(stderr).toMatch(message);
    expect(existsSync(dataDir())).toBe(false);
  });

  it('refuses a file that is not there', async () => {
    rmSync(file());
    const { exitCode, stderr } = await restore();
    expect(exitCode).toBe(4);
    expect(stderr).toContain('ENOENT');
  });

  it('was done once the store before has been moved aside, and not before', async () => {
    const store = path.join(dataDir(), 'store');
    expect((await restore()).exitCode).toBe(0);
    // As a process leaves it that was killed between the two.
    const { renameSync } = require('node:fs') as typeof import('node:fs');
    renameSync(store, `${store}.restored`);
    expect((await recordsIn(store)).size).toBe(3);
    expect(readdirSync(dataDir()).sort()).toEqual(['store', 'store.lock', 'store.mark']);
  });
});

/** The same with a right checksum. */
function resealed(text: string): string {
  const lines = text.trimEnd().split('\n');
  const trailer = JSON.parse(lines.pop()!) as object;
  const head = lines.map((line) => `${line}\n`).join('');
  return `${head}${JSON.stringify({ ...trailer, sha256: createHash('sha256').update(head).digest('hex') })}\n`;
}

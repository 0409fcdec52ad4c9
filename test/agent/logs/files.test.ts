import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { pino } from 'pino';
import { indexPath, LogDirectory, logPath } from '../../../agent/logs/directory';
import { chooseSurplus, LogFiles, type StoredLog } from '../../../agent/logs/files';
import { chooseExcess, enforceCap, startLogUpkeep } from '../../../agent/logs/upkeep';
import { loadNative } from '../../../agent/native/index';
import { PathWork } from '../../../agent/pathWork';
import { MorchError } from '../../../contract/errors';
import { LogWriter } from '../../support/logWriter';
import { until } from '../../support/until';

const paths = new PathWork(loadNative());
const root = mkdtempSync(join(tmpdir(), 'morch-logs-test-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let made = 0;
const newDataDir = () => {
  const dataDir = join(root, String(++made));
  mkdirSync(dataDir);
  return dataDir;
};

const owner = { uid: 'u1', slot: '0' };
const DAY_MS = 24 * 3_600_000;

/** Writes so many files of about 100 bytes of a stream. */
function fill(directory: string, files: { stdout: number; stderr: number }): void {
  const log = new LogWriter(directory, { maxBytes: 100, files: 1_000 });
  for (const stream of ['stdout', 'stderr'] as const) {
    for (let i = 0; i < files[stream]; i += 1) log.write(stream, 'x'.repeat(60), 1e15 + i * 1e6);
  }
}

describe('room for the output of a run', () => {
  test('begins with the first files, and goes on with the newest of each stream', async () => {
    const files = new LogFiles(newDataDir(), paths);
    const directory = files.directoryOf(owner);
    const limits = { maxBytes: 10_485_760, files: 10 };
    expect(await files.provide(owner)).toEqual({ directory, firstStdout: 1, firstStderr: 1, ...limits });
    expect(existsSync(directory)).toBe(false); // its shim makes it, with the first output
    mkdirSync(directory);
    fill(directory, { stdout: 7, stderr: 3 });
    expect(await files.provide(owner)).toEqual({ directory, firstStdout: 7, firstStderr: 3, ...limits });
    const logs = { maxBytes: 5_000, files: 4 };
    expect(await files.provide({ ...owner, logs })).toEqual({ directory, firstStdout: 7, firstStderr: 3, ...logs });
    expect(await new LogDirectory(directory).numbers()).toEqual({ stdout: [4, 5, 6, 7], stderr: [1, 2, 3] });
    expect(readdirSync(directory)).toHaveLength(14);
  });

  test('holds lowered limits of size, and never takes the newest file', async () => {
    const files = new LogFiles(newDataDir(), paths);
    const directory = files.directoryOf(owner);
    await files.provide(owner);
    mkdirSync(directory);
    for (const number of [1, 2, 3, 4]) {
      writeFileSync(logPath(directory, 'stdout', number), Buffer.alloc(10_000));
      writeFileSync(indexPath(directory, 'stdout', number), Buffer.alloc(320));
    }
    await files.provide({ ...owner, logs: { maxBytes: 5_000, files: 5 } });
    expect((await new LogDirectory(directory).numbers()).stdout).toEqual([3, 4]);
    await files.provide({ ...owner, logs: { maxBytes: 4_096, files: 1 } });
    expect((await new LogDirectory(directory).numbers()).stdout).toEqual([4]);
  });

  test('counts a file of which only the index or the log is there', async () => {
    const files = new LogFiles(newDataDir(), paths);
    const { directory } = await files.provide(owner);
    fill(directory, { stdout: 5, stderr: 2 });
    unlinkSync(logPath(directory, 'stdout', 5));
    unlinkSync(indexPath(directory, 'stderr', 2));
    expect(await files.provide(owner)).toMatchObject({ firstStdout: 5, firstStderr: 2 });
  });

  test('that cannot be had is told as what the disk said', async () => {
    const dataDir = newDataDir();
    writeFileSync(join(dataDir, 'logs'), 'not a directory');
    const failure = await new LogFiles(dataDir, paths).provide(owner).catch((error) => error);
    expect(failure).toBeInstanceOf(MorchError);
    expect(failure).toMatchObject({ code: 'STORE_UNWRITABLE', system: { syscall: 'lstat' } });
  });
});

test('a directory is listed again when something was added or removed', async () => {
  const path = join(newDataDir(), 'instance');
  const directory = new LogDirectory(path);
  expect(await directory.numbers()).toEqual({ stdout: [], stderr: [] });
  fill(path, { stdout: 12, stderr: 1 });
  expect((await directory.numbers()).stdout).toEqual([...Array(12).keys()].map((i) => i + 1));
  for (const file of [logPath, indexPath]) unlinkSync(file(path, 'stdout', 1));
  for (const name of ['stdout.log', 'stdout.0.log', 'stdout.x.idx', 'stdout.99.log.tmp', 'other.99.log'])
    writeFileSync(join(path, name), '');
  expect((await directory.numbers()).stdout[0]).toBe(2);
  expect((await directory.numbers()).stdout.at(-1)).toBe(12);
});

const storedOf = (owner: string, number: number, more: Partial<StoredLog> = {}): StoredLog => ({
  owner,
  stream: 'stdout',
  number,
  isNewest: false,
  bytes: 10,
  changedAtMs: number,
  ...more,
});

describe('the cap of a node', () => {
  const known = new Set(['a', 'b']);
  const newest = { isNewest: true };

  test.each<[string, StoredLog[], number, string[]]>([
    ['nothing while it holds', [storedOf('a', 1), storedOf('a', 2, newest)], 20, []],
    ['the oldest of all', [storedOf('a', 2), storedOf('b', 1), storedOf('a', 3, newest)], 25, ['b1']],
    [
      'as many as it takes',
      [storedOf('a', 1), storedOf('a', 2), storedOf('b', 3), storedOf('b', 4, newest)],
      15,
      ['a1', 'a2', 'b3'],
    ],
    [
      'older files of known ones before the newest of forgotten ones',
      [storedOf('a', 5), storedOf('a', 6, newest), storedOf('x', 1, newest)],
      20,
      ['a5'],
    ],
    [
      'then the newest of forgotten ones',
      [storedOf('a', 5), storedOf('a', 6, newest), storedOf('x', 1, newest), storedOf('y', 2, newest)],
      20,
      ['a5', 'x1'],
    ],
    [
      'never the newest of known ones',
      [storedOf('a', 1, newest), storedOf('b', 2, { ...newest, stream: 'stderr' })],
      1,
      [],
    ],
  ])('takes %s', (_, stored, cap, expected) => {
    expect(chooseExcess(stored, known, cap).map(({ owner, number }) => `${owner}${number}`)).toEqual(expected);
  });

  test('is held whenever it can be, with no more removed than needed', () => {
    const one = fc.record({
      owner: fc.constantFrom('a', 'b', 'x', 'y'),
      number: fc.nat(50),
      stream: fc.constantFrom<StoredLog['stream']>('stdout', 'stderr'),
      isNewest: fc.boolean(),
      bytes: fc.nat(100),
      changedAtMs: fc.nat(50),
    });
    const total = (stored: readonly StoredLog[]) => stored.reduce((sum, { bytes }) => sum + bytes, 0);
    fc.assert(
      fc.property(fc.array(one), fc.nat(2_000), (stored, cap) => {
        const excess = chooseExcess(stored, known, cap);
        const left = stored.filter((log) => !excess.includes(log));
        expect(total(left) <= cap || left.every((log) => log.isNewest && known.has(log.owner))).toBe(true);
        expect(excess.length === 0 || total(stored) - total(excess.slice(0, -1)) > cap).toBe(true);
        expect(excess.some((log) => log.isNewest && known.has(log.owner))).toBe(false);
      }),
      { seed: 3 },
    );
  });

  test('removes logs with their indexes', async () => {
    const files = new LogFiles(newDataDir(), paths);
    const [mine, forgotten] = [files.directoryOf(owner), files.directoryOf({ uid: 'old', slot: '0' })];
    fill(mine, { stdout: 6, stderr: 1 });
    fill(forgotten, { stdout: 2, stderr: 1 });
    const none = await enforceCap(files, new Set(['u1.0']), 1e6);
    expect(none).toEqual({ removed: 0, bytes: 10 * 92 });
    expect(await enforceCap(files, new Set(['u1.0']), 400)).toEqual({ removed: 6, bytes: 368 });
    expect(await enforceCap(files, new Set(['u1.0']), 200)).toEqual({ removed: 2, bytes: 184 });
    expect(await enforceCap(files, new Set(['u1.0']), 1)).toEqual({ removed: 0, bytes: 184 });
    expect(readdirSync(forgotten)).toEqual([]);
    expect(readdirSync(mine).sort()).toEqual(['stderr.1.idx', 'stderr.1.log', 'stdout.6.idx', 'stdout.6.log']);
  });

  test('leaves alone what is no output of an instance', async () => {
    const dataDir = newDataDir();
    const files = new LogFiles(dataDir, paths);
    const mine = files.directoryOf(owner);
    fill(mine, { stdout: 6, stderr: 1 });
    const stray = join(dataDir, 'logs', 'notes.txt');
    writeFileSync(stray, 'x'.repeat(10_000));
    utimesSync(stray, 1, 1);
    await files.removeForgotten(new Set(['u1.0']), Date.now());
    expect(await enforceCap(files, new Set(['u1.0']), 400)).toEqual({ removed: 3, bytes: 368 });
    expect(existsSync(stray)).toBe(true);
  });

  test('is held from the start on, and forgotten output goes', async () => {
    const files = new LogFiles(newDataDir(), paths);
    const [mine, forgotten] = [files.directoryOf(owner), files.directoryOf({ uid: 'old', slot: '0' })];
    fill(mine, { stdout: 4, stderr: 1 });
    fill(forgotten, { stdout: 1, stderr: 1 });
    const known = new Set(['u1.0']);
    for (const name of [...readdirSync(forgotten), ''])
      utimesSync(join(forgotten, name), 1, (Date.now() - 8 * DAY_MS) / 1_000);
    const end = startLogUpkeep({
      logFiles: files,
      known: () => known,
      maxLogBytes: 200,
      log: pino({ level: 'silent' }),
    });
    await until(() => !existsSync(forgotten) && readdirSync(mine).length === 4, { what: 'both are done' });
    end();
  });
});

test('surplus is the oldest files beyond the number or the size', () => {
  const stored = [1, 2, 3, 4].map((number) => storedOf('a', number, { bytes: 10, isNewest: number === 4 }));
  const surplus = (files: number, maxBytes: number) =>
    chooseSurplus(stored, { files, maxBytes }).map(({ number }) => number);
  expect(surplus(10, 10)).toEqual([]);
  expect(surplus(4, 10)).toEqual([]);
  expect(surplus(3, 10)).toEqual([1]);
  expect(surplus(4, 5)).toEqual([1, 2]);
  expect(surplus(1, 1)).toEqual([1, 2, 3]);
  expect(chooseSurplus([], { files: 1, maxBytes: 1 })).toEqual([]);
});

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { LogPlan } from '../../agent/processHost';
import { until } from '../support/until';
import { logNumbers, type Shim, useShims } from './shim';

const shims = useShims();

type Stream = 'stdout' | 'stderr';

interface Entry {
  atUs: number;
  offset: number;
  dropped: number;
  generation: number;
  run: number;
}

function entriesOf(shim: Shim, stream: Stream, number: number): Entry[] {
  const bytes = readFileSync(join(shim.plan.logs.directory, `${stream}.${number}.idx`));
  expect(bytes.length % 32).toBe(0);
  return Array.from({ length: bytes.length / 32 }, (_, index) => {
    const at = index * 32;
    return {
      atUs: Number(bytes.readBigUInt64LE(at)),
      offset: Number(bytes.readBigUInt64LE(at + 8)),
      dropped: Number(bytes.readBigUInt64LE(at + 16)),
      generation: bytes.readUInt32LE(at + 24),
      run: bytes.readUInt32LE(at + 28),
    };
  });
}

function sizeOf(shim: Shim, stream: Stream, number: number): number {
  const path = join(shim.plan.logs.directory, `${stream}.${number}`);
  return statSync(`${path}.log`).size + statSync(`${path}.idx`).size;
}

async function ended(shim: Shim): Promise<void> {
  expect(await shim.ended).toBe(0);
  expect(await shim.recorded('exited')).toMatchObject({ droppedBytes: 0 });
}

/** Runs a command line with its logs in a directory of the test file, which several runs may share. */
function withLogs(commands: string, logs: Partial<LogPlan>, plan: { run?: number; generation?: number } = {}) {
  const directory = logs.directory ?? shims.directory;
  const all = { directory, firstStdout: 1, firstStderr: 1, maxBytes: 10 << 20, files: 10, ...logs };
  return shims.launch(['/bin/sh', '-c', commands], { plan: { logs: all, ...plan } });
}

/** A file of random lines, 1 to 300 bytes each, and any bytes in them. */
function randomLines(name: string, bytes: number): { path: string; content: Buffer } {
  const content = randomBytes(bytes);
  for (let at = 0; at < bytes; at += 1 + Math.floor(Math.random() * 300)) content[at] = 0x0a;
  const path = join(shims.directory, name);
  writeFileSync(path, content);
  return { path, content };
}

function logDirectory(name: string): string {
  const path = join(shims.directory, name);
  mkdirSync(path);
  return path;
}

describe('the output', () => {
  test('of a workload that says nothing leaves no files', async () => {
    const shim = await shims.start(['true']);
    await ended(shim);
    expect(readdirSync(shim.directory)).toEqual(['run.1.ended']);
  });

  test('has a directory made for it when there is any, and not before', async () => {
    const directory = join(shims.directory, 'later');
    const go = join(shims.directory, 'go');
    execFileSync('mkfifo', [go]);
    const shim = withLogs(`read x < '${go}'; echo said`, { directory });
    await shim.recorded('started');
    expect(existsSync(directory)).toBe(false);
    writeFileSync(go, 'x\n');
    await ended(shim);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(readFileSync(join(directory, 'stdout.1.log'), 'utf8')).toBe('said\n');
  });

  test('is kept byte for byte over rotations, each file ending with a line', async () => {
    const { path, content } = randomLines('lines', 5 << 20);
    const directory = logDirectory('rotated');
    const shim = withLogs(`cat ${path}; cat ${path} >&2`, { directory, maxBytes: 100_000, files: 1000 });
    await ended(shim);
    for (const stream of ['stdout', 'stderr'] as const) {
      expect(shim.output(stream).equals(content)).toBe(true);
      const numbers = logNumbers(directory, stream);
      expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, index) => index + 1));
      expect(numbers.length).toBeGreaterThan(50);
      for (const number of numbers) {
        expect(sizeOf(shim, stream, number)).toBeLessThanOrEqual(100_000);
        if (number === numbers.at(-1)) continue;
        expect(sizeOf(shim, stream, number)).toBeGreaterThan(90_000);
      }
      const cutLines = numbers.slice(0, -1).filter((number) => {
        return readFileSync(join(directory, `${stream}.${number}.log`)).at(-1) !== 0x0a;
      });
      // A read may end within a line that then does not fit; that is rare.
      expect(cutLines.length).toBeLessThan(numbers.length / 4);
    }
  });

  test('of line after line is never cut within one', async () => {
    const directory = logDirectory('lineByLine');
    const shim = withLogs('i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo "line $i"; done', {
      directory,
      maxBytes: 4096,
      files: 100,
    });
    await ended(shim);
    const expected = Array.from({ length: 2000 }, (_, index) => `line ${index + 1}\n`).join('');
    expect(shim.output().toString()).toBe(expected);
    for (const number of logNumbers(directory, 'stdout')) {
      expect(readFileSync(join(directory, `stdout.${number}.log`)).at(-1)).toBe(0x0a);
      expect(sizeOf(shim, 'stdout', number)).toBeLessThanOrEqual(4096);
    }
  });

  test('may be one line of 100 MB', async () => {
    const bytes = 100 << 20;
    const directory = logDirectory('oneLine');
    const shim = withLogs(`head -c ${bytes} /dev/zero | tr '\\0' x; echo`, { directory, files: 20 });
    await ended(shim);
    const output = shim.output();
    expect(output.length).toBe(bytes + 1);
    expect(output.indexOf(0x0a)).toBe(bytes);
    expect(output.subarray(0, bytes).every((byte) => byte === 0x78)).toBe(true);
    const numbers = logNumbers(directory, 'stdout');
    for (const number of numbers.slice(0, -1)) expect(sizeOf(shim, 'stdout', number)).toBe(10 << 20);
  }, 60_000);

  test('keeps no more files than planned, the latest', async () => {
    const { path, content } = randomLines('many', 1 << 20);
    const directory = logDirectory('pruned');
    const shim = withLogs(`cat ${path}`, { directory, maxBytes: 20_000, files: 3 });
    await ended(shim);
    const numbers = logNumbers(directory, 'stdout');
    expect(numbers).toHaveLength(3);
    expect(logNumbers(directory, 'stdout', 'idx')).toEqual(numbers);
    expect(numbers[0]).toBeGreaterThan(40);
    const output = shim.output();
    expect(output.equals(content.subarray(content.length - output.length))).toBe(true);
  });

  test('goes on in the file of an earlier run, and its index says whose it is', async () => {
    const directory = logDirectory('continued');
    await ended(withLogs('echo first', { directory }, { run: 1, generation: 7 }));
    await ended(withLogs('echo second', { directory }, { run: 2, generation: 7 }));
    const last = withLogs('echo third', { directory, firstStdout: 4, files: 3 }, { run: 1, generation: 8 });
    await ended(last);
    expect(existsSync(join(directory, 'stdout.1.log'))).toBe(false); // number 4 of three files
    expect(readFileSync(join(directory, 'stdout.4.log'), 'utf8')).toBe('third\n');
    expect(entriesOf(last, 'stdout', 4)).toMatchObject([{ offset: 0, dropped: 0, generation: 8, run: 1 }]);
  });

  test('has an index entry for the beginning of each run', async () => {
    const directory = logDirectory('runs');
    await ended(withLogs('echo first', { directory }, { run: 1, generation: 7 }));
    const second = withLogs('echo second', { directory }, { run: 2, generation: 7 });
    await ended(second);
    expect(readFileSync(join(directory, 'stdout.1.log'), 'utf8')).toBe('first\nsecond\n');
    expect(entriesOf(second, 'stdout', 1)).toMatchObject([
      { offset: 0, generation: 7, run: 1 },
      { offset: 6, generation: 7, run: 2 },
    ]);
  });

  test('mends an index that a crash has cut within an entry', async () => {
    const directory = logDirectory('torn');
    await ended(withLogs('echo first', { directory }));
    writeFileSync(join(directory, 'stdout.1.idx'), Buffer.alloc(45, 1), { flag: 'a' });
    const second = withLogs('echo second', { directory }, { run: 2 });
    await ended(second);
    expect(entriesOf(second, 'stdout', 1).at(-1)).toMatchObject({ offset: 6, run: 2 });
  });

  test('has an index that tells when, and which stream came first', async () => {
    const beforeUs = Date.now() * 1000;
    const turns = 'for i in 1 2 3; do echo out; sleep 0.02; echo err >&2; sleep 0.02; done; sleep 0.15; echo late';
    const shim = await shims.sh(turns);
    await ended(shim);
    const out = entriesOf(shim, 'stdout', 1);
    const err = entriesOf(shim, 'stderr', 1);
    expect(out.map(({ offset }) => offset)).toEqual([0, 4, 8, 12]);
    expect(err.map(({ offset }) => offset)).toEqual([0, 4, 8]);
    const times = [out[0]!, err[0]!, out[1]!, err[1]!, out[2]!, err[2]!, out[3]!].map(({ atUs }) => atUs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times[0]).toBeGreaterThanOrEqual(beforeUs - 1000);
    expect(times.at(-1)).toBeLessThanOrEqual((Date.now() + 1) * 1000);
    expect(out.every(({ dropped }) => dropped === 0)).toBe(true);
  });

  test('of one stream alone has an entry for every 100 ms, not for every line', async () => {
    const shim = await shims.sh('for i in 1 2 3 4 5 6 7 8 9 10; do echo line; sleep 0.03; done');
    await ended(shim);
    const times = entriesOf(shim, 'stdout', 1).map(({ atUs }) => atUs);
    expect(times.length).toBeGreaterThan(1);
    times.slice(1).forEach((time, index) => {
      expect(time - times[index]!).toBeGreaterThanOrEqual(100_000);
    });
  });

  test('may be closed by the workload, which costs the shim nothing', async () => {
    const shim = await shims.sh('echo last; exec >&- 2>&-; sleep 0.5');
    const cpuTicks = () => {
      const fields = readFileSync(`/proc/${shim.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
      return Number(fields[11]) + Number(fields[12]);
    };
    await until(() => shim.output().length > 0, { what: 'it has written' });
    const before = cpuTicks();
    await until(() => shim.record().some(({ kind }) => kind === 'exited') || cpuTicks() > before + 10, {
      what: 'it ends',
    });
    await ended(shim);
    expect(shim.output().toString()).toBe('last\n');
  });

  test('that is still in the pipe when all have ended is kept', async () => {
    const shim = await shims.sh('head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2; kill -9 $$');
    await ended(shim);
    expect(shim.output()).toHaveLength(60_000);
    expect(shim.output('stderr')).toHaveLength(60_000);
  });

  test('of processes that outlive the main one is kept', async () => {
    const shim = await shims.sh('trap "" TERM; (sleep 0.4; echo afterwards) & echo first');
    await ended(shim);
    expect(shim.output().toString()).toBe('first\nafterwards\n');
  });
});

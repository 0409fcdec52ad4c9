import { mkdtempSync, rmSync, truncateSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { countDropped } from '../../../agent/logDropped';
import { indexPath, type LogStream, logPath } from '../../../agent/logs/directory';
import { type LogBlock, type LogRequest, readLogs } from '../../../agent/logs/reading';
import type { LogPosition } from '../../../contract/logFrames';
import { entryBytes, LogWriter } from '../../support/logWriter';
import { until } from '../../support/until';

const root = mkdtempSync(join(tmpdir(), 'morch-logs-test-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** When the tests' logs begin: 2026-01-01. */
const T0_US = Date.UTC(2026, 0) * 1_000;
let made = 0;
const newDirectory = () => join(root, String(++made));

function requestOf(directory: string, more: Partial<LogRequest> = {}): LogRequest {
  const none = new AbortController().signal;
  return { directory, stream: 'all', follow: false, mayGrow: () => false, signal: none, ...more };
}

async function read(directory: string, more: Partial<LogRequest> = {}): Promise<string> {
  const blocks: Buffer[] = [];
  for await (const { bytes } of readLogs(requestOf(directory, more))) blocks.push(bytes);
  return Buffer.concat(blocks).toString('latin1');
}

const linesOf = (text: string) => text.match(/[^\n]*\n|[^\n]+$/g) ?? [];

describe('both streams', () => {
  test('are merged in the order in which they were written', async () => {
    const log = new LogWriter(newDirectory());
    log.write('stdout', 'o1\n', T0_US);
    log.write('stderr', 'e1\n', T0_US + 2_000);
    log.write('stdout', 'o2\no3\n', T0_US + 4_000);
    log.write('stderr', 'e2\n', T0_US + 6_000);
    expect(await read(log.directory)).toBe('o1\ne1\no2\no3\ne2\n');
    expect(await read(log.directory, { stream: 'stdout' })).toBe('o1\no2\no3\n');
    expect(await read(log.directory, { stream: 'stderr' })).toBe('e1\ne2\n');
  });

  test('of the same time have stdout first', async () => {
    const log = new LogWriter(newDirectory());
    log.write('stderr', 'e\n', T0_US);
    log.write('stdout', 'o\n', T0_US);
    expect(await read(log.directory)).toBe('o\ne\n');
  });

  test('have whole lines, where they began', async () => {
    const log = new LogWriter(newDirectory());
    log.write('stdout', 'begun, ', T0_US);
    log.write('stderr', 'e1\n', T0_US + 2_000);
    log.write('stdout', 'ended\nnext\n', T0_US + 4_000);
    log.write('stderr', 'e2\n', T0_US + 6_000);
    expect(await read(log.directory)).toBe('begun, ended\ne1\nnext\ne2\n');
  });

  test('end a line with its run', async () => {
    const log = new LogWriter(newDirectory());
    log.write('stdout', 'no end', T0_US);
    log.write('stderr', 'e\n', T0_US + 2_000);
    log.nextRun();
    log.write('stdout', 'second run\n', T0_US + 4_000);
    expect(await read(log.directory)).toBe('no ende\nsecond run\n');
    expect(await read(log.directory, { tail: 1 })).toBe('second run\n');
  });

  test('are merged across files, generations and runs', async () => {
    const log = new LogWriter(newDirectory(), { maxBytes: 200, files: 100 });
    const lines: string[] = [];
    for (let i = 0; i < 200; i += 1) {
      if (i % 30 === 29) log.nextRun(i % 60 === 59 ? 2 + i : undefined);
      const stream = i % 3 === 0 ? 'stderr' : 'stdout';
      lines.push(`${stream} line ${i}\n`);
      log.write(stream, lines.at(-1)!, T0_US + i * 2_000);
    }
    expect(await read(log.directory)).toBe(lines.join(''));
    for (const tail of [0, 1, 7, 150, 200, 500]) {
      expect(await read(log.directory, { tail })).toBe(tail === 0 ? '' : lines.slice(-tail).join(''));
    }
  });

  test('lose nothing when the clock is set back', async () => {
    const log = new LogWriter(newDirectory());
    log.write('stdout', 'o1\n', T0_US);
    log.write('stderr', 'e1\n', T0_US + 2_000);
    log.nextRun();
    log.write('stdout', 'o2\n', T0_US - 3_600_000_000);
    log.write('stderr', 'e2\n', T0_US - 3_599_000_000);
    expect(linesOf(await read(log.directory)).sort()).toEqual(['e1\n', 'e2\n', 'o1\n', 'o2\n']);
    expect(linesOf(await read(log.directory, { tail: 3 }))).toHaveLength(3);
  });
});

/** A log of random pieces, with what the two ways of reading it must agree on. */
interface Piece {
  stream: LogStream;
  text: string;
  stepUs: number;
  newRun: boolean;
}
const pieceOf = fc.record({
  stream: fc.constantFrom<LogStream>('stdout', 'stderr'),
  text: fc.string({ unit: fc.constantFrom('a', 'b', '\n'), minLength: 1, maxLength: 8 }),
  stepUs: fc.constantFrom(0, 500, 1_500, 60_000, 200_000),
  newRun: fc.boolean(),
});

function writePieces(pieces: readonly Piece[], maxBytes = 120): string {
  const log = new LogWriter(newDirectory(), { maxBytes, files: 1_000 });
  let timeUs = T0_US;
  for (const { stream, text, stepUs, newRun } of pieces) {
    timeUs += stepUs;
    if (newRun) log.nextRun();
    log.write(stream, text, timeUs);
  }
  return log.directory;
}

test('whatever was written, each stream is whole within the answer, and a tail is the end of it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(pieceOf, { maxLength: 30 }), fc.nat(12), async (pieces, tail) => {
      const directory = writePieces(pieces);
      const all = await read(directory);
      for (const stream of ['stdout', 'stderr'] as const) {
        const written = pieces.filter((piece) => piece.stream === stream);
        expect(await read(directory, { stream })).toBe(written.map(({ text }) => text).join(''));
      }
      expect(all).toHaveLength(pieces.reduce((sum, { text }) => sum + text.length, 0));
      expect(await read(directory, { tail })).toBe(tail === 0 ? '' : linesOf(all).slice(-tail).join(''));
    }),
    { numRuns: 300, seed: 11 },
  );
});

describe('tail', () => {
  test('of long lines across blocks and files', async () => {
    const log = new LogWriter(newDirectory(), { maxBytes: 200_000, files: 100 });
    const lines = Array.from({ length: 60 }, (_, i) => `${i}${'x'.repeat(i * 2_000)}\n`);
    for (const [i, line] of lines.entries()) log.write('stdout', line, T0_US + i * 500_000);
    for (const tail of [1, 5, 20, 21, 59, 60, 61]) {
      expect(await read(log.directory, { tail })).toBe(lines.slice(-tail).join(''));
      expect(await read(log.directory, { tail, stream: 'stdout' })).toBe(lines.slice(-tail).join(''));
    }
  });

  test('of one line longer than a file', async () => {
    const log = new LogWriter(newDirectory(), { maxBytes: 100_000, files: 100 });
    log.write('stdout', 'first\n', T0_US);
    for (let i = 0; i < 10; i += 1) log.write('stdout', 'y'.repeat(60_000), T0_US + i * 200_000);
    log.write('stdout', '\nlast', T0_US + 10_000_000);
    expect(await read(log.directory, { tail: 2 })).toBe(`${'y'.repeat(600_000)}\nlast`);
  });
});

describe('since', () => {
  const atMs = (seconds: number) => T0_US / 1_000 + seconds * 1_000;

  test('leaves out what was written before, at most 100 ms too little', async () => {
    const log = new LogWriter(newDirectory(), { maxBytes: 300, files: 100 });
    for (let i = 0; i < 50; i += 1) log.write(i % 2 === 0 ? 'stdout' : 'stderr', `line ${i}\n`, T0_US + i * 1_000_000);
    for (const since of [0, 1, 10.05, 10.2, 25, 49, 49.05]) {
      const expected = Array.from({ length: 50 }, (_, i) => i).filter((i) => i >= since - 0.1);
      expect(await read(log.directory, { sinceMs: atMs(since) })).toBe(expected.map((i) => `line ${i}\n`).join(''));
    }
    expect(await read(log.directory, { sinceMs: atMs(20), tail: 3 })).toBe('line 47\nline 48\nline 49\n');
    expect(await read(log.directory, { sinceMs: atMs(48), tail: 10 })).toBe('line 48\nline 49\n');
  });

  test('in the future is nothing', async () => {
    const log = new LogWriter(newDirectory());
    log.write('stdout', 'old\n', T0_US);
    expect(await read(log.directory, { sinceMs: Date.now() + 60_000 })).toBe('');
  });

  test('begins with a line, not in one', async () => {
    const log = new LogWriter(newDirectory());
    log.write('stdout', 'begun before, ', T0_US);
    log.write('stdout', 'ended after\nwhole\n', T0_US + 5_000_000);
    expect(await read(log.directory, { sinceMs: atMs(4) })).toBe('whole\n');
  });

  test('takes a file without index by its last change', async () => {
    const log = new LogWriter(newDirectory(), { maxBytes: 100, files: 10 });
    for (let i = 0; i < 6; i += 1) log.write('stdout', `line ${i} ${'z'.repeat(50)}\n`, T0_US + i * 1_000_000);
    for (const number of [1, 2, 3, 4, 5, 6]) {
      const seconds = T0_US / 1e6 + number - 1;
      unlinkSync(indexPath(log.directory, 'stdout', number));
      utimesSync(logPath(log.directory, 'stdout', number), seconds, seconds);
    }
    const text = await read(log.directory, { sinceMs: atMs(4) });
    expect(linesOf(text).map((line) => line.slice(0, 6))).toEqual(['line 4', 'line 5']);
    expect(linesOf(await read(log.directory))).toHaveLength(6);
  });
});

describe('damage', () => {
  function written(): LogWriter {
    const log = new LogWriter(newDirectory());
    for (let i = 0; i < 10; i += 1) log.write(i % 2 === 0 ? 'stdout' : 'stderr', `line ${i}\n`, T0_US + i * 2_000);
    return log;
  }
  const all = Array.from({ length: 10 }, (_, i) => `line ${i}\n`);

  test.each([
    ['missing', (path: string) => unlinkSync(path)],
    ['empty', (path: string) => truncateSync(path, 0)],
    ['cut off in an entry', (path: string) => truncateSync(path, 75)],
    ['of zeros', (path: string) => writeFileSync(path, Buffer.alloc(320))],
    ['of anything', (path: string) => writeFileSync(path, Buffer.alloc(999, 'rubbish'))],
    [
      'with offsets beyond the log',
      (path: string) =>
        writeFileSync(path, entryBytes({ timeUs: T0_US, offset: 1e9, droppedBytes: 0, generation: 1, run: 1 })),
    ],
    [
      'with offsets that fall',
      (path: string) =>
        writeFileSync(
          path,
          Buffer.concat(
            [0, 14, 7].map((offset) => entryBytes({ timeUs: T0_US, offset, droppedBytes: 0, generation: 1, run: 1 })),
          ),
        ),
    ],
  ])('an index that is %s costs no byte', async (_, harm) => {
    const log = written();
    harm(indexPath(log.directory, 'stdout', 1));
    expect(linesOf(await read(log.directory)).sort()).toEqual(all);
    expect(linesOf(await read(log.directory, { tail: 10 })).sort()).toEqual(all);
    expect(linesOf(await read(log.directory, { tail: 4 }))).toHaveLength(4);
    expect(await read(log.directory, { stream: 'stdout' })).toBe(all.filter((_, i) => i % 2 === 0).join(''));
    // Its file was changed since, so not all of it can be left out.
    const late = await read(log.directory, { sinceMs: T0_US / 1_000 + 15, stream: 'stdout' });
    expect(late.length).toBeGreaterThan(0);
  });

  test('a directory, a log or both streams missing are nothing', async () => {
    expect(await read(join(root, 'nowhere'))).toBe('');
    const log = written();
    unlinkSync(logPath(log.directory, 'stdout', 1));
    expect(await read(log.directory)).toBe(all.filter((_, i) => i % 2 === 1).join(''));
    expect(await read(log.directory, { tail: 1 })).toBe('line 9\n');
  });
});

test('dropped bytes are summed up from where the answer begins', async () => {
  const log = new LogWriter(newDirectory(), { maxBytes: 200, files: 10 });
  for (let i = 0; i < 20; i += 1) {
    log.write('stdout', `line ${i}\n`, T0_US + i * 1_000_000);
    log.drop('stdout', 100 + i);
  }
  log.write('stderr', 'err\n', T0_US);
  log.drop('stderr', 5_000);
  log.write('stderr', 'err\n', T0_US + 10_500_000);
  const sum = (from: number) => Array.from({ length: 19 - from }, (_, i) => 100 + from + i).reduce((a, b) => a + b, 0);
  const dropped = (more: Partial<LogRequest> = {}) => countDropped(requestOf(log.directory, more), []);
  expect(await dropped({ stream: 'stdout' })).toBe(sum(0));
  expect(await dropped()).toBe(sum(0) + 5_000);
  expect(await dropped({ sinceMs: T0_US / 1_000 + 15_000 })).toBe(sum(14));
  expect(await dropped({ tail: 1 })).toBe(sum(0) + 5_000);
  const ofRun = (run: number, droppedBytes: number, endedAtMs = Date.now()) =>
    countDropped(requestOf(log.directory), [{ generation: 1, run, droppedBytes, endedAtMs }]);
  expect(await ofRun(1, 10_000)).toBe(10_000); // what the indexes do not tell came after their last entries
  expect(await ofRun(1, 100)).toBe(sum(0) + 5_000);
  expect(await ofRun(2, 10)).toBe(sum(0) + 5_000 + 10);
  const late = requestOf(log.directory, { sinceMs: T0_US / 1_000 + 60_000 });
  expect(await countDropped(late, [{ generation: 1, run: 1, droppedBytes: 10_000, endedAtMs: T0_US / 1_000 }])).toBe(0);
});

describe('while the files change', () => {
  test('those that vanish are passed over', async () => {
    const log = new LogWriter(newDirectory(), { maxBytes: 100_000, files: 100 });
    for (let i = 0; i < 20; i += 1) log.write('stdout', `${i} ${'x'.repeat(80_000)}\n`, T0_US + i * 1_000_000);
    const seen: string[] = [];
    for await (const { bytes } of readLogs(requestOf(log.directory))) {
      if (seen.length === 0) for (const number of [3, 4, 5, 20]) unlinkSync(logPath(log.directory, 'stdout', number));
      seen.push(bytes.toString());
    }
    const numbers = linesOf(seen.join('')).map((line) => Number(line.split(' ')[0]));
    expect(numbers).toEqual([...Array(20).keys()].filter((i) => ![2, 3, 4, 19].includes(i)));
  });

  test('a reader gets no more than there was at the beginning, unless it follows', async () => {
    const log = new LogWriter(newDirectory(), { maxBytes: 60, files: 100 });
    log.write('stdout', 'first\n', T0_US);
    let text = '';
    for await (const { bytes } of readLogs(requestOf(log.directory))) {
      for (let i = 0; i < 10; i += 1) log.write('stdout', 'later\n', T0_US + i * 1_000_000);
      text += bytes;
    }
    expect(text).toBe('first\n');
  });

  test('a reader holds a few blocks in memory, not the files', async () => {
    const log = new LogWriter(newDirectory(), { maxBytes: 20 << 20, files: 100 });
    for (let i = 0; i < 64; i += 1)
      log.write(i % 2 ? 'stdout' : 'stderr', Buffer.alloc(1 << 20, `${'x'.repeat(99)}\n`), T0_US + i * 2_000);
    let greatest = 0;
    for await (const { bytes } of readLogs(requestOf(log.directory))) greatest = Math.max(greatest, bytes.length);
    expect(greatest).toBe(64 * 1024);
  });
});

describe('following', () => {
  /** Reads in the background. */
  function follow(directory: string, more: Partial<LogRequest> = {}) {
    const leaving = new AbortController();
    const state = {
      text: '',
      position: null as LogPosition | null,
      growing: true,
      ended: false,
      leave: () => leaving.abort(),
    };
    const reading = async () => {
      const request = requestOf(directory, {
        follow: true,
        mayGrow: () => state.growing,
        signal: leaving.signal,
        ...more,
      });
      for await (const { bytes, position } of readLogs(request)) {
        state.text += bytes;
        state.position = position;
      }
      state.ended = true;
    };
    return { state, done: reading() };
  }

  test('goes on across files, from before the first to after the last', async () => {
    const directory = newDirectory();
    const { state, done } = follow(directory);
    await until(() => state.position !== null, { what: 'it follows what is not there yet' });
    const log = new LogWriter(directory, { maxBytes: 300, files: 100 });
    let written = '';
    for (let i = 0; i < 300; i += 1) {
      const line = `line ${i}\n`;
      log.write('stdout', line, T0_US + i * 50_000);
      written += line;
      if (i % 25 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await until(() => state.text === written, { what: 'all of it has come' });
    expect(state.ended).toBe(false);
    state.growing = false;
    await done;
    expect(state.text).toBe(written);
  });

  test('by one slower than the pruning misses what was removed, and nothing else', async () => {
    const log = new LogWriter(newDirectory(), { maxBytes: 100_000, files: 3 });
    log.write('stdout', `0 ${'x'.repeat(70_000)}\n`, T0_US);
    const state = { growing: true };
    const numbers: number[] = [];
    let partial = '';
    let next = 1;
    for await (const { bytes } of readLogs(requestOf(log.directory, { follow: true, mayGrow: () => state.growing }))) {
      const lines = (partial + bytes).split('\n');
      partial = lines.pop()!;
      numbers.push(...lines.map((line) => Number(line.split(' ')[0])));
      for (let i = 0; i < 2 && next < 60; i += 1)
        log.write('stdout', `${next} ${'x'.repeat(70_000)}\n`, T0_US + next++ * 1_000_000);
      state.growing = next < 60;
    }
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    expect(numbers.slice(-3)).toEqual([57, 58, 59]);
    expect(partial).toBe('');
  });

  test('shows a line under way at once, and holds the other stream back for it for a moment', async () => {
    const log = new LogWriter(newDirectory());
    log.write('stdout', 'name? ', T0_US);
    const { state, done } = follow(log.directory);
    await until(() => state.text === 'name? ', { what: 'the prompt is there' });
    log.write('stderr', 'warning\n', T0_US + 10_000);
    await until(() => state.text === 'name? warning\n', { what: 'the other stream goes on' });
    log.write('stdout', 'Ann\n', T0_US + 20_000);
    await until(() => state.text === 'name? warning\nAnn\n', { what: 'the line is ended' });
    state.growing = false;
    await done;
  });

  test('with since or tail begins there', async () => {
    const log = new LogWriter(newDirectory());
    for (let i = 0; i < 10; i += 1) log.write(i % 2 ? 'stdout' : 'stderr', `${i}\n`, T0_US + i * 1_000_000);
    const bySince = follow(log.directory, { sinceMs: T0_US / 1_000 + 7_000 });
    const byTail = follow(log.directory, { tail: 2 });
    const byNone = follow(log.directory, { tail: 0 });
    await until(() => bySince.state.text === '7\n8\n9\n' && byTail.state.text === '8\n9\n', { what: 'the beginnings' });
    log.write('stdout', '10\n', T0_US + 20_000_000);
    for (const { state, done } of [bySince, byTail, byNone]) {
      await until(() => state.text.endsWith('10\n'), { what: 'the new line' });
      state.growing = false;
      await done;
    }
    expect(byNone.state.text).toBe('10\n');
  });

  test('goes on from any position it has told, without a byte missing or twice', async () => {
    const log = new LogWriter(newDirectory(), { maxBytes: 100_000, files: 1_000 });
    const line = (i: number) => `${i} ${'x'.repeat(i * 97)}\n`;
    let written = 0;
    const write = (count: number) => {
      for (let i = 0; i < count; i += 1) {
        log.write(written % 3 === 0 ? 'stderr' : 'stdout', line(written), T0_US + written * 5_000);
        written += 1;
      }
    };
    write(150);
    const blocks: LogBlock[] = [];
    for await (const block of readLogs(requestOf(log.directory))) blocks.push(block);
    expect(blocks.length).toBeGreaterThan(10);
    write(20);
    const everything = await read(log.directory);
    let before = '';
    for (const { bytes, position } of blocks) {
      before += bytes;
      expect(before + (await read(log.directory, { from: position }))).toBe(everything);
    }
  });

  test('from a position in files that are gone begins with what there is', async () => {
    const log = new LogWriter(newDirectory());
    log.write('stdout', 'here\n', T0_US);
    const at = (number: number, offset: number) => ({ stdout: { number, offset }, stderr: { number: 0, offset: 0 } });
    expect(await read(log.directory, { from: at(7, 100) })).toBe('here\n');
    expect(await read(log.directory, { from: at(1, 2) })).toBe('re\n');
    expect(await read(log.directory, { from: at(1, 100) })).toBe('');
  });

  test('ends when the reader leaves', async () => {
    const log = new LogWriter(newDirectory());
    const { state, done } = follow(log.directory);
    await until(() => state.position !== null, { what: 'it has begun' });
    state.leave();
    await done;
  });
});

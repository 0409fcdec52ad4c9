import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { logPath } from '../../../agent/logs/directory';
import { lastLines, readLastLines } from '../../../agent/logs/lastLines';
import { TAIL_BYTES, TAIL_LINES } from '../../../contract/agentApi';

const numbered = (from: number, to: number, width = 0) =>
  Array.from({ length: to - from + 1 }, (_, i) => `${String(from + i).padEnd(width, '.')}\n`).join('');

describe('the last lines', () => {
  test.each([
    ['nothing', '', ''],
    ['one line', 'a\n', 'a\n'],
    ['a line not ended', 'a\nb', 'a\nb'],
    ['empty lines', '\n\n\n', '\n\n\n'],
    ['as many as are kept', numbered(1, TAIL_LINES), numbered(1, TAIL_LINES)],
    ['one more', numbered(0, TAIL_LINES), numbered(1, TAIL_LINES)],
    ['one more, the last not ended', `${numbered(1, TAIL_LINES)}x`, `${numbered(2, TAIL_LINES)}x`],
  ])('of %s', (_, written, expected) => {
    expect(lastLines(Buffer.from(written))).toBe(expected);
  });

  test('are whole, and no more than 4 KiB', () => {
    const lines = lastLines(Buffer.from(numbered(1, 30, 500)));
    expect(lines).toBe(numbered(23, 30, 500));
    expect(Buffer.byteLength(lines)).toBeLessThanOrEqual(TAIL_BYTES);
    // A line that ends just where the 4 KiB begin.
    const full = numbered(1, 8, TAIL_BYTES / 8 - 1);
    expect(Buffer.byteLength(full)).toBe(TAIL_BYTES);
    expect(lastLines(Buffer.from(`before\n${full}`))).toBe(full);
    expect(lastLines(Buffer.from(`before${full}`))).toBe(full.slice(TAIL_BYTES / 8));
  });

  test('of a line that is longer are its last characters, none of them cut', () => {
    const lines = lastLines(Buffer.from(`x${'é'.repeat(4_000)}`));
    expect(lines).toBe('é'.repeat(TAIL_BYTES / 2));
    expect(lastLines(Buffer.from(`x${'€'.repeat(4_000)}\n`))).toBe(`${'€'.repeat(1_365)}\n`);
  });

  test('of bytes that are no text never have more characters than there are bytes', () => {
    const lines = lastLines(Buffer.alloc(10_000, 0xff));
    expect(lines).toBe('\ufffd'.repeat(TAIL_BYTES));
    expect(lastLines(Buffer.alloc(10_000, 0x80)).length).toBeLessThanOrEqual(TAIL_BYTES);
  });
});

describe('read from files', () => {
  const directory = mkdtempSync(join(tmpdir(), 'morch-last-lines-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  test('go on into the file before', async () => {
    writeFileSync(logPath(directory, 'stdout', 6), 'too far\n');
    writeFileSync(logPath(directory, 'stdout', 7), 'a\nb\n');
    writeFileSync(logPath(directory, 'stdout', 8), 'c\n');
    expect(await readLastLines(directory, 'stdout', [6, 7, 8])).toBe('a\nb\nc\n');
  });

  test('are none of files that are gone', async () => {
    expect(await readLastLines(directory, 'stderr', [])).toBe('');
    expect(await readLastLines(directory, 'stdout', [8, 9])).toBe('c\n');
  });

  test('are no more of a large file than of its end', async () => {
    writeFileSync(logPath(directory, 'stderr', 1), numbered(1, 100_000, 30));
    expect(await readLastLines(directory, 'stderr', [1])).toBe(numbered(99_981, 100_000, 30));
  });
});

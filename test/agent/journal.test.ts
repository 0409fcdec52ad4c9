/** The journal of an agent's records, on real files: what counts after it was cut short, damaged, removed or could not be written. */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Journal } from '../../agent/journal';

const root = mkdtempSync(join(tmpdir(), 'morch-journal-test-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let made = 0;
const newDirectory = () => {
  const directory = join(root, String(++made));
  mkdirSync(directory);
  return directory;
};

/** With all that was written to it, as its owner would have it. */
function open(directory: string) {
  const counting: string[] = [];
  const journal = new Journal(directory, () => counting);
  const add = (text: string, isDurable = true) =>
    journal.add({ text, isDurable, apply: () => void counting.push(text) });
  const load = async () => {
    const damages: string[] = [];
    for await (const text of journal.load((path, what) => damages.push(`${path}: ${what.message}`)))
      counting.push(text);
    return damages;
  };
  return { journal, counting, add, load };
}

async function linesIn(directory: string): Promise<string[]> {
  const { counting, load } = open(directory);
  expect(await load()).toEqual([]);
  return counting;
}

const files = (directory: string) => readdirSync(directory).sort();

test('has what was added, in its order, and nobody else may read it', async () => {
  const directory = newDirectory();
  const { add, counting } = open(directory);
  await Promise.all(['one', 'two', 'ünf'].map((text, i) => add(text, i !== 1)));
  await add('four');
  expect(counting).toEqual(['one', 'two', 'ünf', 'four']);
  expect(await linesIn(directory)).toEqual(counting);
  expect(files(directory)).toEqual(['journal.1']);
  expect(statSync(join(directory, 'journal.1')).mode & 0o777).toBe(0o600);
});

test('of what was cut short at any byte has every line that is whole', async () => {
  const directory = newDirectory();
  const { add } = open(directory);
  for (const text of ['first', 'second', 'third']) await add(text);
  const path = join(directory, 'journal.1');
  const whole = readFileSync(path);
  const ends = [...whole.entries()].filter(([, byte]) => byte === 0x0a).map(([at]) => at + 1);
  for (let bytes = whole.length; bytes >= 0; bytes -= 1) {
    truncateSync(path, bytes);
    expect(await linesIn(directory)).toHaveLength(ends.filter((end) => end <= bytes).length);
  }
});

test('leaves out a line with a wrong byte, says so, and keeps the file', async () => {
  const directory = newDirectory();
  const { add } = open(directory);
  for (const text of ['first', 'second', 'third']) await add(text);
  const path = join(directory, 'journal.1');
  const bytes = readFileSync(path);
  bytes[bytes.indexOf('second')] = 0x53;
  writeFileSync(path, bytes);
  const again = open(directory);
  expect(await again.load()).toEqual([expect.stringContaining('1 of 3 lines')]);
  expect(again.counting).toEqual(['first', 'third']);
  await again.journal.rewrite();
  expect(files(directory)).toEqual(['journal.1.damaged', 'journal.2']);
  expect(await linesIn(directory)).toEqual(['first', 'third']);
});

test('is written anew when it is gone, with its directory', async () => {
  const directory = newDirectory();
  const { add, counting } = open(directory);
  await add('first');
  rmSync(directory, { recursive: true });
  await add('second');
  expect(await linesIn(directory)).toEqual(counting);
  expect(counting).toEqual(['first', 'second']);
});

test('has only what counts once much more than that has been added', async () => {
  const directory = newDirectory();
  const counting = ['kept'];
  const journal = new Journal(directory, () => counting);
  const text = 'x'.repeat(100_000);
  for (let i = 0; i < 60; i += 1) await journal.add({ text, isDurable: false, apply: () => {} });
  await journal.add({ text: 'last', isDurable: true, apply: () => counting.push('last') });
  const [file, ...others] = files(directory);
  expect([file, others]).not.toEqual(['journal.1', []]);
  expect(statSync(join(directory, file!)).size).toBeLessThan(5 * 1024 ** 2);
  const found = await linesIn(directory);
  expect(found[0]).toBe('kept');
  expect(found.at(-1)).toBe('last');
});

test('refuses what it cannot write, and goes on once it can', async () => {
  const directory = newDirectory();
  const { add, counting } = open(directory);
  await add('first');
  rmSync(directory, { recursive: true });
  writeFileSync(directory, 'in the way');
  await expect(add('refused')).rejects.toMatchObject({ code: 'ENOTDIR' });
  rmSync(directory);
  await add('second');
  expect(counting).toEqual(['first', 'second']);
  expect(await linesIn(directory)).toEqual(counting);
});

test('overwrites what a write that failed has left behind what counts', async () => {
  const directory = newDirectory();
  const { add, counting } = open(directory);
  await add('first');
  appendFileSync(join(directory, 'journal.1'), 'half of a li');
  await add('second');
  expect(await linesIn(directory)).toEqual(counting);
  expect(existsSync(join(directory, 'journal.2'))).toBe(false);
});

/** What LevelDB wrote, read without LevelDB: the same records must come out. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { inspectFiles, readEntries } from '../../../../scheduler/store/files/directory';
import { random } from '../../../support/random';
import { newDirectory } from '../opened';

/** What the types of `level` leave out. */
interface Compactable {
  compactRange(start: string, end: string): Promise<void>;
}

/** The latest value of each key that is not deleted. */
async function recordsOf(directory: string): Promise<Map<string, string>> {
  const latest = new Map<string, { seq: number; value: Buffer | undefined }>();
  for await (const { key, seq, value } of readEntries(directory)) {
    if (seq > (latest.get(key)?.seq ?? -1)) latest.set(key, { seq, value });
  }
  const live = [...latest].filter(([, { value }]) => value !== undefined);
  return new Map(live.map(([key, { value }]): [string, string] => [key, value!.toString()]).sort());
}

async function written(seed: number): Promise<{ directory: string; records: Map<string, string> }> {
  const next = random(seed);
  const directory = join(await newDirectory(), 'db');
  const db = new Level<string, string>(directory);
  const records = new Map<string, string>();
  // From what compresses well to what does not at all; long ones span several blocks of the log.
  const text = () =>
    next(2) === 0
      ? 'ab'.repeat(next(2_000))
      : Array.from({ length: next(3_000) }, () => String.fromCharCode(32 + next(300))).join('');
  for (let batch = 0; batch < 40; batch++) {
    const ops = Array.from({ length: 1 + next(60) }, () => {
      const key = `key/${next(800)}/ä`;
      return next(4) === 0 ? ({ type: 'del', key } as const) : ({ type: 'put', key, value: text() } as const);
    });
    await db.batch<string, string>(ops, { sync: false });
    for (const op of ops) {
      if (op.type === 'put') records.set(op.key, op.value);
      else records.delete(op.key);
    }
    if (batch === 15 || batch === 30) await (db as unknown as Compactable).compactRange('a', 'z');
  }
  await db.close();
  return { directory, records: new Map([...records].sort()) };
}

it.each([1, 2, 3])('reads all that LevelDB wrote, in tables and logs, compressed or not (seed %i)', async (seed) => {
  const { directory, records } = await written(seed);
  const { problems, live } = await inspectFiles(directory);
  expect(problems).toEqual([]);
  expect(live.length).toBeGreaterThan(0);
  expect(await recordsOf(directory)).toEqual(records);
});

it('finds every flipped bit of a table', async () => {
  const { directory } = await written(4);
  const path = join(directory, (await readdir(directory)).find((name) => name.endsWith('.ldb'))!);
  const content = await readFile(path);
  const next = random(5);
  for (let round = 0; round < 200; round++) {
    // Also its last bytes, and those before them, where the index and the footer are.
    const at = round < 60 ? content.length - 1 - round : next(content.length);
    const harmed = Buffer.from(content);
    harmed[at] = harmed[at]! ^ (1 << next(8));
    await writeFile(path, harmed);
    const { problems } = await inspectFiles(directory);
    const isPadding = at >= content.length - 48 && at < content.length - 8 && content[at] === 0;
    if (!isPadding) expect({ at, problems }).toEqual({ at, problems: [expect.stringContaining('is damaged')] });
  }
});

it('takes what is not there, and what was only begun, for sound', async () => {
  const directory = await newDirectory();
  expect(await inspectFiles(join(directory, 'none'))).toEqual({ problems: [], live: [] });
  await writeFile(join(directory, 'MANIFEST-000001'), '');
  expect(await inspectFiles(directory)).toEqual({ problems: [], live: [] });
});

/**
 * What becomes of a store whose files were damaged while it was closed: nothing is lost without a word, and what can be
 * read is there. The files are real ones, written by LevelDB.
 */

import { spawnSync } from 'node:child_process';
import { cp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Level } from 'level';
import type { Damage } from '../../../scheduler/store/damage';
import { keys } from '../../../scheduler/store/keys';
import { openLevelStore } from '../../../scheduler/store/open';
import { surroundingsOf } from '../../../scheduler/store/surroundings';
import { random } from '../../support/random';
import { del, entriesOf, put } from './contract';
import { killedWriter } from './killedWriter';
import { newDirectory, newStorePath, openSound } from './opened';

/** What was acknowledged: key → value. */
type Acknowledged = Map<string, unknown>;

/** A store of some tables and a log. To LevelDB, a close and a kill are the same: the log is read at the next opening. */
async function madeStore(): Promise<{ path: string; acknowledged: Acknowledged }> {
  const path = await newStorePath();
  const store = await openSound(path);
  const acknowledged: Acknowledged = new Map();
  const write = async (changes: [key: string, value?: unknown][]) => {
    await store.write(changes.map(([key, value]) => (value === undefined ? del(key) : put(key, value))));
    for (const [key, value] of changes) {
      if (value === undefined) acknowledged.delete(key);
      else acknowledged.set(key, value);
    }
  };
  const next = random(1);
  const text = () => Array.from({ length: 300 }, () => next(36 ** 4).toString(36)).join('');
  const event = (n: number) => `event/${String(n).padStart(6, '0')}`;
  for (let i = 0; i < 10_000; i += 250) {
    const numbers = Array.from({ length: 250 }, (_, j) => i + j);
    await write([
      ...numbers.map((n): [string, unknown] => [`instance/${n % 900}`, { n, text: text() }]),
      ...numbers.map((n): [string, unknown] => [event(n), n]),
      ...numbers.map((n): [string] => [event(n - 2_000)]),
    ]);
  }
  for (let i = 0; i < 100; i++) await write([[`workload/${i}`, { i }]]);
  await store.close();
  return { path, acknowledged };
}

function pairsOf(from: string, to: string): [string, string][] {
  const [a, b] = [surroundingsOf(from), surroundingsOf(to)];
  return [
    [a.store, b.store],
    [a.mark, b.mark],
  ];
}

let made: Promise<{ path: string; acknowledged: Acknowledged }> | undefined;
/** A copy of its own for each test. */
async function aStore(): Promise<{ path: string; acknowledged: Acknowledged; files: string[] }> {
  made ??= madeStore();
  const { path: original, acknowledged } = await made;
  const path = await newStorePath();
  for (const [from, to] of pairsOf(original, path)) await cp(from, to, { recursive: true });
  return { path, acknowledged, files: await readdir(path) };
}

/** The first of them; of logs the last, there may be one before it that was not written out yet. */
function nameOf(files: string[], pattern: RegExp): string {
  const names = files.filter((name) => pattern.test(name)).sort();
  return names.at(names.some((name) => name.endsWith('.log')) ? -1 : 0)!;
}

async function flip(file: string, at: number, bit = 0): Promise<void> {
  const content = await readFile(file);
  content[at] = content[at]! ^ (1 << bit);
  await writeFile(file, content);
}

interface Found {
  damage: Damage | null;
  notes: string[];
  /** Keys of acknowledged records that are not there, or have another value. */
  lost: string[];
}

/** Opens, compares, and opens once more: what was said once is said until it is dealt with, and no further damage is found. */
async function openAndCompare(path: string, acknowledged: Acknowledged): Promise<Found> {
  const { store, damage, notes } = await openLevelStore(path);
  const entries = new Map(await entriesOf(store, ''));
  await store.write([put('after', 1)]);
  await store.close();
  const again = await openLevelStore(path);
  expect(again.damage).toEqual(damage);
  expect(await again.store.get('after')).toBe(1);
  await again.store.close();
  entries.delete('damage');
  const lost = [...acknowledged].filter(([key, value]) => JSON.stringify(entries.get(key)) !== JSON.stringify(value));
  const foreign = [...entries.keys()].filter((key) => !acknowledged.has(key));
  return { damage, notes, lost: [...lost.map(([key]) => key), ...foreign] };
}

it('nothing is said of a store that is whole', async () => {
  const { path, acknowledged, files } = await aStore();
  expect(files.filter((name) => name.endsWith('.ldb')).length).toBeGreaterThan(1);
  expect(await openAndCompare(path, acknowledged)).toEqual({ damage: null, notes: [], lost: [] });
  expect((await readdir(dirname(path))).sort()).toEqual(['store', 'store.lock', 'store.mark']);
});

describe('one flipped byte in the log of 1,000 acknowledged writes', () => {
  async function flipped(close: boolean): Promise<string> {
    const path = await newStorePath();
    if (close) {
      const store = await openSound(path);
      for (let i = 0; i < 1_000; i++) await store.write([put(`k/${i}`, { i, filling: 'x'.repeat(100) })]);
      await store.close();
    } else {
      const db = new Level<string, string>(path);
      for (let i = 0; i < 1_000; i++)
        await db.put(`k/${i}`, `{"i":${i},"filling":"${'x'.repeat(100)}"}`, { sync: true });
      await db.close();
    }
    const log = join(path, nameOf(await readdir(path), /\.log$/));
    await flip(log, (await readFile(log)).indexOf('"i":500') + 20);
    return path;
  }

  it('makes LevelDB lose many of them without a word', async () => {
    const db = new Level<string, string>(await flipped(false));
    const found = (await db.keys().all()).length;
    await db.close();
    expect(found).toBeGreaterThan(500);
    expect(found).toBeLessThan(999);
  });

  it('is said, and costs the record that it hit', async () => {
    const path = await flipped(true);
    const { store, damage } = await openLevelStore(path);
    const found = (await entriesOf(store, 'k/')).length;
    await store.close();
    expect(damage).toMatchObject({
      reason: expect.stringMatching(/^batch 501 to \d+ of its journal is missing/),
      unreadable: ['k/500'],
      missing: null,
      complete: false,
    });
    expect(found).toBe(999);
  });
});

describe('damage', () => {
  const log = /\.log$/;
  const table = /\.ldb$/;
  const manifest = /^MANIFEST/;
  type Harm = (path: string, files: string[]) => Promise<unknown>;
  const cut =
    (pattern: RegExp, size: number): Harm =>
    async (path, files) => {
      const file = join(path, nameOf(files, pattern));
      await truncate(file, size < 0 ? (await stat(file)).size + size : size);
    };
  const remove =
    (pattern: RegExp): Harm =>
    (path, files) =>
      rm(join(path, nameOf(files, pattern)));
  const turn =
    (pattern: RegExp, share: number): Harm =>
    async (path, files) => {
      const file = join(path, nameOf(files, pattern));
      await flip(file, Math.floor(((await stat(file)).size - 1) * share), 3);
    };

  it.each<[what: string, harm: Harm, reason: RegExp, mostLost: number]>([
    ['a log that was cut off', cut(log, -1_000), /ends with batch \d+, where number 140 had been acknowledged/, 20],
    ['a log that is gone', remove(log), /had been acknowledged/, 950],
    ['a flipped bit in a log', turn(log, 0.5), /journal is missing/, 1],
    ['a flipped bit in a table', turn(table, 0.3), /table .* is damaged: the block at byte \d+ fails its check/, 40],
    ['a flipped bit at the end of a table', turn(table, 1), /its end is not that of a table/, 10_000],
    ['a table that was cut off', cut(table, -10), /its end is not that of a table/, 10_000],
    ['an empty table', cut(table, 0), /has 0 bytes only/, 10_000],
    ['a table that is gone', remove(table), /table \d+ is missing/, 10_000],
    [
      'a table of zeros in part',
      async (path, files) => {
        const file = join(path, nameOf(files, table));
        const content = await readFile(file);
        await writeFile(file, content.fill(0, 50_000, 60_000));
      },
      /fails its check/,
      60,
    ],
    ['a MANIFEST that is gone', remove(manifest), /CURRENT names "MANIFEST-\d+", which is not there/, 0],
    ['a flipped bit in the MANIFEST', turn(manifest, 0.3), /MANIFEST-\d+ is damaged/, 0],
    ['an empty MANIFEST', cut(manifest, 0), /Corruption/, 0],
    ['a CURRENT that is gone', remove(/^CURRENT$/), /CURRENT is missing/, 0],
    ['an empty CURRENT', cut(/^CURRENT$/, 0), /CURRENT names ""/, 0],
  ])('by %s is said, the files are kept, and what can be read is there', async (_what, harm, reason, mostLost) => {
    const { path, acknowledged, files } = await aStore();
    await harm(path, files);
    const before = await contentsOf(path);
    const { damage, lost } = await openAndCompare(path, acknowledged);
    expect(damage?.reason).toMatch(reason);
    expect(lost.length).toBeLessThanOrEqual(mostLost);
    if (mostLost === 0 || lost.length > 0) expect(damage?.complete).toBe(mostLost === 0);
    const kept = await contentsOf(damage!.keptIn!);
    expect([...kept].filter(([name]) => name !== 'unreadable.ndjson')).toEqual([...before]);
  });

  it('by the loss of its latest tables is said, though all that LevelDB looks at is whole', async () => {
    const { path, acknowledged, files } = await aStore();
    // As it was before the last table was added, to the byte: such an end is what a killed process leaves.
    const file = join(path, nameOf(files, manifest));
    const content = await readFile(file);
    const lengths: number[] = [];
    for (let at = 0; at < content.length; at += 7 + content.readUInt16LE(at + 4)) lengths.push(at);
    await truncate(file, lengths.at(-1)!);
    const { damage, lost } = await openAndCompare(path, acknowledged);
    expect(damage).not.toBeNull();
    expect(damage).toMatchObject({ complete: true });
    expect(lost).toEqual([]);
  });

  it('by an old copy in its place is said', async () => {
    const path = await newStorePath();
    const store = await openSound(path);
    await store.write([put('a', 1)]);
    await store.close();
    const copy = await newStorePath();
    await cp(path, copy, { recursive: true });
    const later = await openSound(path);
    await later.write([put('a', 2)]);
    await later.close();
    await rm(path, { recursive: true });
    await cp(copy, path, { recursive: true });
    const { damage } = await openAndCompare(path, new Map());
    expect(damage).toMatchObject({
      reason: expect.stringContaining('it ends with batch 1, where number 2 had been acknowledged'),
      missing: { count: 1, first: 2, last: 2 },
    });
  });

  it('by the removal of the whole store is said', async () => {
    const { path } = await aStore();
    await rm(path, { recursive: true });
    const { damage } = await openAndCompare(path, new Map());
    expect(damage).toMatchObject({
      reason: 'it has no batch, where number 140 had been acknowledged',
      complete: false,
    });
  });

  it('that comes again, and takes what was done about the first with it, is dealt with like the first', async () => {
    const { path, files } = await aStore();
    await remove(manifest)(path, files);
    const first = await openLevelStore(path);
    expect(first.damage).not.toBeNull();
    // What was written anew is in a table, and this in the log.
    await first.store.write([del(keys.damage), put('later', 1)]);
    await first.store.close();
    await remove(log)(path, await readdir(path));
    const second = await openLevelStore(path);
    expect(second.damage?.reason).toMatch(/had been acknowledged/);
    await second.store.close();
  });

  it('of a value leaves that value in a file, as it was found', async () => {
    const path = await newStorePath();
    const store = await openSound(path);
    await store.write([put('a', 'sound'), put('b', 'the value to be hit')]);
    await store.close();
    const log = join(path, nameOf(await readdir(path), /\.log$/));
    const content = await readFile(log);
    await flip(log, content.indexOf('to be hit'));
    const { damage } = await openAndCompare(path, new Map());
    expect(damage).toMatchObject({ unreadable: ['b'] });
    const lines = (await readFile(join(damage!.keptIn!, 'unreadable.ndjson'), 'utf8')).trim().split('\n');
    const record = JSON.parse(lines[0]!) as { key: string; value: string };
    expect(record.key).toBe('b');
    expect(Buffer.from(record.value, 'base64').toString()).toMatch(/^[0-9a-f]{8}"the value uo be hit"$/);
  });
});

/** Any harm to any file, by numbers from `next`; tells what it did. */
async function harmAtRandom(path: string, next: (below: number) => number): Promise<string> {
  const files = (await readdir(path)).filter((name) => /^CURRENT|^MANIFEST|\.log$|\.ldb$/.test(name)).sort();
  const name = files[next(files.length)]!;
  const file = join(path, name);
  const content = await readFile(file);
  const at = next(content.length);
  switch (next(4)) {
    case 0:
      await flip(file, at, next(8));
      return `a flipped bit at byte ${at} of ${name}`;
    case 1:
      await truncate(file, at);
      return `${name} cut off at byte ${at}`;
    case 2:
      await writeFile(file, content.fill(next(256), at, Math.min(content.length, at + 1 + next(5_000))));
      return `${name} written over at byte ${at}`;
    default:
      await rm(file);
      return `${name} removed`;
  }
}

describe('no damage loses anything without a word:', () => {
  it.each(Array.from({ length: 12 }, (_, i) => i + 1))('seed %i', async (seed) => {
    const next = random(seed);
    const { path, acknowledged } = await aStore();
    const harms = [await harmAtRandom(path, next)];
    if (next(3) === 0) harms.push(await harmAtRandom(path, next));
    const { damage, lost } = await openAndCompare(path, acknowledged);
    expect({ harms, lost: damage === null || damage.complete ? lost : [] }).toEqual({ harms, lost: [] });
  });
});

it('says so when there is no room for the exchange, and carries it out when there is (needs the right to mount)', async () => {
  const { path: original, acknowledged, files } = await aStore();
  await rm(join(original, nameOf(files, /^MANIFEST/)));
  const disk = await newDirectory();
  const mount = (options: string) => spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', disk]).status === 0;
  // Room for the store as it is, and hardly more.
  const sizes = await Promise.all(
    (await readdir(original)).map(async (name) => (await stat(join(original, name))).size),
  );
  const sizeKiB = Math.ceil(sizes.reduce((sum, size) => sum + size, 0) / 1024) + 700;
  if (!mount(`size=${sizeKiB}k`)) return;
  try {
    const path = join(disk, 'store');
    for (const [from, to] of pairsOf(original, path)) await cp(from, to, { recursive: true });
    for (let attempt = 0; attempt < 2; attempt++) {
      await expect(openLevelStore(path)).rejects.toThrow(
        /MANIFEST.*could not be written to a new one.*kept in .*damaged-/,
      );
    }
    expect(mount('remount,size=64m')).toBe(true);
    const { damage, lost } = await openAndCompare(path, acknowledged);
    expect(damage).toMatchObject({ complete: true });
    expect(lost).toEqual([]);
  } finally {
    expect(spawnSync('umount', [disk]).status).toBe(0);
  }
});

it('goes on with the exchange of a damaged store that was killed at any moment', async () => {
  const next = random(Date.now());
  const { path, acknowledged, files } = await aStore();
  await rm(join(path, nameOf(files, /^MANIFEST/)));
  for (let round = 0; round < 6; round++) await killedWriter(path, { afterMs: 150 + next(500) });
  const { damage, lost } = await openAndCompare(path, acknowledged);
  expect(damage).toMatchObject({ complete: true, reason: expect.stringContaining('MANIFEST') });
  expect(lost.filter((key) => !/^[ab]\//.test(key))).toEqual([]);
}, 60_000);

describe('the mark', () => {
  it('that is missing or damaged is said and made anew; the store is taken as it is', async () => {
    for (const [harm, word] of [
      [(mark: string) => rm(mark), 'is missing'],
      [(mark: string) => truncate(mark, 10), 'is damaged'],
    ] as const) {
      const { path, acknowledged } = await aStore();
      await harm(surroundingsOf(path).mark);
      const found = await openAndCompare(path, acknowledged);
      expect(found).toMatchObject({ damage: null, lost: [], notes: [expect.stringContaining(word)] });
      await openSound(path).then((store) => store.close());
    }
  });

  it('survives damage to one of its two places', async () => {
    const { path, acknowledged } = await aStore();
    const { mark } = surroundingsOf(path);
    for (const at of [10, 522]) {
      await flip(mark, at);
      expect(await openAndCompare(path, acknowledged)).toMatchObject({ damage: null, notes: [] });
      acknowledged.set('after', 1);
    }
    acknowledged.delete('after');
  });
});

async function contentsOf(path: string): Promise<Map<string, string>> {
  const names = (await readdir(path)).filter((name) => name !== 'LOCK' && !name.startsWith('LOG')).sort();
  return new Map(
    await Promise.all(
      names.map(async (name) => [name, (await readFile(join(path, name))).toString('base64')] as const),
    ),
  );
}

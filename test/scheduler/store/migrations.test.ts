/** Stores of earlier layouts, written here as those versions wrote them. */
import { readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Level } from 'level';
import { openLevelStore } from '../../../scheduler/store/open';
import { random } from '../../support/random';
import { entriesOf, put } from './contract';
import { killedWriter } from './killedWriter';
import { newStorePath, openSound } from './opened';

const META = { clusterId: 'c1', epoch: 7, schema: 1, firstEventSeq: 3 };

/** Layout 1: values are bare JSON. */
async function layout1(records: number): Promise<{ path: string; entries: [string, unknown][] }> {
  const path = await newStorePath();
  const db = new Level<string, string>(path);
  const entries: [string, unknown][] = [['meta', META]];
  for (let i = 0; i < records; i++) {
    entries.push([`instance/${String(i).padStart(6, '0')}`, { i, text: 'ä'.repeat(i % 50), nothing: null }]);
    entries.push([`workload-event/u/${String(i).padStart(16, '0')}`, i]);
  }
  await db.batch(entries.map(([key, value]) => ({ type: 'put', key, value: JSON.stringify(value) })));
  await db.close();
  return { path, entries: entries.sort(([a], [b]) => (a < b ? -1 : 1)) };
}

const brought = (entries: [string, unknown][]) =>
  entries.map(([key, value]) => [key, key === 'meta' ? { ...META, schema: 4 } : value]);

it('brings layout 1 to layout 2 and loses nothing', async () => {
  const { path, entries } = await layout1(3_000);
  const { store, damage, notes } = await openLevelStore(path);
  expect({ damage, notes }).toEqual({ damage: null, notes: [expect.stringContaining('layout 1; it is of layout 4')] });
  expect(await entriesOf(store, '')).toEqual(brought(entries));
  expect(store.mark).toBe(1);
  await store.write([put('after', 1)]);
  await store.close();
  const again = await openSound(path);
  expect(await entriesOf(again, '')).toEqual(brought([['after', 1], ...entries]));
  expect(again.mark).toBe(2);
  await again.close();
});

it('goes on with a migration that was killed at any moment', async () => {
  const next = random(Date.now());
  const { path, entries } = await layout1(60_000);
  for (let round = 0; round < 6; round++) await killedWriter(path, { afterMs: 200 + next(800) });
  const { store, damage } = await openLevelStore(path);
  expect(damage).toBeNull();
  // If one of them came so far, it has written.
  expect((await entriesOf(store, '')).filter(([key]) => !/^[ab]\//.test(key))).toEqual(brought(entries));
  await store.close();
}, 60_000);

it('refuses the layout of a later version, and touches nothing', async () => {
  const path = await newStorePath();
  const db = new Level<string, string>(path);
  await db.put('meta', '0badc0de{"clusterId":"c1","schema":5}');
  await db.close();
  await expect(openLevelStore(path)).rejects.toThrow(/layout 5, this one knows 4.*--data-dir/);
  expect((await readdir(dirname(path))).sort()).toEqual(['store', 'store.lock']);
  const again = new Level<string, string>(path);
  expect(await again.get('meta')).toBe('0badc0de{"clusterId":"c1","schema":5}');
  await again.close();
});

it('sets aside what cannot be read, and brings the rest of a damaged store of layout 1 to layout 2', async () => {
  const { path, entries } = await layout1(2_000);
  const db = new Level<string, string>(path);
  await db.put('instance/broken', '{"i":');
  await db.close();
  await rm(join(path, (await readdir(path)).find((name) => name.startsWith('MANIFEST'))!));
  const { store, damage } = await openLevelStore(path);
  expect(damage).toMatchObject({ unreadable: ['instance/broken'], complete: false });
  expect((await entriesOf(store, '')).filter(([key]) => key !== 'damage')).toEqual(brought(entries));
  await store.close();
});

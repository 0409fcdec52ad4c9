/** Stores on the disk for tests: directories that go away afterwards, and stores that must be sound. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLevelStore } from '../../../scheduler/store/open';
import type { Store } from '../../../scheduler/store/store';

const directories: string[] = [];
afterAll(async () => {
  for (const directory of directories) await rm(directory, { recursive: true, force: true });
});

export async function newDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'morch-store-'));
  directories.push(directory);
  return directory;
}

/** Of a store that is not there yet, in a directory of its own. */
export async function newStorePath(): Promise<string> {
  return join(await newDirectory(), 'store');
}

/** A store with which nothing is wrong. */
export async function openSound(directory: string): Promise<Store> {
  const { store, damage, notes } = await openLevelStore(directory);
  expect({ damage, notes }).toEqual({ damage: null, notes: [] });
  return store;
}

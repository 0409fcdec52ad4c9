/**
 * What stands beside a store's directory `store`, by name, and moving whole directories so that they survive a loss
 * of power.
 */
import { constants } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { dataFilesOf } from './files/directory';

/** All in one directory, so that renames between them are atomic. */
export interface Surroundings {
  store: string;
  /** Held while anyone works with any of these. */
  lock: string;
  mark: string;
  /** The files as they were before LevelDB opened them; there while a store is being opened. */
  kept: string;
  /** A new store while it is being written. */
  fresh: string;
  /** A whole new store, from a backup, that is about to take the place of the present one. */
  restored: string;
  /** Says that a damaged store is being exchanged for what can be read of it. */
  salvage: string;
}

export function surroundingsOf(store: string): Surroundings {
  return {
    store,
    lock: `${store}.lock`,
    mark: `${store}.mark`,
    kept: `${store}.kept`,
    fresh: `${store}.new`,
    restored: `${store}.restored`,
    salvage: `${store}.salvage`,
  };
}

/** @returns `<store>.<why>-<time>`, of which there is none yet */
export async function asideNameOf(store: string, why: string, at: Date): Promise<string> {
  const time = at.toISOString().replace(/[-:]|\.\d+/g, '');
  const taken = new Set(await readdir(dirname(store)));
  const name = `${store}.${why}-${time}`;
  for (let n = 1; ; n++) {
    const candidate = n === 1 ? name : `${name}-${n}`;
    if (!taken.has(candidate.slice(dirname(store).length + 1))) return candidate;
  }
}

/**
 * Keeps the data files of `from`, as they are, in `to`, which has all of them then or is not there.
 *
 * @param unchanging names of files that nobody will write into: they get a second name. The others are copied: LevelDB
 *   numbers its files by its MANIFEST, and where that has lost its end it takes numbers, and files, a second time
 */
export async function keepDataFiles(from: string, to: string, unchanging: readonly string[] | 'all'): Promise<void> {
  const names = await dataFilesOf(from);
  if (names.length === 0) return;
  const part = `${to}.part`;
  await removeDirectory(part);
  await mkdir(part, { mode: 0o700 });
  for (const name of names) {
    // Not every file system has second names.
    const isUnchanging = unchanging === 'all' || unchanging.includes(name);
    const isLinked = isUnchanging && (await succeeds(link(join(from, name), join(part, name))));
    if (!isLinked) await copyFile(join(from, name), join(part, name), constants.COPYFILE_FICLONE);
  }
  await syncDirectory(part);
  await moveDirectory(part, to);
}

async function succeeds(doing: Promise<unknown>): Promise<boolean> {
  return doing.then(
    () => true,
    () => false,
  );
}

/** Durable when the promise resolves. */
export async function moveDirectory(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncDirectory(dirname(to));
}

/** Also if it is not there. Never leaves a part of it under its name. */
export async function removeDirectory(path: string): Promise<void> {
  const gone = `${path}.gone`;
  await rm(gone, { recursive: true, force: true });
  try {
    await rename(path, gone);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  await rm(gone, { recursive: true, force: true });
}

/** Puts a restored store in its place once the one before has been moved aside; else nothing has been restored yet. */
export async function finishRestore({ store, restored }: Surroundings): Promise<void> {
  if ((await dataFilesOf(restored)).length === 0) return;
  if ((await dataFilesOf(store)).length > 0) return removeDirectory(restored);
  await removeDirectory(store);
  await moveDirectory(restored, store);
}

/** The file is there whole and durable, or not at all. */
export async function writeDurably(path: string, text: string): Promise<void> {
  const temporary = `${path}.part`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  await syncDirectory(dirname(path));
}

export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

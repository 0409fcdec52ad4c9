/**
 * Removes a directory that somebody else may write to while it is removed. By path that would be a hole: between the look
 * at a name and its use a directory can be replaced by a symbolic link, and whatever that leads to would be removed with
 * the rights of this process. Here every name is used within a directory held open (/proc/self/fd), so it leads nowhere else.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, rename, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** A level each. Whoever makes files faster than they are removed is given up on. */
const MOST_PASSES = 100_000;
/** Of a name that was there before: it has been removed meanwhile, or replaced by something else. */
const CHANGED = ['ENOENT', 'ENOTDIR', 'ELOOP'];

/**
 * @param path nobody else may write to the directory it is in; nothing there is fine
 * @throws NodeJS.ErrnoException such as ENOTEMPTY, when something of it is left
 */
export async function removeTree(path: string): Promise<void> {
  const found = await unless(CHANGED, lstat(path));
  if (found === null) return;
  if (!found.isDirectory()) return unlink(path);
  await within(path, async (top) => {
    for (let passes = 0; passes < MOST_PASSES; passes += 1) {
      let isLess = false;
      for (const name of await readdir(top)) {
        if (await reduce(join(top, name), top)) isLess = true;
      }
      if (!isLess) return;
    }
  });
  await unless(CHANGED, rmdir(path));
}

/**
 * What lies deeper is moved up to `top`, to be removed from there: a tree of any depth takes three descriptors.
 *
 * @returns whether anything of it was removed or moved
 */
async function reduce(entry: string, top: string): Promise<boolean> {
  if (await isRemoved(entry)) return true;
  let isLess = false;
  await within(entry, async (directory) => {
    for (const name of await readdir(directory)) {
      const inner = join(directory, name);
      if (await isRemoved(inner)) isLess = true;
      // Opened, so that it has the rights that a move of it takes.
      else
        await within(inner, async () => {
          isLess = (await isMoved(inner, join(top, nextName()))) || isLess;
        });
    }
  });
  return (await isRemoved(entry)) || isLess;
}

let named = 0;
function nextName(): string {
  named += 1;
  return `.morch-removing-${process.pid}-${named}`;
}

/** @returns false when something of that name is there: next time it has another */
async function isMoved(from: string, to: string): Promise<boolean> {
  return (
    (await unless(
      [...CHANGED, 'ENOTEMPTY', 'EEXIST'],
      rename(from, to).then(() => true),
    )) ?? false
  );
}

/** A file, a link or an empty directory; false: a directory that is not empty. */
async function isRemoved(entry: string): Promise<boolean> {
  // Of a directory: EISDIR on Linux, EPERM by POSIX.
  const isUnlinked = await unless(
    ['EISDIR', 'EPERM'],
    unless(['ENOENT'], unlink(entry)).then(() => true),
  );
  if (isUnlinked !== null) return true;
  return (
    (await unless(
      ['ENOTEMPTY', 'EEXIST', 'ENOTDIR'],
      unless(['ENOENT'], rmdir(entry)).then(() => true),
    )) ?? false
  );
}

/** @param act gets a path that means the directory opened, whatever becomes of its name; not called for what is none */
async function within(path: string, act: (directory: string) => Promise<void>): Promise<void> {
  const handle: FileHandle | null = await unless(CHANGED, open(path, DIRECTORY));
  if (handle === null) return;
  try {
    await handle.chmod(0o700);
    await act(`/proc/self/fd/${handle.fd}`);
  } finally {
    await handle.close();
  }
}

/** @returns null for a failure of these kinds */
async function unless<T>(codes: readonly string[], result: Promise<T>): Promise<T | null> {
  try {
    return await result;
  } catch (error) {
    if (codes.includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
}

/**
 * Writes that survive what they have to survive: power loss (`writeDurably`), or only the end of this
 * process (`replaceFile`). What is read or written is a file of the directory that is named: no symbolic link leads out
 * of it. Everything is asynchronous; nothing here blocks the event loop.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { MorchError } from '../contract/errors';

const FILE_MODE = 0o600;
/** A FIFO is opened without waiting for whoever writes to it. */
const READING = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const REPLACING = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;

/** @throws NodeJS.ErrnoException ENOENT: there is no such file; ELOOP: a symbolic link, or no file but a FIFO or the like */
export async function openOwnFile(path: string): Promise<FileHandle> {
  const file = await open(path, READING);
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw Object.assign(new Error(`ELOOP: ${path} is no regular file`), { code: 'ELOOP', syscall: 'open', path });
}

/** @throws NodeJS.ErrnoException like `openOwnFile` */
export async function readOwnFile(path: string, encoding: 'utf8' | 'latin1' = 'utf8'): Promise<string> {
  const file = await openOwnFile(path);
  try {
    return await file.readFile(encoding);
  } finally {
    await file.close();
  }
}

/** Replaces the file as a whole; once it resolves, the content and the name survive power loss. */
export async function writeDurably(path: string, text: string): Promise<void> {
  await replace(path, text, true);
  await syncDirectory(dirname(path));
}

/** Replaces the file as a whole; survives the end of this process, not that of the machine. */
export async function replaceFile(path: string, text: string): Promise<void> {
  await replace(path, text, false);
}

async function replace(path: string, text: string, sync: boolean): Promise<void> {
  const temporary = `${path}.tmp`;
  const file = await open(temporary, REPLACING, FILE_MODE);
  try {
    await file.writeFile(text);
    if (sync) await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

interface DirectorySyncs {
  running: Promise<void>;
  next: Promise<void> | null;
}
const directorySyncs = new Map<string, DirectorySyncs>();

/**
 * fsync(2) of a directory. Many callers at once share one call: whoever comes while one is under way is served
 * by the next, which begins after its change.
 */
export function syncDirectory(path: string): Promise<void> {
  const syncs = directorySyncs.get(path);
  if (syncs === undefined) return startSync(path);
  syncs.next ??= syncs.running.then(
    () => startSync(path),
    () => startSync(path),
  );
  return syncs.next;
}

function startSync(path: string): Promise<void> {
  const syncs: DirectorySyncs = { running: syncOnce(path), next: null };
  directorySyncs.set(path, syncs);
  const done = () => {
    if (syncs.next === null) directorySyncs.delete(path);
  };
  syncs.running.then(done, done);
  return syncs.running;
}

async function syncOnce(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/**
 * @param what completes "Cannot …"
 * @throws MorchError STORE_UNWRITABLE when `store` fails
 */
export async function storing<T>(what: string, where: string, store: () => Promise<T>): Promise<T> {
  try {
    return await store();
  } catch (error) {
    const { code: errnoCode = 'EIO', errno = 0, syscall = 'write' } = error as NodeJS.ErrnoException;
    const detail = `Cannot ${what} in ${where} (${syscall}: ${errnoCode}). Free space there or mend its rights (--data-dir), then try again.`;
    const system = { syscall, errno: Math.abs(errno), errnoCode };
    throw new MorchError('STORE_UNWRITABLE', detail, { system, cause: error });
  }
}

/**
 * Writes that survive power loss, and reading. What is read or written is a file of the directory that is named: no
 * symbolic link leads out of it. Everything is asynchronous; nothing here blocks the event loop.
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
  const temporary = `${path}.tmp`;
  const file = await open(temporary, REPLACING, FILE_MODE);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  const directory = await open(dirname(path), 'r');
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

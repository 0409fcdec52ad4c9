/** Small files for their owner alone, such as those that hold a token or a key: durable before anybody relies on them. */
import { randomBytes } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';

/** @returns its text without space around it, or null when there is no such file */
export async function readPrivateFile(file: string): Promise<string | null> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** A line of text, as `writePrivateBytes` writes. */
export function writePrivateFile(file: string, text: string): Promise<void> {
  return writePrivateBytes(file, Buffer.from(`${text}\n`));
}

/** In place of what is there, whole or not at all. */
export async function writePrivateBytes(file: string, bytes: Uint8Array): Promise<void> {
  const part = `${file}.${randomBytes(4).toString('hex')}`;
  const handle = await open(part, 'wx', 0o600);
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(part, file);
  await syncDirectoryOf(file);
}

export async function removePrivateFile(file: string): Promise<void> {
  await rm(file, { force: true });
  await syncDirectoryOf(file);
}

async function syncDirectoryOf(file: string): Promise<void> {
  const directory = await open(path.dirname(file), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

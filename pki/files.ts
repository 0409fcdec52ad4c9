/** Keys and certificates on disk: whole or not at all, and for their owner alone. */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import path from 'node:path';

/** Replaces the file as a whole; it and its name survive power loss. Its directory is made if need be, 0700. */
export async function saveSecret(file: string, text: string): Promise<void> {
  const directory = path.dirname(file);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const temporary = `${file}.tmp`;
  const handle = await open(temporary, 'w', 0o600);
  try {
    // One that a crash has left may have been made with other rights.
    await handle.chmod(0o600);
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
  const parent = await open(directory, 'r');
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}

/** @returns null where there is none */
export async function loadText(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

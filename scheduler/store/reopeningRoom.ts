/**
 * How much room LevelDB needs to be opened anew after a failed write, and whether the disk has it. Asked before the old
 * handle is given up: it can still be read, and nothing can be when the new one does not come up.
 */
import { open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { dataFilesOf } from './files/directory';

/** A new log, CURRENT, the table that ends a file, blocks that are not filled. */
const BESIDES_BYTES = 2 ** 20;
const REWRITTEN = /\.log$|^MANIFEST-/;

/**
 * Opening writes what its logs hold into tables, and its MANIFEST anew. A table of very small records takes somewhat more
 * than their log, hence twice the size.
 *
 * @param batchBytes what is to be written right after
 * @returns bytes
 */
export async function roomToReopen(directory: string, batchBytes: number): Promise<number> {
  const names = (await dataFilesOf(directory)).filter((name) => REWRITTEN.test(name));
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).size));
  return 2 * sizes.reduce((sum, size) => sum + size, batchBytes) + BESIDES_BYTES;
}

/**
 * Takes the room and gives it back: what a file system calls free is not always to be had.
 * @throws Error of the system
 */
export async function probeRoom(directory: string, bytes: number): Promise<void> {
  // LevelDB leaves files alone whose names are not its own.
  const path = join(directory, 'write-probe');
  const file = await open(path, 'w');
  try {
    const block = Buffer.alloc(Math.min(bytes, BESIDES_BYTES));
    for (let left = bytes; left > 0; left -= block.length) await file.writeFile(block.subarray(0, left));
    await file.sync();
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}

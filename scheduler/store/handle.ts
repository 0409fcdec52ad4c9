/** Opening LevelDB, with messages that say what to do, and the lock that keeps everyone else off a store's files. */
import { Level } from 'level';

export type Handle = Level<string, string>;
export type TextOp = { type: 'put'; key: string; value: string } | { type: 'del'; key: string };

/** Keys beyond every key that begins with the prefix; keys are ASCII. */
export const END = '\uffff';

/** LevelDB itself says that its files are damaged. */
export class DamagedFilesError extends Error {}

/**
 * @param directory made if missing; locked by the open handle
 * @param named in errors
 * @param isShared whether other threads of this process may open it as well. Who has it open first closes it last: LevelDB goes by
 *   that one's cache.
 * @throws DamagedFilesError; Error naming the directory and `--data-dir` when it is locked or not accessible
 */
export async function openHandle(directory: string, named = directory, isShared = false): Promise<Handle> {
  const encodings = { keyEncoding: 'utf8', valueEncoding: 'utf8' } as const;
  const db: Handle = new Level<string, string>(directory, { ...encodings, multithreading: isShared });
  try {
    await db.open();
    return db;
  } catch (error) {
    const cause = (error as { cause?: unknown }).cause ?? error;
    if (codeOf(cause) === 'LEVEL_CORRUPTION') throw new DamagedFilesError(messageOf(cause), { cause });
    throw cannotOpen(named, cause);
  }
}

/**
 * All or nothing, and on the disk when the promise resolves. Told to LevelDB one by one, because its other way, an array,
 * takes five times as long.
 */
export async function writeBatch(db: Handle, ops: readonly TextOp[]): Promise<void> {
  const batch = db.batch();
  try {
    for (const op of ops) {
      if (op.type === 'put') batch.put(op.key, op.value);
      else batch.del(op.key);
    }
    await batch.write({ sync: true });
  } finally {
    await batch.close();
  }
}

/**
 * Keeps a store and all files beside it for this process until `release`, also against a kill -9: the kernel lets go
 * of the lock then. Node has no file locks of its own, LevelDB has; so an empty LevelDB is opened for its lock alone.
 * The store's own would not do: the files must be looked at, and perhaps exchanged, while it is not open.
 *
 * @param directory of the lock
 * @param named of the store, in errors
 * @throws Error naming `--data-dir` when another process has it, or the directory is not accessible
 */
export async function lockDirectory(directory: string, named: string): Promise<{ release(): Promise<void> }> {
  let lock: Handle;
  try {
    lock = await openHandle(directory, named);
  } catch (error) {
    if (codeOf((error as Error).cause) === 'LEVEL_LOCKED') throw error;
    // Perhaps damaged; there is nothing in it that could be lost. It takes the lock itself while it deletes.
    await (Level as unknown as { destroy(location: string): Promise<void> }).destroy(directory).catch(() => {});
    lock = await openHandle(directory, named);
  }
  return { release: () => lock.close() };
}

/** @param cause of LevelDB or of the system */
export function cannotOpen(directory: string, cause: unknown): Error {
  return new Error(`Cannot open the data directory ${directory}: ${reasonOf(cause)}`, { cause });
}

function reasonOf(cause: unknown): string {
  if (codeOf(cause) === 'LEVEL_LOCKED') {
    return 'another process holds its lock, most likely a scheduler that is still running; stop it, or give another directory with --data-dir';
  }
  return `${messageOf(cause)}; check that it can be written and has free space, or give another with --data-dir`;
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null | undefined)?.code;
}

export function messageOf(error: unknown): string {
  return String((error as { message?: unknown } | null)?.message ?? error);
}

/**
 * Reads a large store through on a thread of its own at a start: this one loads meanwhile what the scheduler needs, then makes records
 * of what is read. LevelDB is open once in this process; the thread has a handle to it as well until it has read it.
 */
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Asked, Told } from './readingThread';
import type { StateRecords } from './stateRecords';
import { Fingerprints } from './store/fingerprints';
import type { ReadStore, ReadThrough } from './store/reading';

/** A smaller store is read before a thread has begun. */
const WORTH_BYTES = 4 * 2 ** 20;

export interface ReadingThread {
  read: ReadThrough<StateRecords>;
  end(): Promise<void>;
}

/** @returns null where it is not worth it */
export async function readingThreadFor(directory: string): Promise<ReadingThread | null> {
  if ((await bytesIn(directory)) < WORTH_BYTES) return null;
  const thread = new Worker(path.join(__dirname, 'readingThread.js'), { execArgv: [] });
  // Told where it is waited for.
  thread.on('error', () => {});
  return {
    read: (db, records) => readOn(thread, db.location, records),
    async end() {
      await thread.terminate();
    },
  };
}

/** @throws Error of the thread, also when it has ended */
function readOn(thread: Worker, directory: string, records: StateRecords): Promise<ReadStore> {
  const ask = (asked: Asked): void => thread.postMessage(asked);
  return new Promise<ReadStore>((resolve, reject) => {
    const onMessage = (told: Told): void => {
      if (told.kind === 'records') {
        ask({ kind: 'taken' });
        records.takePacked(told.packed);
        return;
      }
      thread.off('message', onMessage).off('error', reject).off('exit', onExit);
      records.takeHistory(told.history);
      resolve({ reading: told.reading, fingerprints: new Fingerprints(told.fingerprints) });
    };
    const onExit = (): void => reject(new Error('the thread that read the store has ended'));
    thread.on('message', onMessage).on('error', reject).on('exit', onExit);
    ask({ kind: 'read', directory });
  });
}

/** 0 when there is none. */
async function bytesIn(directory: string): Promise<number> {
  const names = await readdir(directory).catch(() => []);
  const sizes = names.map((name) =>
    stat(path.join(directory, name)).then(
      ({ size }) => size,
      () => 0,
    ),
  );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

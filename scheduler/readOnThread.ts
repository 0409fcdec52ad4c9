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
import { messageOf } from './store/handle';
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
  const ended = new Promise<never>((_resolve, reject) => {
    thread.on('error', reject).on('exit', () => reject(new Error('the thread that reads the store has ended')));
  });
  // Nobody may be waiting for it.
  ended.catch(() => {});
  return {
    read: (db, records) => Promise.race([readOn(thread, db.location, records), ended]),
    async end() {
      await thread.terminate();
    },
  };
}

function readOn(thread: Worker, directory: string, records: StateRecords): Promise<ReadStore> {
  const ask = (asked: Asked): void => thread.postMessage(asked);
  return new Promise((resolve) => {
    let error: string | null = null;
    const onMessage = (told: Told): void => {
      if (told.kind === 'records') {
        ask({ kind: 'taken' });
        error ??= errorOf(() => records.takePacked(told.packed));
        return;
      }
      thread.off('message', onMessage);
      records.takeHistory(told.history);
      const { reading, fingerprints } = told;
      resolve({
        reading: { ...reading, error: reading.error ?? error },
        fingerprints: new Fingerprints(fingerprints),
      });
    };
    thread.on('message', onMessage);
    ask({ kind: 'read', directory });
  });
}

/** What cannot be taken in is found where the store is judged, as where one thread reads it. */
function errorOf(take: () => void): string | null {
  try {
    take();
    return null;
  } catch (error) {
    return messageOf(error);
  }
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

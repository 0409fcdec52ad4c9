/**
 * Reads a whole store through at its opening, record by record, with every check there is. What is made of the records is made of
 * them as they pass: reading a large store takes most of a start.
 */
import type { BatchEntry } from './batchEntries';
import type { Reading } from './damage';
import { Fingerprints } from './fingerprints';
import { END, type Handle, messageOf } from './handle';
import { FIRST_KEY, numberOfBatch, prefixes } from './keys';
import { CHECK_LENGTH, decodeValue, soundCheckOfText } from './values';

const AT_ONCE = 2_000;
const BYTES_AT_ONCE = 1024 * 1024;

/** Is given all sound records, the store's own apart. */
export interface RecordsReader {
  /** Those with this prefix come after all others. */
  readonly last: string;
  /** @param start where in the text the JSON begins */
  take(key: string, text: string, start: number): void;
  /** Some have been given. More follow when it resolves. */
  passed?(): Promise<void>;
}

export interface ReadStore {
  reading: Reading;
  fingerprints: Fingerprints;
}

/** @param db of its own, or of another thread */
export type ReadThrough<R> = (db: Handle, reader: R) => Promise<ReadStore>;

export async function readThrough(db: Handle, reader: RecordsReader | null = null): Promise<ReadStore> {
  const batches: [number, BatchEntry][] = [];
  const unreadable: string[] = [];
  let fingerprints = new Fingerprints();
  let error: string | null = null;
  try {
    await readRange(db, { gte: '', lt: FIRST_KEY }, (key, text) => {
      const number = numberOfBatch(key);
      if (number === undefined || soundCheckOfText(key, text) === null) unreadable.push(key);
      else batches.push([number, JSON.parse(decodeValue(key, text)) as BatchEntry]);
    });
    fingerprints = new Fingerprints(batches.at(-1)?.[1].count);
    const takeRecord = (key: string, text: string): void => {
      const check = soundCheckOfText(key, text);
      if (check === null) {
        unreadable.push(key);
        return;
      }
      fingerprints.put(key, check);
      reader?.take(key, text, CHECK_LENGTH);
    };
    const last = reader?.last ?? prefixes.instance;
    const passed = async (): Promise<void> => reader?.passed?.();
    await readRange(db, { gte: FIRST_KEY, lt: last }, takeRecord, passed);
    await readRange(db, { gte: last + END }, takeRecord, passed);
    await readRange(db, { gte: last, lt: last + END }, takeRecord, passed);
  } catch (cause) {
    error = messageOf(cause);
  }
  return { reading: { digest: fingerprints.digest, batches, unreadable, error }, fingerprints };
}

/** The next records are read on another thread while those before them are looked at. */
async function readRange(
  db: Handle,
  range: { gte: string; lt?: string },
  take: (key: string, text: string) => void,
  passed?: () => Promise<void>,
): Promise<void> {
  const iterator = db.iterator({ ...range, fillCache: false, highWaterMarkBytes: BYTES_AT_ONCE });
  try {
    let entries = await iterator.nextv(AT_ONCE);
    while (entries.length > 0) {
      const next = iterator.nextv(AT_ONCE);
      // Should what follows throw, nobody is left to wait for it.
      next.catch(() => {});
      for (const [key, text] of entries) take(key, text);
      await passed?.();
      entries = await next;
    }
  } finally {
    await iterator.close();
  }
}

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

/** In the order of their keys. */
export type ReadRecords = readonly (readonly [key: string, text: string])[];

/** Is given all sound records, the store's own apart. */
export interface RecordsReader {
  /** Those with this prefix come after all others. */
  readonly last: string;
  /**
   * Some of them; more follow when it is done.
   * @param start where in the texts the JSON begins
   */
  take(records: ReadRecords, start: number): Promise<void> | void;
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
    await readRange(db, { gte: '', lt: FIRST_KEY }, (records) => {
      for (const [key, text] of records) {
        const number = numberOfBatch(key);
        if (number === undefined || soundCheckOfText(key, text) === null) unreadable.push(key);
        else batches.push([number, JSON.parse(decodeValue(key, text)) as BatchEntry]);
      }
    });
    fingerprints = new Fingerprints(batches.at(-1)?.[1].count);
    const last = reader?.last ?? prefixes.instance;
    for (const range of [{ gte: FIRST_KEY, lt: last }, { gte: last + END }, { gte: last, lt: last + END }])
      await readRange(db, range, (records) => {
        const lost = enterSound(records, fingerprints);
        unreadable.push(...lost);
        const isLost = new Set(lost);
        return reader?.take(lost.length === 0 ? records : records.filter(([key]) => !isLost.has(key)), CHECK_LENGTH);
      });
  } catch (cause) {
    error = messageOf(cause);
  }
  return { reading: { digest: fingerprints.digest, batches, unreadable, error }, fingerprints };
}

/**
 * Apart from what is made of the records, which is another thing for each kind of them: V8 would compile the one anew with the other.
 * @returns keys of those that fail their check
 */
function enterSound(records: ReadRecords, fingerprints: Fingerprints): string[] {
  const lost: string[] = [];
  for (const [key, text] of records) {
    const check = soundCheckOfText(key, text);
    if (check === null) lost.push(key);
    else fingerprints.put(key, check);
  }
  return lost;
}

/** The next records are read on another thread while those before them are looked at. */
async function readRange(
  db: Handle,
  range: { gte: string; lt?: string },
  take: (records: ReadRecords) => Promise<void> | void,
): Promise<void> {
  const iterator = db.iterator({ ...range, fillCache: false, highWaterMarkBytes: BYTES_AT_ONCE });
  try {
    let entries = await iterator.nextv(AT_ONCE);
    while (entries.length > 0) {
      const next = iterator.nextv(AT_ONCE);
      // Should what follows throw, nobody is left to wait for it.
      next.catch(() => {});
      await take(entries);
      entries = await next;
    }
  } finally {
    await iterator.close();
  }
}

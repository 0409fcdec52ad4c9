/** The LevelDB store as it was at one moment, for backups. */
import type { BatchEntry } from './batchEntries';
import { addCheck, emptyDigest } from './fingerprints';
import { END, type Handle } from './handle';
import { FIRST_KEY, numberOfBatch, prefixes } from './keys';
import type { StoreSnapshot } from './store';
import { checkOf, decodeValue } from './values';

const BYTES_AT_ONCE = 256 * 1024;

export async function openSnapshot(db: Handle): Promise<StoreSnapshot> {
  // Taken at once: what is written from here on is not in it.
  const snapshot = db.snapshot();
  const here = { snapshot, highWaterMarkBytes: BYTES_AT_ONCE };
  const batches = { gte: prefixes.batch, lt: prefixes.batch + END, reverse: true, limit: 1 };
  const [last] = await db.iterator({ ...here, ...batches }).all();
  const expected = last === undefined ? emptyDigest() : (JSON.parse(decodeValue(...last)) as BatchEntry);

  async function get(key: string): Promise<unknown> {
    const text = await db.get(key, here);
    return text === undefined ? undefined : JSON.parse(decodeValue(key, text));
  }

  async function* entries(): AsyncGenerator<[key: string, json: string]> {
    const digest = emptyDigest();
    for await (const [key, text] of db.iterator({ ...here, gte: FIRST_KEY })) {
      const json = decodeValue(key, text);
      addCheck(digest, checkOf(key, json));
      yield [key, json];
    }
    if (digest.count === expected.count && digest.sum === expected.sum) return;
    throw new Error(
      `The store is damaged: ${digest.count} records could be read where there ought to be ${expected.count}`,
    );
  }

  const mark = last === undefined ? 0 : numberOfBatch(last[0])!;
  return { mark, get, entries, close: () => snapshot.close() };
}

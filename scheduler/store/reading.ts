/** Reads a whole store through at its opening, record by record, with every check there is. */
import type { BatchEntry } from './batchEntries';
import type { Reading } from './damage';
import { Fingerprints } from './fingerprints';
import { type Handle, messageOf } from './handle';
import { numberOfBatch } from './keys';
import { decodeValue, soundCheckOf } from './values';

const AT_ONCE = 1_000;
const BYTES_AT_ONCE = 1024 * 1024;

export async function readThrough(db: Handle): Promise<{ reading: Reading; fingerprints: Fingerprints }> {
  const fingerprints = new Fingerprints();
  const batches: [number, BatchEntry][] = [];
  const unreadable: string[] = [];
  let error: string | null = null;
  const iterator = db.iterator<string, Buffer>({ valueEncoding: 'buffer', highWaterMarkBytes: BYTES_AT_ONCE });
  try {
    for (;;) {
      const entries = await iterator.nextv(AT_ONCE);
      if (entries.length === 0) break;
      for (const [key, value] of entries) {
        const check = soundCheckOf(key, value);
        const number = numberOfBatch(key);
        if (check === null) unreadable.push(key);
        else if (number === undefined) fingerprints.put(key, check);
        else batches.push([number, JSON.parse(decodeValue(key, value.toString())) as BatchEntry]);
      }
    }
  } catch (cause) {
    error = messageOf(cause);
  } finally {
    await iterator.close();
  }
  return { reading: { digest: fingerprints.digest, batches, unreadable, error }, fingerprints };
}

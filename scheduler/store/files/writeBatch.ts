/** The operations in one record of a write-ahead log (db/write_batch.cc of LevelDB). */
import { ByteReader, MalformedError, readUint56 } from './byteReader';

const HEADER = 12;
const DELETE = 0;
const PUT = 1;

export interface FileEntry {
  key: string;
  /** LevelDB's own sequence number: of two entries of a key the greater one counts. */
  seq: number;
  /** undefined: the key was deleted. */
  value: Buffer | undefined;
}

/** @returns the sequence number of its first operation, as it says itself; undefined where there is no batch */
export function seqOfBatch(record: Buffer): number | undefined {
  return record.length < HEADER ? undefined : readUint56(record, 0);
}

/** Operations up to the first place that has not the form of one. */
export function* entriesOfBatch(record: Buffer, firstSeq: number): Generator<FileEntry> {
  const reader = new ByteReader(record.subarray(HEADER));
  try {
    for (let seq = firstSeq; reader.left > 0; seq++) {
      const type = reader.byte();
      if (type !== PUT && type !== DELETE) return;
      const key = reader.lengthPrefixed().toString();
      yield { key, seq, value: type === PUT ? reader.lengthPrefixed() : undefined };
    }
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
  }
}

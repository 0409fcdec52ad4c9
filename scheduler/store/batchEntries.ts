/**
 * The store's own journal: each batch carries an entry with its number, numbers have no gap, and of what went before so
 * many entries are kept that all of LevelDB's log files are covered. A lost part of a log is then missing here.
 */
import type { Digest } from './fingerprints';
import type { TextOp } from './handle';
import { keys } from './keys';
import { checkOf, encodeValue } from './values';

/** Two write buffers of 4 MiB and the batches on top of them can be in logs alone; twice that. */
const KEPT_BYTES = 16 * 1024 * 1024;
/** What goes in one batch, so that it does not become long after a batch of great size. */
const TRIMMED_AT_ONCE = 1_000;
/** From one beginning anew to the next; far more than what is written between a backup and its restoration. */
const AHEAD = 2 ** 32;

export interface BatchEntry extends Digest {
  /** Number of the oldest entry from which on none may be missing. */
  first: number;
  /** Of its operations, about. */
  bytes: number;
}

export interface NextBatch {
  number: number;
  entry: BatchEntry;
  /** Deletes of entries that are not needed any more. */
  trims: TextOp[];
  /** The batch is durable. */
  commit(): void;
}

/** What the number after `number` is for a store that has lost batches, so that it exceeds all that were lost. */
export function beginAnewAfter(number: number): number {
  return (Math.floor(number / AHEAD) + 1) * AHEAD;
}

export function batchOp(number: number, entry: BatchEntry): TextOp {
  const key = keys.batch(number);
  const json = JSON.stringify(entry);
  return { type: 'put', key, value: encodeValue(checkOf(key, json), json) };
}

export class BatchEntries {
  /** Oldest first, the first `#gone` of them deleted. */
  #kept: { number: number; bytes: number }[];
  #gone = 0;
  #keptBytes: number;
  #last: number;
  #first: number;
  #beginAnew = false;

  /** @param found the entries in the store, in their order */
  constructor(found: readonly (readonly [number: number, entry: BatchEntry])[] = []) {
    this.#kept = found.map(([number, { bytes }]) => ({ number, bytes }));
    this.#keptBytes = this.#kept.reduce((sum, { bytes }) => sum + bytes, 0);
    const [number, entry] = found.at(-1) ?? [0, { first: 1 }];
    this.#last = number;
    this.#first = entry.first;
  }

  /** Number of the last durable batch; 0 before the first. */
  get last(): number {
    return this.#last;
  }

  skipAhead(): void {
    this.#beginAnew = true;
  }

  next(bytes: number, digest: Digest): NextBatch {
    const number = this.#beginAnew ? beginAnewAfter(this.#last) : this.#last + 1;
    let end = this.#gone;
    let keptBytes = this.#keptBytes + bytes;
    for (; end < this.#kept.length && end - this.#gone < TRIMMED_AT_ONCE; end++) {
      if (keptBytes - this.#kept[end]!.bytes < KEPT_BYTES) break;
      keptBytes -= this.#kept[end]!.bytes;
    }
    const trims = this.#kept
      .slice(this.#gone, end)
      .map((gone): TextOp => ({ type: 'del', key: keys.batch(gone.number) }));
    const oldest = this.#kept[end]?.number ?? number;
    const first = this.#beginAnew ? number : Math.max(this.#first, oldest);
    const commit = (): void => {
      this.#kept.push({ number, bytes });
      this.#gone = end;
      // Not at every batch, because it moves all that are kept.
      if (end > this.#kept.length / 2) {
        this.#kept = this.#kept.slice(end);
        this.#gone = 0;
      }
      this.#keptBytes = keptBytes;
      this.#last = number;
      this.#first = first;
      this.#beginAnew = false;
    };
    return { number, entry: { first, bytes, ...digest }, trims, commit };
  }
}

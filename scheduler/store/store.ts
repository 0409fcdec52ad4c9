/**
 * Where the scheduler's state lives: an ordered map from string keys to JSON values. Three implementations:
 * level.ts (embedded), memory.ts (tests), failing.ts (tests of what a store that says no does).
 * One contract suite runs against each.
 */

export type StoreOp = { type: 'put'; key: string; value: unknown } | { type: 'del'; key: string };

export interface RangeOptions {
  /** Keys strictly greater than this one (strictly smaller with `reverse`). */
  after?: string;
  limit?: number;
  reverse?: boolean;
}

/** The store as it was at one moment, whatever is written meanwhile. */
export interface StoreSnapshot {
  /** Number of the last batch that is in it. */
  readonly mark: number;

  get(key: string): Promise<unknown>;

  /**
   * All records in key order, values as JSON text.
   * @throws Error at the end when they are not all that there ought to be
   */
  entries(): AsyncIterable<[key: string, json: string]>;

  close(): Promise<void>;
}

export interface Store {
  readonly kind: string;

  /**
   * Number of the last acknowledged batch: 0 before the first, rises with each, also over restarts. Whoever was told a
   * greater one knows of something that this store has lost.
   */
  readonly mark: number;

  /** Why the mark could not be kept outside the store; null when it could. Nothing but the finding of damage depends on it. */
  readonly markProblem: string | null;

  /** The next batch gets a number beyond all that this store can ever have told, for one that has lost some. */
  skipAhead(): void;

  /**
   * Applies all or nothing; durable (synced to disk) when the promise resolves. Calls may overlap; they take
   * effect in the order of the calls.
   * @throws MorchError STORE_UNWRITABLE, with the system's error as cause; then nothing of the batch counts
   */
  write(ops: readonly StoreOp[]): Promise<void>;

  /** @throws Error naming the key when its value fails its check; so does `range` */
  get(key: string): Promise<unknown>;

  /** Entries whose key begins with `prefix`, in key order. */
  range(prefix: string, options?: RangeOptions): AsyncIterable<[key: string, value: unknown]>;

  snapshot(): Promise<StoreSnapshot>;

  close(): Promise<void>;
}

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

export interface Store {
  readonly kind: string;

  /**
   * Applies all or nothing; durable (synced to disk) when the promise resolves. Calls may overlap; they take
   * effect in the order of the calls.
   * @throws MorchError STORE_UNWRITABLE, with the system's error as cause; then nothing of the batch counts
   */
  write(ops: readonly StoreOp[]): Promise<void>;

  get(key: string): Promise<unknown>;

  /** Entries whose key begins with `prefix`, in key order. */
  range(prefix: string, options?: RangeOptions): AsyncIterable<[key: string, value: unknown]>;

  close(): Promise<void>;
}

/** A store that lives in memory only: for tests of what stands on a store. Keys are ordered as in LevelDB as long as they are ASCII. */
import { MorchError } from '../../contract/errors';
import { beginAnewAfter } from './batchEntries';
import type { RangeOptions, Store, StoreOp, StoreSnapshot } from './store';

export function openMemoryStore(): Store {
  return new MemoryStore();
}

class MemoryStore implements Store {
  readonly kind = 'memory';
  readonly markProblem = null;
  mark = 0;
  /** Values as JSON text, so that nobody shares an object with the store. */
  readonly #texts = new Map<string, string>();
  #sorted: string[] | undefined;
  #closed = false;
  #beginAnew = false;

  skipAhead(): void {
    this.#beginAnew = true;
  }

  async write(ops: readonly StoreOp[]): Promise<void> {
    if (this.#closed) throw new MorchError('STORE_UNWRITABLE', 'The store is closed');
    const texts = ops.map((op) => (op.type === 'put' ? jsonOf(op.key, op.value) : undefined));
    if (ops.length === 0) return;
    this.mark = this.#beginAnew ? beginAnewAfter(this.mark) : this.mark + 1;
    this.#beginAnew = false;
    for (const [i, op] of ops.entries()) {
      const text = texts[i];
      if (text === undefined ? this.#texts.delete(op.key) : !this.#texts.has(op.key)) this.#sorted = undefined;
      if (text !== undefined) this.#texts.set(op.key, text);
    }
  }

  async get(key: string): Promise<unknown> {
    const text = this.#texts.get(key);
    return text === undefined ? undefined : JSON.parse(text);
  }

  async *range(prefix: string, options: RangeOptions = {}): AsyncGenerator<[key: string, value: unknown]> {
    const { after, limit = Number.POSITIVE_INFINITY, reverse = false } = options;
    this.#sorted ??= [...this.#texts.keys()].sort();
    const from = lowerBound(this.#sorted, prefix);
    let keys = this.#sorted.slice(from, lowerBound(this.#sorted, `${prefix}\uffff`));
    if (reverse) keys.reverse();
    if (after !== undefined) keys = keys.filter((key) => (reverse ? key < after : key > after));
    const entries = keys.slice(0, limit).map((key) => [key, this.#texts.get(key)!] as const);
    for (const [key, text] of entries) yield [key, JSON.parse(text)];
  }

  async snapshot(): Promise<StoreSnapshot> {
    const texts = new Map(this.#texts);
    return {
      mark: this.mark,
      get: async (key) => (texts.has(key) ? JSON.parse(texts.get(key)!) : undefined),
      entries: async function* () {
        yield* [...texts].sort(([a], [b]) => (a < b ? -1 : 1));
      },
      close: async () => {},
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
  }
}

function jsonOf(key: string, value: unknown): string {
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) throw new TypeError(`The value of ${key} has no JSON form`);
  return text;
}

/** Index of the first key that is not less than `key`. */
function lowerBound(sorted: readonly string[], key: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A store that says no on demand: for tests of what becomes of requests and decisions that cannot be made durable. */
import { MorchError } from '../../contract/errors';
import type { RangeOptions, Store, StoreOp, StoreSnapshot } from './store';

export class FailingStore implements Store {
  readonly #inner: Store;
  #failure: Error | undefined;
  #failuresLeft = 0;
  #gate: { promise: Promise<void>; open: () => void } | undefined;

  constructor(inner: Store) {
    this.#inner = inner;
  }

  get kind(): string {
    return this.#inner.kind;
  }

  get mark(): number {
    return this.#inner.mark;
  }

  get markProblem(): string | null {
    return this.#inner.markProblem;
  }

  skipAhead(): void {
    this.#inner.skipAhead();
  }

  /** The next `times` writes fail and leave nothing behind; by default all until `heal`. */
  failWrites(times = Number.POSITIVE_INFINITY, cause: Error = new Error('ENOSPC: no space left on device, write')) {
    this.#failure = cause;
    this.#failuresLeft = times;
  }

  heal(): void {
    this.#failuresLeft = 0;
  }

  /** Writes wait, in the order they came, until `releaseWrites`. */
  holdWrites(): void {
    if (this.#gate !== undefined) return;
    let open = () => {};
    const promise = new Promise<void>((resolve) => {
      open = resolve;
    });
    this.#gate = { promise, open };
  }

  releaseWrites(): void {
    this.#gate?.open();
    this.#gate = undefined;
  }

  async write(ops: readonly StoreOp[]): Promise<void> {
    // Taken now: the values count as they are at the time of the call.
    const copy = structuredClone(ops) as StoreOp[];
    if (this.#gate !== undefined) await this.#gate.promise;
    if (this.#failuresLeft > 0) {
      this.#failuresLeft -= 1;
      throw new MorchError('STORE_UNWRITABLE', `The store cannot be written: ${this.#failure?.message}`, {
        cause: this.#failure,
      });
    }
    await this.#inner.write(copy);
  }

  get(key: string): Promise<unknown> {
    return this.#inner.get(key);
  }

  range(prefix: string, options?: RangeOptions): AsyncIterable<[key: string, value: unknown]> {
    return this.#inner.range(prefix, options);
  }

  snapshot(): Promise<StoreSnapshot> {
    return this.#inner.snapshot();
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

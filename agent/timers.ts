/** Timers for what setTimeout alone cannot do: waits of more than 24.8 days, and a promise with a limit. */

/** setTimeout fires at once for anything longer. */
const LONGEST_MS = 2 ** 31 - 1;

/** @returns cancels it; harmless once it has fired */
export function startTimer(delayMs: number, fire: () => void): () => void {
  let remainingMs = delayMs;
  let timer: NodeJS.Timeout;
  const step = () => {
    const ms = Math.min(remainingMs, LONGEST_MS);
    remainingMs -= ms;
    timer = setTimeout(remainingMs > 0 ? step : fire, ms);
  };
  step();
  return () => clearTimeout(timer);
}

/** Whether `promise` is fulfilled within the time; rejects if it does. */
export async function isDoneWithin(promise: Promise<unknown>, limitMs: number): Promise<boolean> {
  let cancel = () => {};
  const late = new Promise<false>((resolve) => {
    cancel = startTimer(limitMs, () => resolve(false));
  });
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    cancel();
  }
}

export function sleep(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    startTimer(delayMs, resolve);
  });
}

/** A promise settled from outside. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
}

export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((res, rej) => {
    resolve = res;
    reject = rej;
  });
  return { promise, resolve, reject };
}

/** Lets `width` tasks run at a time, in the order they came. */
export class Gate {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(width: number) {
    this.#free = width;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}

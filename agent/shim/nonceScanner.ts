/**
 * Finds a run's processes by the nonce in their environment, whatever group or session they have moved to. One
 * look through /proc serves everyone who waits, and looks are spaced so that they take a quarter of a core at most.
 */
import type { Native } from '../native/index';
import type { ProcessId } from '../processStat';
import { type Deferred, deferred, sleep } from '../timers';

/** Pause after a look, in multiples of its duration. */
const PAUSE_FACTOR = 3;
/** Looks shorter than this need no pause. */
const CHEAP_LOOK_MS = 2;

export class NonceScanner {
  #waiting = new Map<string, Deferred<ProcessId[]>>();
  #looking = false;

  constructor(private readonly native: Pick<Native, 'findByNonce'>) {}

  /** The live processes with this nonce, by a look that began after the call. */
  find(nonce: string): Promise<ProcessId[]> {
    let waiter = this.#waiting.get(nonce);
    if (waiter === undefined) {
      waiter = deferred();
      this.#waiting.set(nonce, waiter);
    }
    if (!this.#looking) void this.#look();
    return waiter.promise;
  }

  async #look(): Promise<void> {
    this.#looking = true;
    await Promise.resolve(); // whoever asks in the same tick joins
    while (this.#waiting.size > 0) {
      const served = this.#waiting;
      this.#waiting = new Map();
      const beganMs = performance.now();
      await this.#serve(served);
      const tookMs = performance.now() - beganMs;
      if (this.#waiting.size > 0 && tookMs > CHEAP_LOOK_MS) await sleep(tookMs * PAUSE_FACTOR);
    }
    this.#looking = false;
  }

  async #serve(served: Map<string, Deferred<ProcessId[]>>): Promise<void> {
    try {
      const found = await this.native.findByNonce([...served.keys()]);
      const byNonce = new Map<string, ProcessId[]>([...served.keys()].map((nonce) => [nonce, []]));
      for (const { nonce, pid, startTicks } of found) byNonce.get(nonce)?.push({ pid, startTicks });
      for (const [nonce, waiter] of served) waiter.resolve(byNonce.get(nonce) ?? []);
    } catch (error) {
      for (const waiter of served.values()) waiter.reject(error);
    }
  }
}

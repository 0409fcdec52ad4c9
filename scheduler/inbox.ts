/**
 * What agents tell of their instances, a share of each turn of the event loop: thousands of messages may come in one, and
 * heartbeats, answers and requests are not to wait for them all. Each sender's are taken in their order.
 */
import { performance } from 'node:perf_hooks';

/** Of the event loop, in one turn. */
const TURN_MS = 8;

type Take = (text: string) => void;

export class Inbox {
  /** By who is to take them. */
  readonly #waiting = new Map<Take, string[]>();
  /** What was taken in this turn. */
  #spentMs = 0;
  #turn: NodeJS.Immediate | null = null;

  /** It is taken at once, if there is time left in this turn; `take` must not throw. */
  put(take: Take, text: string): void {
    const before = this.#waiting.get(take);
    if (before !== undefined) before.push(text);
    else if (this.#spentMs < TURN_MS) this.#take(take, text);
    else this.#waiting.set(take, [text]);
    this.#turn ??= setImmediate(() => this.#nextTurn());
  }

  /** Takes what waits of this one, before something else of it is. */
  flush(take: Take): void {
    const texts = this.#waiting.get(take) ?? [];
    this.#waiting.delete(take);
    for (const text of texts) take(text);
  }

  #nextTurn(): void {
    this.#spentMs = 0;
    for (const [take, texts] of this.#waiting) {
      // All of one at once: they are few of many.
      this.#waiting.delete(take);
      for (const text of texts) this.#take(take, text);
      if (this.#spentMs >= TURN_MS) break;
    }
    this.#turn = this.#waiting.size > 0 || this.#spentMs > 0 ? setImmediate(() => this.#nextTurn()) : null;
  }

  #take(take: Take, text: string): void {
    const startedMs = performance.now();
    take(text);
    this.#spentMs += performance.now() - startedMs;
  }
}

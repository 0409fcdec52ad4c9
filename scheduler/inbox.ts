/**
 * What agents tell, a share of each turn of the event loop: thousands of messages may come in one, and heartbeats, answers and
 * requests are not to wait for them all. Each sender's are taken in their order.
 */
import { Lane, type ShareName } from './lane';

type Take = (text: string) => void;

export class Inbox {
  /** By who is to take them. */
  readonly #waiting = new Map<Take, string[]>();
  readonly #lane: Lane;

  constructor(share: ShareName) {
    this.#lane = new Lane(share);
  }

  /** It is taken at once, if there is time left in this turn; `take` must not throw. */
  put(take: Take, text: string): void {
    const before = this.#waiting.get(take);
    if (before !== undefined) {
      before.push(text);
      return;
    }
    this.#waiting.set(take, [text]);
    // All of one at once: they are few of many.
    this.#lane.put(() => this.flush(take));
  }

  /** Takes what waits of this one, before something else of it is. */
  flush(take: Take): void {
    const texts = this.#waiting.get(take) ?? [];
    this.#waiting.delete(take);
    for (const text of texts) take(text);
  }
}

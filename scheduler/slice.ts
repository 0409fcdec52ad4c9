/** A share of the event loop's time: who has much to do ends when it is over, and goes on in a later turn. */
export class Slice {
  readonly #endsAtMs: number;

  /** @param ms from now on */
  constructor(ms: number) {
    this.#endsAtMs = performance.now() + ms;
  }

  get isOver(): boolean {
    return performance.now() >= this.#endsAtMs;
  }
}

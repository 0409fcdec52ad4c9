/** How many requests of one caller are taken in a second, and of strangers at one address. */
import { MorchError } from '../contract/errors';

/** Of an address, with no credential or with one that is not good: of open routes, and again so many that are refused. */
const STRANGERS_PER_SECOND = 500;

export class RequestRate {
  #second = 0;
  /** By caller, in this second. */
  readonly #counts = new Map<string, number>();

  /** @param most in a second; 0: any number */
  constructor(private readonly most: number) {}

  /**
   * Counts one request.
   *
   * @param caller a token, or an address
   * @throws MorchError TOO_MANY_REQUESTS: nothing is to be done for it
   */
  take(caller: string, nowMs = Date.now()): void {
    if (this.most === 0) return;
    const second = Math.floor(nowMs / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#counts.clear();
    }
    const count = (this.#counts.get(caller) ?? 0) + 1;
    this.#counts.set(caller, count);
    if (count <= this.most) return;
    const detail = `More than ${this.most} requests came within a second; this one was not looked at. Try again in a second.`;
    throw new MorchError('TOO_MANY_REQUESTS', detail);
  }
}

/** Strangers at one address may be many: those who ask for what is refused take nothing from the probes beside them. */
export class RatesOfStrangers {
  /** Of routes that are open to everybody. */
  readonly open = new RequestRate(STRANGERS_PER_SECOND);
  readonly refused = new RequestRate(STRANGERS_PER_SECOND);
}

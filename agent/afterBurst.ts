/** Tells when a burst of changes is over: the memory that many starts or ends at once have taken can be given back then. */

/** So many changes make a burst. */
const BURST = 100;
const QUIET_MS = 10_000;
const TRIES = 6;

export class AfterBurst {
  #changes = 0;
  #tries = 0;
  #timer: NodeJS.Timeout | null = null;

  /**
   * @param act called when none of many changes is younger than `quietMs`; returns whether that has done it, else it is called
   *   again, so much later, and some times at most
   */
  constructor(
    private readonly act: () => boolean,
    private readonly quietMs = QUIET_MS,
  ) {}

  note(): void {
    this.#changes += 1;
    if (this.#timer !== null) this.#timer.refresh();
    else if (this.#changes >= BURST) this.#timer = setTimeout(() => this.#end(), this.quietMs).unref();
  }

  #end(): void {
    this.#changes = 0;
    this.#tries += 1;
    if (this.act() || this.#tries === TRIES) {
      this.#tries = 0;
      this.#timer = null;
    } else this.#timer = setTimeout(() => this.#end(), this.quietMs).unref();
  }
}

/** Tells when a burst of changes is over: the memory that many starts or ends at once have taken can be given back then. */

/** So many changes make a burst. */
const BURST = 100;
const QUIET_MS = 10_000;

export class AfterBurst {
  #changes = 0;
  #timer: NodeJS.Timeout | null = null;

  /** @param act called when none of many changes is younger than `quietMs` */
  constructor(
    private readonly act: () => void,
    private readonly quietMs = QUIET_MS,
  ) {}

  note(): void {
    this.#changes += 1;
    if (this.#timer !== null) this.#timer.refresh();
    else if (this.#changes >= BURST) this.#timer = setTimeout(() => this.#end(), this.quietMs).unref();
  }

  #end(): void {
    this.#changes = 0;
    this.#timer = null;
    this.act();
  }
}

/**
 * The event loop's time, shared out: work of several kinds, each in a lane of its own and in its order, and of all lanes of a
 * share so much in one turn as leaves others theirs. What comes when there is time is done at once.
 */
import { performance } from 'node:perf_hooks';
import { setImmediate as nextImmediate } from 'node:timers/promises';

/** For one lane, before another has its turn. */
const LANE_MS = 4;

export class Share {
  /** Lanes in which something waits, the next one first. */
  readonly #waiting = new Set<Lane>();
  /** What was done in this turn. */
  #spentMs = 0;
  #isWorking = false;
  #heldUp = 0;
  #turn: NodeJS.Immediate | null = null;

  /** @param turnMs in one turn of the event loop: what is under way when it is over is the last */
  constructor(private readonly turnMs: number) {}

  get isSpent(): boolean {
    return this.#heldUp > 0 || this.#spentMs >= this.turnMs;
  }

  holdUp(until: Promise<unknown>): void {
    this.#heldUp += 1;
    const goOn = (): void => {
      this.#heldUp -= 1;
      if (this.#waiting.size > 0) this.#comeAgain();
    };
    until.then(goOn, goOn);
  }

  work(work: () => void): void {
    this.#comeAgain();
    if (this.#isWorking) {
      work();
      return;
    }
    const startedMs = performance.now();
    this.#isWorking = true;
    try {
      work();
    } finally {
      this.#isWorking = false;
      this.#spentMs += performance.now() - startedMs;
    }
  }

  enlist(lane: Lane): void {
    this.#waiting.add(lane);
    this.#comeAgain();
  }

  #comeAgain(): void {
    this.#turn ??= setImmediate(() => this.#nextTurn());
  }

  /** What was done at once in this turn counts, but something of what waits is done in each. */
  #nextTurn(): void {
    this.#turn = null;
    try {
      if (this.#heldUp === 0) this.#takeTurns();
    } finally {
      this.#spentMs = 0;
      if (this.#waiting.size > 0 && this.#heldUp === 0) this.#comeAgain();
    }
  }

  #takeTurns(): void {
    const lanes = [...this.#waiting];
    for (const lane of lanes) lane.beginTurn();
    for (let lane = lanes.shift(); lane !== undefined; lane = lanes.shift()) {
      // Whoever has had its turn comes last, in the next one as well.
      this.#waiting.delete(lane);
      if (lane.workOn(this.#spentMs + LANE_MS)) lanes.push(lane);
      if (lane.isWaiting) this.#waiting.add(lane);
      if (this.isSpent) return;
    }
  }

  get spentMs(): number {
    return this.#spentMs;
  }
}

/** Verdicts and pings do not wait for what users want. */
const SHARES = { links: new Share(10), common: new Share(8) };
export type ShareName = keyof typeof SHARES;

/**
 * Resolves in a turn of its own, for what takes long in one piece: nothing is done of any lane before what awaits it has had
 * that turn. What is put off by one callback may come in the turn that it is in; what that puts off has the next one.
 */
export async function ownTurn(): Promise<void> {
  const isOver = (async () => {
    for (let turn = 0; turn < 3; turn++) await nextImmediate();
  })();
  for (const share of Object.values(SHARES)) share.holdUp(isOver);
  await nextImmediate();
  await nextImmediate();
}

/** What is under way is the last that is done of that share until the promise settles. */
export function holdUp(share: ShareName, until: Promise<unknown>): void {
  SHARES[share].holdUp(until);
}

export class Lane {
  #works: (() => void)[] = [];
  /** How many of them are done. */
  #done = 0;
  /** How many of the next ones are for this turn. */
  #left = 0;
  readonly #share: Share;

  constructor(share: ShareName) {
    this.#share = SHARES[share];
  }

  /** At once, if nothing waits in this lane and there is time left in this turn. @param work must not throw */
  put(work: () => void): void {
    if (this.#works.length > 0 || this.#share.isSpent) this.later(work);
    else this.#share.work(work);
  }

  /** In another turn, even if there is time now. */
  later(work: () => void): void {
    this.#works.push(work);
    this.#share.enlist(this);
  }

  get isWaiting(): boolean {
    return this.#done < this.#works.length;
  }

  /** What is put off from here on has a later one. */
  beginTurn(): void {
    this.#left = this.#works.length - this.#done;
  }

  /** Some of what waits, in its order. @returns whether more of it is for this turn */
  workOn(untilSpentMs: number): boolean {
    while (this.#left > 0) {
      const work = this.#works[this.#done]!;
      this.#done += 1;
      this.#left -= 1;
      this.#share.work(work);
      if (this.#share.isSpent || this.#share.spentMs >= untilSpentMs) break;
    }
    // Not every time, because it moves all that are left.
    if (this.#done > this.#works.length / 2) {
      this.#works = this.#works.slice(this.#done);
      this.#done = 0;
    }
    return this.#left > 0;
  }
}

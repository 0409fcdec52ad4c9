/**
 * The event loop's time, shared out: work of several kinds, each in a lane of its own and in its order, and of all lanes of a
 * share so much in one turn as leaves others theirs. What comes when there is time is done at once.
 */
import { performance } from 'node:perf_hooks';

/** For one lane, before another has its turn. */
const LANE_MS = 4;

export class Share {
  /** Lanes in which something waits, the next one first. */
  readonly #waiting = new Set<Lane>();
  /** What was done in this turn. */
  #spentMs = 0;
  #isWorking = false;
  #turn: NodeJS.Immediate | null = null;

  /** @param turnMs in one turn of the event loop: what is under way when it is over is the last */
  constructor(private readonly turnMs: number) {}

  get isSpent(): boolean {
    return this.#spentMs >= this.turnMs;
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
      for (const lane of [...this.#waiting]) {
        this.#waiting.delete(lane);
        lane.workOn(this.#spentMs + LANE_MS);
        if (this.isSpent) break;
      }
    } finally {
      this.#spentMs = 0;
      if (this.#waiting.size > 0) this.#comeAgain();
    }
  }

  get spentMs(): number {
    return this.#spentMs;
  }
}

/** Of what leases and verdicts hang on. */
const URGENT = new Share(25);
/** Of all else. */
const COMMON = new Share(8);

export class Lane {
  #works: (() => void)[] = [];
  /** How many of them are done. */
  #done = 0;
  readonly #share: Share;

  constructor(urgency: 'urgent' | 'common') {
    this.#share = urgency === 'urgent' ? URGENT : COMMON;
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

  /** Some of what waits, in its order; the rest has another turn, and so has what is put off meanwhile. */
  workOn(untilSpentMs: number): void {
    const end = this.#works.length;
    while (this.#done < end) {
      const work = this.#works[this.#done]!;
      this.#done += 1;
      this.#share.work(work);
      if (this.#share.isSpent || this.#share.spentMs >= untilSpentMs) break;
    }
    if (this.#done < this.#works.length) this.#share.enlist(this);
    // Not every time, because it moves all that are left.
    if (this.#done <= this.#works.length / 2) return;
    this.#works = this.#works.slice(this.#done);
    this.#done = 0;
  }
}

/**
 * The event loop's time, shared out: work of several kinds, each in a lane of its own and in its order, and of all of them so
 * much in one turn as leaves heartbeats, answers and requests their time. What comes when there is time is done at once.
 */
import { performance } from 'node:perf_hooks';

/** Of the event loop, in one turn, for all lanes together: what is under way when it is over is the last. */
const TURN_MS = 8;
/** For one lane, before another has its turn. */
const LANE_MS = 4;

/** Lanes in which something waits, the next one first. */
const waiting = new Set<Lane>();
/** What was done in this turn. */
let spentMs = 0;
let isWorking = false;
let turn: NodeJS.Immediate | null = null;

export class Lane {
  /** It must not throw. */
  #works: (() => void)[] = [];
  /** How many of them are done. */
  #done = 0;

  /** At once, if nothing waits in this lane and there is time left in this turn. */
  put(work: () => void): void {
    if (this.#works.length > 0 || spentMs >= TURN_MS) {
      this.later(work);
      return;
    }
    turn ??= setImmediate(nextTurn);
    clocked(work);
  }

  /** In another turn, even if there is time now. */
  later(work: () => void): void {
    turn ??= setImmediate(nextTurn);
    this.#works.push(work);
    waiting.add(this);
  }

  /** Some of what waits, in its order; the rest has another turn. */
  workOn(): void {
    const endsAtMs = Math.min(spentMs + LANE_MS, TURN_MS);
    do {
      const work = this.#works[this.#done]!;
      this.#done += 1;
      clocked(work);
    } while (this.#done < this.#works.length && spentMs < endsAtMs);
    if (this.#done < this.#works.length) waiting.add(this);
    // Not every time, because it moves all that are left.
    if (this.#done <= this.#works.length / 2) return;
    this.#works = this.#works.slice(this.#done);
    this.#done = 0;
  }
}

function clocked(work: () => void): void {
  if (isWorking) {
    work();
    return;
  }
  const startedMs = performance.now();
  isWorking = true;
  try {
    work();
  } finally {
    isWorking = false;
    spentMs += performance.now() - startedMs;
  }
}

/** What was done at once in this turn counts, but something of what waits is done in each. */
function nextTurn(): void {
  turn = setImmediate(nextTurn);
  for (const lane of [...waiting]) {
    waiting.delete(lane);
    lane.workOn();
    if (spentMs >= TURN_MS) break;
  }
  if (waiting.size === 0 && spentMs === 0) {
    clearImmediate(turn);
    turn = null;
  }
  spentMs = 0;
}

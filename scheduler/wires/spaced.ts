/** What two threads have to tell each other, not more often than is worth it: to wake the other one costs more than most messages. */
import { performance } from 'node:perf_hooks';

const SPACE_MS = 2;

/** @returns asks for `act`: at the end of this turn of the event loop, or where it was done just before, a moment later */
export function spaced(act: () => void): () => void {
  let isDue = false;
  let doneAtMs = Number.NEGATIVE_INFINITY;
  const run = (): void => {
    isDue = false;
    doneAtMs = performance.now();
    act();
  };
  return () => {
    if (isDue) return;
    isDue = true;
    const waitMs = doneAtMs + SPACE_MS - performance.now();
    if (waitMs <= 0) setImmediate(run);
    else setTimeout(run, waitMs);
  };
}

/**
 * Time for what is due later: counted from the epoch like Date.now(), but steady while the process runs, whatever
 * somebody does to the clock of the machine. Due times in the store are of this clock; after a restart they may be off by
 * what the machine's clock was moved.
 */
import { performance } from 'node:perf_hooks';

export function steadyNowMs(): number {
  return performance.timeOrigin + performance.now();
}

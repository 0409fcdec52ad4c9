/** The clock that all processes of this machine share, and that no change of the wall clock moves. */
import { execFileSync } from 'node:child_process';
import { fixture } from '../support/fixtures';

/** CLOCK_BOOTTIME less CLOCK_MONOTONIC, in ms: the two part only when the machine sleeps. */
const AHEAD_MS = (() => {
  const [bootMs, monotonicMs] = execFileSync(fixture('witness'), ['-t'], { encoding: 'utf8' }).split(' ').map(Number);
  return bootMs! - monotonicMs!;
})();

/** CLOCK_BOOTTIME, in ms. */
export function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6 + AHEAD_MS;
}

/** @param at an ISO time of the wall clock as it is now */
export function bootTimeOf(at: string): number {
  return Date.parse(at) - Date.now() + nowMs();
}

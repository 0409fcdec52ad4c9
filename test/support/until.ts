/** Waits for a condition in tests that deal with real processes. */
import { setTimeout as delay } from 'node:timers/promises';

const POLL_MS = 5;

type Falsy = false | null | undefined | 0 | '';

/**
 * Calls `condition` until it returns something truthy, and returns that.
 * @throws Error naming `what` when `timeoutMs` have passed
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  { timeoutMs = 5_000, everyMs = POLL_MS, what }: { timeoutMs?: number; everyMs?: number; what: string },
): Promise<Exclude<T, Falsy>> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const result = await condition();
    if (result) return result as Exclude<T, Falsy>;
    if (performance.now() > deadlineMs) throw new Error(`timed out after ${timeoutMs} ms waiting until ${what}`);
    await delay(everyMs);
  }
}

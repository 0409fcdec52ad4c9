/** A point in time as people name it in a query or on the command line: a time, or how long ago it is. */
import { z } from 'zod';

const MS_PER: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DURATION = /^(\d{1,12}(\.\d{1,6})?(ms|s|m|h|d))+$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)$/;
/** The latest time a Date can hold. */
const MAX_MS = 8.64e15;

export type Since = { atMs: number } | { agoMs: number };

export const sinceSchema = z
  .string()
  .meta({ examples: ['10m', '2026-01-31T08:00:00Z'] })
  .transform((text, context): Since => {
    const since = parseSince(text);
    if (since !== null) return since;
    const message = 'must be how long ago, such as 10m, 90s or 1h30m, or a time, such as 2026-01-31T08:00:00Z';
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  });

/** @returns the time in ms since 1970 */
export function resolveSince(since: Since, nowMs: number): number {
  return 'atMs' in since ? since.atMs : Math.max(0, nowMs - since.agoMs);
}

function parseSince(text: string): Since | null {
  if (TIME.test(text)) {
    const atMs = Date.parse(text);
    return Number.isNaN(atMs) ? null : { atMs };
  }
  if (!DURATION.test(text)) return null;
  let agoMs = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g))
    agoMs += Number(amount) * MS_PER[unit!]!;
  return agoMs > MAX_MS ? null : { agoMs };
}

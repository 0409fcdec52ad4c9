/**
 * Waiting by asking again: used by every verb that waits for something to come true. A scheduler that is away
 * for a while (restarted, say) does not end a wait.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { MorchError } from '../contract/errors';
import { isTerminal } from '../contract/states';
import type { Instance, Workload } from '../contract/workload';
import { type Client, isUnreachable } from './client';
import { say } from './output';
import { isNotFound, workloadPath } from './resolve';
import { isUp } from './waiting';

const FIRST_INTERVAL_MS = 100;
const LONGEST_INTERVAL_MS = 1_000;
/** How long a scheduler may be away in the middle of a wait. */
const AWAY_FOR_MS = 60_000;

/** What one look came to: an end with a value, or a line on how far it is. */
export type Look<T> = { kind: 'over'; value: T } | { kind: 'waiting'; progress: string };

export interface WaitOptions {
  /** Undefined: without end. */
  timeoutMs: number | undefined;
  /** Told whenever the line changes; default: stderr. */
  onProgress?: (line: string) => void;
}

/**
 * Looks until it is over.
 *
 * @returns the value, or `timeout`
 * @throws what `look` throws, a scheduler that is away for more than a minute included
 */
export async function waitUntil<T>(
  look: () => Promise<Look<T>>,
  { timeoutMs, onProgress = say }: WaitOptions,
): Promise<{ kind: 'over'; value: T } | { kind: 'timeout' }> {
  const endAtMs = timeoutMs === undefined ? Number.POSITIVE_INFINITY : Date.now() + timeoutMs;
  let told = '';
  let awaySinceMs: number | undefined;
  let looked = false;
  for (let intervalMs = FIRST_INTERVAL_MS; ; intervalMs = Math.min(intervalMs * 1.3, LONGEST_INTERVAL_MS)) {
    try {
      const seen = await look();
      looked = true;
      awaySinceMs = undefined;
      if (seen.kind === 'over') return seen;
      if (seen.progress !== told) onProgress(seen.progress);
      told = seen.progress;
    } catch (error) {
      // From the start it is a wrong address rather than a restart.
      if (!isUnreachable(error) || !looked) throw error;
      awaySinceMs = stillAway(error, awaySinceMs);
    }
    const leftMs = endAtMs - Date.now();
    if (leftMs <= 0) return { kind: 'timeout' };
    await sleep(Math.min(intervalMs, leftMs));
  }
}

function stillAway(error: MorchError, sinceMs: number | undefined): number {
  if (sinceMs === undefined) {
    say('the scheduler does not answer; trying again');
    return Date.now();
  }
  if (Date.now() - sinceMs > AWAY_FOR_MS) throw error;
  return sinceMs;
}

/** A workload with all its instances; the answer itself holds the first 1,000. */
export async function loadWorkload(client: Client, id: string): Promise<Workload> {
  const workload = await client.get<Workload>(workloadPath(id));
  const total = Object.values(workload.counts).reduce((sum, count) => sum + count, 0);
  if ((workload.instances?.length ?? 0) >= total) return workload;
  return { ...workload, instances: await client.list<Instance>(`${workloadPath(id)}/instances`, 'instances') };
}

/** Undefined once its record is gone. */
export async function loadUnlessGone(client: Client, id: string): Promise<Workload | undefined> {
  try {
    return await loadWorkload(client, id);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** `web: pending (1 running, 2 pending; no node has 4 free cores)` */
export function describeProgress(workload: Workload): string {
  const counts = Object.entries(workload.counts).filter(([, count]) => count > 0);
  const several = counts.reduce((sum, [, count]) => sum + count, 0) > 1;
  const parts = several ? counts.map(([status, count]) => `${count} ${status}`).join(', ') : '';
  const where = workload.node === null || workload.node === undefined ? '' : `on ${workload.node}`;
  // That all of it runs is no reason worth telling.
  const reason = isUp(workload) ? '' : (reasonOf(workload) ?? '');
  const detail = [where, parts, reason].filter((text) => text !== '').join('; ');
  return `${workload.id}: ${workload.status}${detail === '' ? '' : ` (${detail})`}`;
}

/** What keeps it: the reason of the first instance that neither runs nor has ended, else the workload's own. */
export function reasonOf(workload: Workload): string | null {
  const waiting = workload.instances?.find(
    ({ status, statusReason }) => statusReason !== null && status !== 'running' && !isTerminal(status),
  );
  return waiting?.statusReason ?? workload.statusReason;
}

/** A workload's status from those of its instances. Pure. */
import type { InstanceStatus, WorkloadStatus } from '../../contract/states';

export type StatusCounts = Partial<Record<InstanceStatus, number>>;

/** Statuses in which a process may be alive or started without a new decision. */
const ALIVE: readonly InstanceStatus[] = ['starting', 'running', 'backoff', 'stopping', 'recovering', 'pending'];

/**
 * The first rule that holds.
 *
 * @param replicas as wanted; undefined for a daemon
 * @returns the status and how many of how many that is about
 */
export function workloadStatusOf(
  goal: 'run' | 'stop',
  counts: StatusCounts,
  replicas?: number,
): { status: WorkloadStatus; reason: string | null } {
  const n = (status: InstanceStatus): number => counts[status] ?? 0;
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const of = (count: number, word: string): string => `${count} of ${total} ${word}`;
  if (goal === 'stop') {
    const alive = ALIVE.reduce((sum, status) => sum + n(status), 0);
    return alive > 0
      ? { status: 'stopping', reason: `${of(alive, 'still to stop')}` }
      : { status: 'stopped', reason: 'stopped by request' };
  }
  if (n('recovering') > 0) return { status: 'recovering', reason: of(n('recovering'), 'recovering') };
  if (n('running') > 0) return { status: 'running', reason: of(n('running'), 'running') };
  const waiting = n('pending') + n('starting') + n('backoff') + n('stopping');
  if (waiting > 0 && waiting === n('stopping') && replicas === 0) {
    return { status: 'running', reason: of(waiting, 'still to stop') };
  }
  if (waiting > 0) return { status: 'pending', reason: of(waiting, 'not running yet') };
  if (total === 0) return { status: 'running', reason: 'no instance is wanted' };
  if (n('failed') > 0) return { status: 'failed', reason: of(n('failed'), 'failed') };
  if (n('completed') > 0) return { status: 'completed', reason: of(n('completed'), 'completed') };
  // All that there is was scaled away, and is about to be forgotten.
  return replicas === 0
    ? { status: 'running', reason: 'no instance is wanted' }
    : { status: 'pending', reason: 'not started yet' };
}

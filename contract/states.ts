/**
 * The state machines as data: one table of legal transitions each, checked by `assertTransition`,
 * drawn in docs/architecture.md from this file.
 */
import { z } from 'zod';

export const INSTANCE_STATUSES = [
  'pending',
  'starting',
  'running',
  'backoff',
  'stopping',
  'recovering',
  'completed',
  'failed',
  'stopped',
] as const;
export const instanceStatusSchema = z.enum(INSTANCE_STATUSES).meta({ id: 'InstanceStatus' });
export type InstanceStatus = (typeof INSTANCE_STATUSES)[number];

/**
 * `recovering` lasts from the verdict on the instance's node until it runs again, through placement and start.
 * Terminal statuses are left for `pending` by a user's restart, submit or apply only, with a new generation.
 */
export const INSTANCE_TRANSITIONS: Record<InstanceStatus, readonly InstanceStatus[]> = {
  pending: ['starting', 'stopped', 'failed'],
  starting: ['pending', 'running', 'backoff', 'stopping', 'recovering', 'completed', 'failed', 'stopped'],
  running: ['pending', 'starting', 'backoff', 'stopping', 'recovering', 'completed', 'failed', 'stopped'],
  backoff: ['pending', 'starting', 'running', 'stopping', 'recovering', 'completed', 'failed', 'stopped'],
  stopping: ['pending', 'starting', 'backoff', 'running', 'recovering', 'completed', 'failed', 'stopped'],
  recovering: ['running', 'backoff', 'stopping', 'completed', 'failed', 'stopped'],
  completed: ['pending'],
  failed: ['pending'],
  stopped: ['pending'],
};

export const WORKLOAD_STATUSES = [
  'pending',
  'running',
  'recovering',
  'stopping',
  'completed',
  'failed',
  'stopped',
] as const;
export const workloadStatusSchema = z.enum(WORKLOAD_STATUSES).meta({ id: 'WorkloadStatus' });
export type WorkloadStatus = (typeof WORKLOAD_STATUSES)[number];

export const NODE_STATUSES = ['healthy', 'suspect', 'degraded', 'lost', 'quarantined'] as const;
export const nodeStatusSchema = z.enum(NODE_STATUSES).meta({ id: 'NodeStatus' });
export type NodeStatus = (typeof NODE_STATUSES)[number];

/**
 * suspect: a sign of failure, no verdict yet; degraded: half of its signs of life are missing; lost: the verdict;
 * quarantined: healthy, but lost too often lately.
 */
export const NODE_TRANSITIONS: Record<NodeStatus, readonly NodeStatus[]> = {
  healthy: ['suspect', 'degraded', 'lost'],
  suspect: ['healthy', 'degraded', 'lost', 'quarantined'],
  degraded: ['healthy', 'suspect', 'lost', 'quarantined'],
  lost: ['healthy', 'degraded', 'quarantined'],
  quarantined: ['healthy', 'suspect', 'degraded', 'lost'],
};

const TERMINAL: ReadonlySet<string> = new Set(['completed', 'failed', 'stopped']);

/** True for a status that an instance or workload leaves only by a user's act. */
export function isTerminal(status: InstanceStatus | WorkloadStatus): boolean {
  return TERMINAL.has(status);
}

/** Statuses in which a process of the instance may exist on its node. */
const ON_NODE: ReadonlySet<InstanceStatus> = new Set(['starting', 'running', 'backoff', 'stopping', 'recovering']);
export function mayHoldProcess(status: InstanceStatus): boolean {
  return ON_NODE.has(status);
}

/** @throws Error when `table` does not allow `from` → `to`; staying in a state is always allowed */
export function assertTransition<S extends string>(table: Record<S, readonly S[]>, from: S, to: S, what: string): void {
  if (from === to || table[from].includes(to)) return;
  throw new Error(`${what}: illegal transition ${from} → ${to}`);
}

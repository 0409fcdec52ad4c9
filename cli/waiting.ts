/**
 * When a wait for a workload is over and with which exit code: pure decisions, used by `wait`, `submit --wait`
 * and the verbs that show progress.
 */
import { constants } from 'node:os';
import { isTerminal } from '../contract/states';
import type { Instance, Workload } from '../contract/workload';

export const GOALS = ['running', 'terminal'] as const;
export type Goal = (typeof GOALS)[number];

/** Of a workload that a user stopped: 128 + SIGTERM, whatever its program made of the signal. */
export const STOPPED_BY_USER = 143;
const FAILED_WITHOUT_CODE = 1;

export type WaitState = { kind: 'waiting' } | { kind: 'over'; exitCode: number };

export function defaultGoal(workload: Pick<Workload, 'kind'>): Goal {
  return workload.kind === 'batch' ? 'terminal' : 'running';
}

/** @param workload with all its instances */
export function decideWait(workload: Workload, goal: Goal): WaitState {
  if (isTerminal(workload.status)) return { kind: 'over', exitCode: exitCodeOfWorkload(workload) };
  if (goal === 'running' && isUp(workload)) return { kind: 'over', exitCode: 0 };
  return { kind: 'waiting' };
}

/** Every instance runs, or has ended; `running` alone is also said of 1 of 10. */
export function isUp(workload: Pick<Workload, 'status' | 'counts'>): boolean {
  const { pending = 0, starting = 0, backoff = 0, recovering = 0, stopping = 0 } = workload.counts;
  return workload.status === 'running' && pending + starting + backoff + recovering + stopping === 0;
}

/** 2 while an instance has no place, else 1. */
export function exitCodeOfTimeout(workload: Pick<Workload, 'counts'>): number {
  return (workload.counts.pending ?? 0) > 0 ? 2 : 1;
}

/**
 * The code of a terminal workload: its program's own, 128 + signal, that of the lowest-numbered instance whose
 * code is not 0; 143 for one stopped by a user; 1 for a failure that left no code.
 *
 * @param workload with all its instances
 */
export function exitCodeOfWorkload(workload: Pick<Workload, 'status' | 'instances'>): number {
  if (workload.status === 'completed') return 0;
  if (workload.status === 'stopped') return STOPPED_BY_USER;
  const codes = [...(workload.instances ?? [])].sort(byNumber).map(exitCodeOfInstance);
  return codes.find((code) => code !== 0) ?? FAILED_WITHOUT_CODE;
}

function exitCodeOfInstance(instance: Pick<Instance, 'status' | 'exit'>): number {
  if (instance.status === 'completed') return 0;
  if (instance.status === 'stopped') return STOPPED_BY_USER;
  const { code = null, signal = null } = instance.exit ?? {};
  if (signal !== null) return 128 + (constants.signals[signal as NodeJS.Signals] ?? 0);
  // A failure whose last run ended with 0 (it ran too long, say) is still one.
  return code === null || code === 0 ? FAILED_WITHOUT_CODE : code;
}

/** `web.2` before `web.10`; a daemon's instances by node name. */
export function byNumber(a: Pick<Instance, 'id'>, b: Pick<Instance, 'id'>): number {
  const slots = [a, b].map(({ id }) => id.slice(id.indexOf('.') + 1));
  const [left = '', right = ''] = slots;
  if (/^\d+$/.test(left) && /^\d+$/.test(right)) return Number(left) - Number(right);
  return left < right ? -1 : left > right ? 1 : 0;
}

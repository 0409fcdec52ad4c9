/**
 * What follows the end of a run: another one, or the end of its generation, always with a reason in words.
 * Pure; called by the generation's life, and at the agent's start for exits it was killed too early to decide on.
 */
import { decideRestart } from '../contract/restartPolicy';
import type { Exit, Restart } from '../contract/workload';

export type RunEnd =
  /** `overran`: it was stopped for running longer than this. `shimLost`: how it ended is not known. `fenced`: its shim stopped it. */
  | { kind: 'exited'; exit: Exit; ranMs: number; overranMs: number | null; shimLost: boolean; fenced: boolean }
  | { kind: 'startFailed'; what: string }
  /** A stop came before it was started. */
  | { kind: 'notStarted' }
  /** tooLate: the scheduler may have given this node up. secretsGone: they are in memory only, and somebody has removed them. */
  | { kind: 'refused'; why: keyof typeof REFUSED };

export const STOP_CAUSES = ['request', 'replaced', 'agent'] as const;
export type StopCause = (typeof STOP_CAUSES)[number];

export interface StopAsked {
  cause: StopCause;
  /** Asked before the main process had ended: then the end is the stop's doing. */
  beforeEnd: boolean;
}

export interface RunContext {
  restart: Restart;
  /** Starts in a row, the one that ended included. */
  attempts: number;
  /** A start that failed is not tried again here: it was the first, or a scheduler tries elsewhere. */
  endsOnFailedStart: boolean;
  stop: StopAsked | null;
}

export type NextStep =
  | { kind: 'restart'; delayMs: number; reason: string }
  | { kind: 'end'; status: 'completed' | 'failed' | 'stopped'; reason: string; lost: boolean };

const STOP_REASONS: Record<StopCause, string> = {
  request: 'stopped by request',
  replaced: 'stopped for a later generation',
  agent: 'agent stopped',
};

export function overranReason(maxRunMs: number): string {
  return `ran longer than ${maxRunMs} ms`;
}

const FENCED = 'stopped by its fence: its agent was absent or without a lease';
const REFUSED = {
  tooLate: 'not started: no scheduler was heard in time',
  secretsGone: 'not started: its secrets are gone from /dev/shm',
};

/** Reason of a run that ended because its shim was killed. */
export const SHIM_LOST = 'shim-lost';

export function stopReason(cause: StopCause): string {
  return STOP_REASONS[cause];
}

/** @param jitter uniform in [0, 1) */
export function decideNextStep(end: RunEnd, context: RunContext, jitter: number): NextStep {
  const { stop } = context;
  if (stop !== null && (stop.beforeEnd || end.kind === 'notStarted' || end.kind === 'refused'))
    return stopped(stop.cause);
  // Its agent was absent: it is not the program's doing, and where it is to go on is not decided here.
  if (end.kind === 'exited' && end.fenced) return { kind: 'end', status: 'stopped', reason: FENCED, lost: true };
  if (end.kind === 'refused') return { kind: 'end', status: 'stopped', reason: REFUSED[end.why], lost: true };
  const next = byPolicy(end, context, jitter);
  // What the program itself brought to an end stays so; only a further run is prevented.
  return stop !== null && next.kind === 'restart' ? stopped(stop.cause) : next;
}

function stopped(cause: StopCause): NextStep {
  return { kind: 'end', status: 'stopped', reason: STOP_REASONS[cause], lost: cause === 'agent' };
}

function byPolicy(end: RunEnd, { restart, attempts, endsOnFailedStart }: RunContext, jitter: number): NextStep {
  const what = describeEnd(end);
  if (end.kind === 'startFailed' && endsOnFailedStart)
    return { kind: 'end', status: 'failed', reason: what, lost: false };
  const success = end.kind === 'exited' && end.overranMs === null && end.exit.code === 0;
  const ranMs = end.kind === 'exited' ? end.ranMs : 0;
  const decision = decideRestart(restart, { outcome: success ? 'success' : 'failure', attempts, ranMs }, jitter);
  if (decision.kind === 'end') {
    const why = {
      exited: '',
      'policy-never': '; its restart policy is "never"',
      'attempts-exhausted': `; ${attempts} ${attempts === 1 ? 'attempt' : 'attempts'} used`,
    }[decision.reason];
    return { kind: 'end', status: decision.status, reason: `${what}${why}`, lost: false };
  }
  const counted = ranMs >= restart.resetAfterMs ? 0 : attempts;
  const of = restart.attempts === 0 ? '' : ` of ${restart.attempts}`;
  const when = decision.delayMs === 0 ? 'now' : `in ${(decision.delayMs / 1_000).toFixed(1)} s`;
  return { kind: 'restart', delayMs: decision.delayMs, reason: `${what}, restart ${counted + 1}${of} ${when}` };
}

export function describeEnd(end: RunEnd): string {
  if (end.kind === 'startFailed') return `could not be started (${end.what})`;
  if (end.kind === 'notStarted') return 'was not started';
  if (end.kind === 'refused') return REFUSED[end.why];
  if (end.shimLost) return SHIM_LOST;
  if (end.fenced) return FENCED;
  if (end.overranMs !== null) return overranReason(end.overranMs);
  const oom = end.exit.oomKilled ? ' (out of memory)' : '';
  if (end.exit.signal !== null) return `killed by ${end.exit.signal}${oom}`;
  return `exited with code ${end.exit.code}${oom}`;
}

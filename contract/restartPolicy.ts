/**
 * Whether and when a run is followed by another: pure, used by the agent (restarts in place) and by the
 * scheduler (starts that failed, tried on another node).
 */
import type { Restart } from './workload';

export type RunOutcome = 'success' | 'failure';

export type RestartDecision =
  | { kind: 'restart'; delayMs: number }
  | { kind: 'end'; status: 'completed' | 'failed'; reason: 'exited' | 'attempts-exhausted' | 'policy-never' };

/**
 * @param attempts starts in a row so far, the one that just ended included
 * @param ranMs    how long that run lasted; 0 for a start that failed
 * @param jitter   uniform in [0, 1); moves a backoff by up to ±10 %
 */
export function decideRestart(
  restart: Restart,
  run: { outcome: RunOutcome; attempts: number; ranMs: number },
  jitter: number,
): RestartDecision {
  if (run.outcome === 'success' && restart.policy !== 'always')
    return { kind: 'end', status: 'completed', reason: 'exited' };
  if (restart.policy === 'never') return { kind: 'end', status: 'failed', reason: 'policy-never' };
  const attempts = attemptsAfterRun(restart, run);
  if (restart.attempts > 0 && attempts >= restart.attempts) {
    return { kind: 'end', status: 'failed', reason: 'attempts-exhausted' };
  }
  if (attempts <= 1 && run.ranMs >= 1_000) return { kind: 'restart', delayMs: 0 };
  const exponent = Math.min(Math.max(attempts, 1) - 1, 40);
  const delayMs = Math.min(restart.backoffMs * 2 ** exponent, restart.maxBackoffMs);
  return { kind: 'restart', delayMs: Math.min(Math.round(delayMs * (0.9 + 0.2 * jitter)), restart.maxBackoffMs) };
}

/** The count goes back to 0 once a run has lasted `resetAfterMs`. */
export function attemptsAfterRun(restart: Restart, run: { attempts: number; ranMs: number }): number {
  return run.ranMs >= restart.resetAfterMs ? 0 : run.attempts;
}

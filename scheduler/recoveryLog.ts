/**
 * Verdicts and recoveries as they happen: counters and the latest ones, kept in the store as one record, and those under way,
 * kept as one each, as there may be very many. Pure.
 */
import type { Recovery, RecoveryMetrics, Spread, Verdict } from '../contract/health';

const RECENT_KEPT = 200;
const SAMPLES_KEPT = 1_000;

export interface OpenRecovery extends Recovery {
  /** `uid/slot` of the instance. */
  key: string;
}

export interface RecoveryLog {
  verdicts: number;
  falseVerdicts: number;
  started: number;
  succeeded: number;
  failed: number;
  attemptsUsed: number;
  detectionMs: number[];
  recoveryMs: number[];
  /** Under way, by `uid/slot`. */
  open: Map<string, OpenRecovery>;
  recent: Recovery[];
  recentVerdicts: Verdict[];
}

export function emptyRecoveryLog(): RecoveryLog {
  return {
    verdicts: 0,
    falseVerdicts: 0,
    started: 0,
    succeeded: 0,
    failed: 0,
    attemptsUsed: 0,
    detectionMs: [],
    recoveryMs: [],
    open: new Map(),
    recent: [],
    recentVerdicts: [],
  };
}

/** The record of the store: all but those under way, which an earlier version kept in it. */
export type StoredRecoveryLog = Omit<RecoveryLog, 'open'> & { open?: OpenRecovery[] };

export function storedRecoveryLog({ open: _, ...log }: RecoveryLog): StoredRecoveryLog {
  return log;
}

export function loadedRecoveryLog({ open = [], ...log }: StoredRecoveryLog): RecoveryLog {
  return { ...log, open: new Map(open.map((recovery) => [recovery.key, recovery])) };
}

export function recordVerdict(log: RecoveryLog, verdict: Verdict): void {
  log.verdicts += 1;
  keepLast(log.detectionMs, verdict.silentMs, SAMPLES_KEPT);
  keepLast(log.recentVerdicts, verdict, 50);
}

export function beginRecovery(
  log: RecoveryLog,
  key: string,
  recovery: { instance: string; fromNode: string; lastContactAt: string; suspectAt: string | null; verdictAt: string },
): void {
  const { instance, fromNode, ...times } = recovery;
  // Lost again before it ran: that recovery has failed, this is the next.
  endRecovery(log, key, 'failed', null, recovery.verdictAt);
  log.started += 1;
  log.open.set(key, {
    key,
    instance,
    fromNode,
    toNode: null,
    outcome: 'inFlight',
    timeline: { ...times, placedAt: null, startedAt: null, runningAt: null },
  });
}

/** @returns whether one is under way */
export function recoveryPlaced(log: RecoveryLog, key: string, node: string, at: string): boolean {
  const open = log.open.get(key);
  if (open === undefined) return false;
  open.toNode = node;
  open.timeline.placedAt = at;
  open.timeline.startedAt = null;
  log.attemptsUsed += 1;
  return true;
}

/** @returns whether that is news */
export function recoveryStarted(log: RecoveryLog, key: string, at: string): boolean {
  const open = log.open.get(key);
  if (open === undefined || open.timeline.startedAt !== null) return false;
  open.timeline.startedAt = at;
  return true;
}

/** @returns whether there was one under way */
export function endRecovery(
  log: RecoveryLog,
  key: string,
  outcome: 'succeeded' | 'failed',
  node: string | null,
  at: string,
): boolean {
  const open = log.open.get(key);
  if (open === undefined) return false;
  log.open.delete(key);
  const { key: _key, ...recovery } = open;
  recovery.outcome = outcome;
  if (outcome === 'succeeded') {
    recovery.toNode = node;
    recovery.timeline.startedAt ??= at;
    recovery.timeline.runningAt = at;
    log.succeeded += 1;
    keepLast(log.recoveryMs, Date.parse(at) - Date.parse(recovery.timeline.lastContactAt), SAMPLES_KEPT);
  } else {
    log.failed += 1;
  }
  keepLast(log.recent, recovery, RECENT_KEPT);
  return true;
}

export function metricsOf(log: RecoveryLog): RecoveryMetrics {
  const ended = log.succeeded + log.failed;
  return {
    verdicts: log.verdicts,
    falseVerdicts: log.falseVerdicts,
    recoveries: { started: log.started, succeeded: log.succeeded, failed: log.failed, inFlight: log.open.size },
    successRate: ended === 0 ? null : log.succeeded / ended,
    detectionMs: spreadOf(log.detectionMs),
    recoveryMs: spreadOf(log.recoveryMs),
    attemptsUsed: log.attemptsUsed,
    recent: [...log.recent, ...[...log.open.values()].map(({ key: _key, ...recovery }) => recovery)]
      .map(withLaterTimes)
      .reverse(),
  };
}

/** What records of earlier versions lack. */
function withLaterTimes(recovery: Recovery): Recovery {
  const { timeline } = recovery;
  return timeline.runningAt === undefined ? { ...recovery, timeline: { ...timeline, runningAt: null } } : recovery;
}

/** Nearest-rank percentiles. */
export function spreadOf(samples: readonly number[]): Spread {
  const last = samples.at(-1);
  if (last === undefined) return { last: null, mean: null, p50: null, p95: null, max: null };
  const sorted = [...samples].sort((a, b) => a - b);
  const rank = (p: number): number =>
    sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(p * sorted.length) - 1))]!;
  return {
    last,
    mean: Math.round(sorted.reduce((sum, x) => sum + x, 0) / sorted.length),
    p50: rank(0.5),
    p95: rank(0.95),
    max: rank(1),
  };
}

function keepLast<T>(list: T[], item: T, limit: number): void {
  list.push(item);
  if (list.length > limit) list.splice(0, list.length - limit);
}

/**
 * Decides from observations whether a node is healthy, suspect, degraded or lost, and when to look again. Pure:
 * times are a monotonic clock's, in ms, and arguments. nodeLink.ts observes and acts.
 *
 * What the caller must do: report every contact, every failed probe and every stall of its own loop; call
 * `decideNode` after each and at `nextAtMs`; start a probe on a fresh connection when told to.
 */
import type { NodeStatus } from '../../contract/states';
import type { HealthPolicy } from './healthPolicy';

export interface NodeHealth {
  /** Nothing before this moment counts against the node: the scheduler's start, or the end of its last stall. */
  windowStartMs: number;
  /** Any answer or message. */
  lastContactMs: number;
  lastHeartbeatMs: number;
  /** The last attempt found nobody listening; cleared by any contact. */
  refused: boolean;
  /** Start of the last probe that ran its full timeout without an answer; null after an answer. */
  timedOutProbeStartMs: number | null;
  /** When the first sign of failure came; null while there is none. */
  suspectSinceMs: number | null;
  probe: { startedAtMs: number } | null;
  lastProbeStartMs: number;
}

export interface NodeJudgement {
  status: NodeStatus;
  reason: string | null;
  /** Start a probe now. */
  probe: boolean;
  /** When to judge again at the latest. */
  nextAtMs: number;
}

export function initialHealth(nowMs: number): NodeHealth {
  return {
    windowStartMs: nowMs,
    lastContactMs: Number.NEGATIVE_INFINITY,
    lastHeartbeatMs: Number.NEGATIVE_INFINITY,
    refused: false,
    timedOutProbeStartMs: null,
    suspectSinceMs: null,
    probe: null,
    lastProbeStartMs: Number.NEGATIVE_INFINITY,
  };
}

/**
 * @param health not changed
 * @param wasLost the verdict has been given; only a new inventory (not a mere answer) takes it back
 */
export function decideNode(health: NodeHealth, nowMs: number, policy: HealthPolicy, wasLost: boolean): NodeJudgement {
  const since = Math.max(health.lastContactMs, health.windowStartMs);
  const heartbeatSince = Math.max(health.lastHeartbeatMs, health.windowStartMs);
  const silent = nowMs - heartbeatSince >= policy.silentAfterMs;
  const probeDueMs = nextProbeMs(health, since, silent, policy, wasLost);
  const probe = nowMs >= probeDueMs && nowMs >= health.windowStartMs;

  if (wasLost) {
    return {
      status: 'lost',
      reason: null,
      probe,
      nextAtMs: probe ? nowMs + policy.sweepMs : Math.max(probeDueMs, nowMs + policy.stallMs),
    };
  }
  const silentMs = Math.round(nowMs - since);
  if (health.refused && nowMs - since >= policy.refusedVerdictMs) {
    return {
      status: 'lost',
      reason: `connection refused; no contact for ${silentMs} ms`,
      probe: false,
      nextAtMs: nowMs + policy.sweepMs,
    };
  }
  const probeStart = health.timedOutProbeStartMs;
  if (probeStart !== null && isDecisive(health, probeStart, policy)) {
    return {
      status: 'lost',
      reason: `no answer within ${policy.probeTimeoutMs} ms; no contact for ${silentMs} ms`,
      probe: false,
      nextAtMs: nowMs + policy.sweepMs,
    };
  }
  const { status, reason } = livingStatus(health, nowMs, silent, since, probeStart);
  const next = [
    probe ? nowMs + policy.sweepMs : Math.max(probeDueMs, health.windowStartMs),
    ...(silent ? [] : [heartbeatSince + policy.silentAfterMs]),
    ...(health.refused ? [since + policy.refusedVerdictMs] : []),
  ];
  return { status, reason, probe, nextAtMs: Math.max(Math.min(...next), nowMs) };
}

/** Whether a probe that began then, and is not answered, leads to the verdict: nothing was heard for long enough before. */
export function isDecisive(health: NodeHealth, probeStartMs: number, { silentAfterMs }: HealthPolicy): boolean {
  return probeStartMs - Math.max(health.lastContactMs, health.windowStartMs) >= silentAfterMs;
}

/**
 * The sweep's probe, sooner after a refusal or in silence. A probe under way puts off the next one, except that
 * silence starts one of its own beside a sweep's: only one that began in silence can lead to a verdict.
 */
function nextProbeMs(
  health: NodeHealth,
  since: number,
  silent: boolean,
  policy: HealthPolicy,
  wasLost: boolean,
): number {
  const underWay =
    health.probe === null
      ? Number.NEGATIVE_INFINITY
      : health.probe.startedAtMs + policy.probeTimeoutMs + policy.settleMs;
  if (wasLost) return Math.max(health.lastProbeStartMs + policy.sweepMs, underWay);
  if (health.refused) return Math.max(health.lastProbeStartMs + policy.refusedProbeMs, underWay);
  const silenceProbeMs = since + policy.silentAfterMs;
  if (silent && health.lastProbeStartMs < silenceProbeMs) return silenceProbeMs;
  return Math.max(health.lastProbeStartMs + policy.sweepMs, underWay);
}

function livingStatus(
  health: NodeHealth,
  nowMs: number,
  silent: boolean,
  since: number,
  timedOutProbeStart: number | null,
): { status: NodeStatus; reason: string | null } {
  if (health.lastContactMs === Number.NEGATIVE_INFINITY)
    return { status: 'suspect', reason: 'not heard since the scheduler started' };
  if (health.refused) return { status: 'suspect', reason: 'connection refused' };
  if (health.lastHeartbeatMs === Number.NEGATIVE_INFINITY && !silent) {
    return { status: 'suspect', reason: 'answers, its inventory is awaited' };
  }
  if (silent) {
    // Answers without heartbeats: the agent is there, but half of it does not work.
    return health.lastContactMs > health.lastHeartbeatMs && nowMs - since < 5_000 && timedOutProbeStart === null
      ? { status: 'degraded', reason: 'answers, but sends no heartbeats' }
      : { status: 'suspect', reason: 'no heartbeat' };
  }
  if (timedOutProbeStart !== null) return { status: 'degraded', reason: 'sends heartbeats, but does not answer' };
  return { status: 'healthy', reason: null };
}

/** A message on the event connection. */
export function applyHeartbeat(health: NodeHealth, nowMs: number): void {
  health.lastContactMs = nowMs;
  health.lastHeartbeatMs = nowMs;
  health.refused = false;
  health.suspectSinceMs = null;
}

/** Silence alone has made it suspect. */
export function applySuspicion(health: NodeHealth, nowMs: number): void {
  health.suspectSinceMs ??= nowMs;
}

/** A probe was answered. */
export function applyAnswer(health: NodeHealth, nowMs: number): void {
  health.lastContactMs = nowMs;
  health.refused = false;
  health.timedOutProbeStartMs = null;
  health.probe = null;
}

/** Nobody listens there, the connection was reset, or there is no way to the host. */
export function applyRefusal(health: NodeHealth, nowMs: number): void {
  health.refused = true;
  health.probe = null;
  health.suspectSinceMs ??= nowMs;
}

/**
 * A probe got no answer within its timeout. Conclusive only if the scheduler's own loop ran on time meanwhile:
 * a stall moves `windowStartMs` past the probe's start.
 */
export function applyTimeout(health: NodeHealth, probeStartedAtMs: number, nowMs: number): void {
  if (health.probe?.startedAtMs === probeStartedAtMs) health.probe = null;
  if (probeStartedAtMs >= health.windowStartMs) health.timedOutProbeStartMs = probeStartedAtMs;
  health.suspectSinceMs ??= nowMs;
}

/** The event connection ended: a sign, no evidence; the next probe is due at once. */
export function applyDisconnect(health: NodeHealth, nowMs: number): void {
  health.suspectSinceMs ??= nowMs;
  health.lastProbeStartMs = Number.NEGATIVE_INFINITY;
}

/** The scheduler itself stood still: what was missed meanwhile says nothing about the node. */
export function applyStall(health: NodeHealth, nowMs: number, policy: HealthPolicy): void {
  health.windowStartMs = nowMs + policy.settleMs;
  health.timedOutProbeStartMs = null;
}

export function applyProbeStart(health: NodeHealth, nowMs: number): void {
  health.probe = { startedAtMs: nowMs };
  health.lastProbeStartMs = nowMs;
}

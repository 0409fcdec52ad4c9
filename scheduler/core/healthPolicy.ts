/** The times that failure detection, leases and quarantine go by, as two profiles; main.ts chooses, core/health decides. */

export interface HealthPolicy {
  /** Agents send heartbeats this often. */
  heartbeatMs: number;
  /** Every node is probed this often whatever else is heard. */
  sweepMs: number;
  probeTimeoutMs: number;
  /** Silence for this long starts a probe. */
  silentAfterMs: number;
  /** Beside a probe that began in silence, others are sent this often: of many, a network that loses packets loses not all. */
  silentProbeMs: number;
  /** After a refused connection the node is probed this often. */
  refusedProbeMs: number;
  /** Refused for this long after the last contact: the verdict. */
  refusedVerdictMs: number;
  /** A timer that fires later than this tells that the scheduler itself stood still. */
  stallMs: number;
  /** How long to read what has arrived before judging again after a stall. */
  settleMs: number;
  /** From an acknowledged heartbeat on, an agent may keep fenced instances alive so long. */
  leaseMs: number;
  /** So many verdicts within `flapWindowMs` put a node into quarantine when it is back; 0: never. */
  flapLosses: number;
  flapWindowMs: number;
  quarantineMs: number;
}

export const HEALTH_PROFILES = {
  default: {
    heartbeatMs: 1_000,
    sweepMs: 3_000,
    probeTimeoutMs: 2_000,
    silentAfterMs: 2_200,
    silentProbeMs: 250,
    refusedProbeMs: 250,
    refusedVerdictMs: 4_000,
    stallMs: 100,
    settleMs: 250,
    leaseMs: 10_000,
    flapLosses: 5,
    flapWindowMs: 600_000,
    quarantineMs: 300_000,
  },
  /** Verdicts in under 1.5 s; for networks and machines that do not pause for half a second. */
  fast: {
    heartbeatMs: 250,
    sweepMs: 1_000,
    probeTimeoutMs: 800,
    silentAfterMs: 500,
    silentProbeMs: 25,
    refusedProbeMs: 100,
    refusedVerdictMs: 1_000,
    stallMs: 100,
    settleMs: 250,
    leaseMs: 10_000,
    flapLosses: 5,
    flapWindowMs: 600_000,
    quarantineMs: 300_000,
  },
} as const satisfies Record<string, HealthPolicy>;

/** What the kernel is given to end the processes of a lease that is over. */
const KILL_BUDGET_MS = 1_000;
/** How much faster than the agent's the scheduler's clock may run. */
const CLOCK_DRIFT = 0.01;

/** After the last contact with a node no verdict comes sooner than this. */
export function earliestVerdictMs(policy: HealthPolicy): number {
  return Math.min(policy.refusedVerdictMs, policy.silentAfterMs + policy.probeTimeoutMs);
}

/** From the sending of the last acknowledged heartbeat on, an agent may execute starts so long, on its clock: no verdict is given meanwhile. */
export function startWithinMs(policy: HealthPolicy): number {
  return Math.floor(earliestVerdictMs(policy) / (1 + CLOCK_DRIFT));
}

/**
 * When nothing of a fenced instance can be alive on a node any more.
 *
 * @param leaseEndsMs receipt of the last acknowledged heartbeat + the lease, on the scheduler's monotonic clock
 */
export function fenceEndsMs(leaseEndsMs: number, leaseMs: number): number {
  return leaseEndsMs + KILL_BUDGET_MS + (leaseMs + KILL_BUDGET_MS) * CLOCK_DRIFT;
}

/** @returns what is wrong with it, naming the settings as they are called here; null: nothing */
export function findPolicyFault(policy: HealthPolicy): string | null {
  const { heartbeatMs, silentAfterMs, refusedVerdictMs, refusedProbeMs, leaseMs } = policy;
  if (silentAfterMs < 2 * heartbeatMs)
    return `silentAfterMs (${silentAfterMs}) must be at least two heartbeats (heartbeatMs is ${heartbeatMs}), or one that comes late is taken for silence`;
  if (refusedVerdictMs < 2 * refusedProbeMs)
    return `refusedVerdictMs (${refusedVerdictMs}) must be at least twice refusedProbeMs (${refusedProbeMs}), or a single refusal decides`;
  if (leaseMs < earliestVerdictMs(policy) || leaseMs < 4 * heartbeatMs)
    return `leaseMs (${leaseMs}) must be at least four heartbeats, and no shorter than the earliest verdict (${earliestVerdictMs(policy)})`;
  return null;
}

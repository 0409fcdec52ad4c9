/**
 * The clocks of the model. Time is counted in whole units of a hundredth of a millisecond of the scheduler's clock, so that
 * an agent's clock which is one in a hundred slow or fast reads whole numbers as well. It does not flow: it leaps from one
 * moment to the next, and all that happens, happens at such a moment, in any order. Moments are the ticks, at which alone
 * something is said or heard that time is counted from, and whatever falls due between them.
 */
import { HEALTH_PROFILES, type HealthPolicy } from '../../../scheduler/core/healthPolicy';

/** Units in a millisecond of the scheduler. */
export const MS = 100;

export const TICK = 1_000 * MS;

/** Units in a millisecond of an agent: how slow its clock is. */
export type Pace = 99 | 100 | 101;

/** Short of the product's, so that few moments lie within a lease; the rules take it as they take any. */
export const POLICY: HealthPolicy = {
  ...HEALTH_PROFILES.default,
  heartbeatMs: 500,
  silentAfterMs: 1_000,
  silentProbeMs: 250,
  probeTimeoutMs: 1_000,
  refusedVerdictMs: 2_000,
  leaseMs: 4_000,
};

/** What the kernel takes at most to end processes that got SIGKILL, on their node's clock. */
export const KILL_BUDGET_MS = 1_000;

/** How often a shim looks at a page with no lease in force: lease.cc, kLookEveryMs. */
export const LOOK_EVERY_MS = 1_000;

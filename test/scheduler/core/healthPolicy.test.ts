import { findPolicyFault, HEALTH_PROFILES, type HealthPolicy } from '../../../scheduler/core/healthPolicy';

const fault = (given: Partial<HealthPolicy>) => findPolicyFault({ ...HEALTH_PROFILES.default, ...given });

test.each(Object.entries(HEALTH_PROFILES))('nothing is wrong with the profile %s', (_, policy) => {
  expect(findPolicyFault(policy)).toBeNull();
});

test.each<[Partial<HealthPolicy>, string]>([
  [{ heartbeatMs: 1 }, '--heartbeat'],
  [{ sweepMs: 1 }, '--probe-every'],
  [{ silentProbeMs: 1 }, '--silent-probe-every'],
  [{ refusedProbeMs: 1 }, '--refused-probe-every'],
  [{ probeTimeoutMs: 1 }, '--probe-timeout'],
  [{ stallMs: 1 }, '--stall'],
  [{ settleMs: 1 }, '--settle'],
  [{ stallMs: 1_101 }, '--stall'],
  [{ settleMs: 1_101 }, '--settle'],
  [{ silentAfterMs: 1_999 }, '--silent-after'],
  [{ refusedVerdictMs: 499 }, '--refused-after'],
  [{ leaseMs: 3_999 }, '--lease'],
  [{ leaseMs: 4_100, heartbeatMs: 1_050 }, '--lease'],
])('%j is refused by the name of its flag', (given, flag) => {
  expect(fault(given)).toMatch(new RegExp(`^${flag} \\(\\d+ms\\) must be`));
});

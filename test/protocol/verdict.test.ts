/**
 * What the model of the protocol takes for granted of core/health, looked at by itself: every sequence of what a link can
 * observe. No verdict comes sooner after the last contact than agents are told, none without a whole window in which the
 * scheduler did not stand still, and one does come when a node is not heard any more.
 */
import {
  applyAnswer,
  applyDisconnect,
  applyHeartbeat,
  applyProbeStart,
  applyRefusal,
  applyStall,
  applyTimeout,
  decideNode,
  initialHealth,
  type NodeHealth,
} from '../../scheduler/core/health';
import { earliestVerdictMs, HEALTH_PROFILES, type HealthPolicy } from '../../scheduler/core/healthPolicy';

/** Times that are all multiples of 250 ms, so that few moments differ. */
const POLICY: HealthPolicy = {
  ...HEALTH_PROFILES.default,
  heartbeatMs: 500,
  sweepMs: 1_500,
  probeTimeoutMs: 1_000,
  silentAfterMs: 1_000,
  silentProbeMs: 250,
  refusedProbeMs: 250,
  refusedVerdictMs: 2_000,
  settleMs: 250,
};

/** What is observed at a moment; an answer or a refusal is that to the earliest probe under way. */
const OBSERVED = ['nothing', 'heartbeat', 'answer', 'refusal', 'disconnect', 'stall'] as const;
type Observed = (typeof OBSERVED)[number];

interface Watch {
  nowMs: number;
  health: NodeHealth;
  /** When each probe under way was started, rising. */
  probes: readonly number[];
  nextAtMs: number;
  isLost: boolean;
}

/** What is observed, what is decided of it, and what is done then: as scheduler/nodeLink.ts does. */
function observe(watch: Watch, observed: Observed): Watch {
  const health = { ...watch.health };
  const { nowMs } = watch;
  let probes = watch.probes;
  if (observed === 'heartbeat') applyHeartbeat(health, nowMs);
  if (observed === 'disconnect') applyDisconnect(health, nowMs);
  if (observed === 'stall') applyStall(health, nowMs, POLICY);
  if ((observed === 'answer' || observed === 'refusal') && probes.length > 0) {
    if (observed === 'answer') applyAnswer(health, nowMs);
    else applyRefusal(health, nowMs);
    probes = probes.slice(1);
  }
  const isOver = (startedAtMs: number) => nowMs >= startedAtMs + POLICY.probeTimeoutMs;
  for (const startedAtMs of probes.filter(isOver)) applyTimeout(health, startedAtMs, nowMs);
  probes = probes.filter((startedAtMs) => !isOver(startedAtMs));
  const { status, probe, nextAtMs } = decideNode(health, nowMs, POLICY, false);
  if (probe) {
    applyProbeStart(health, nowMs);
    probes = [...probes, nowMs];
  }
  return { nowMs, health, probes, nextAtMs, isLost: status === 'lost' };
}

/** To when something is due, or else a heartbeat later. */
function wait(watch: Watch): Watch {
  const { nowMs, nextAtMs, probes } = watch;
  const ends = probes.map((startedAtMs) => startedAtMs + POLICY.probeTimeoutMs);
  const due = [nextAtMs, nowMs + POLICY.heartbeatMs, ...ends].filter((atMs) => atMs > nowMs);
  return { ...watch, nowMs: Math.min(...due) };
}

/** Times count from now; what is long ago is all the same. */
function keyOf({ nowMs, health, probes }: Watch): string {
  const longAgoMs = POLICY.sweepMs + POLICY.refusedVerdictMs;
  const ago = (atMs: number | null) => (atMs === null ? '-' : Math.max(atMs - nowMs, -longAgoMs));
  const { windowStartMs, lastContactMs, lastHeartbeatMs, refused, timedOutProbeStartMs, probe, lastProbeStartMs } =
    health;
  const times = [windowStartMs, lastContactMs, lastHeartbeatMs, timedOutProbeStartMs, probe?.startedAtMs ?? null];
  return [...times, lastProbeStartMs, ...probes].map(ago).join() + refused;
}

function everyWatch(visit: (watch: Watch) => void): void {
  const first: Watch = { nowMs: 0, health: initialHealth(0), probes: [], nextAtMs: 0, isLost: false };
  const seen = new Set<string>();
  const left = [first];
  for (let watch = left.pop(); watch !== undefined; watch = left.pop()) {
    for (const observed of OBSERVED) {
      const reached = observe(watch, observed);
      const key = keyOf(reached);
      if (seen.has(key)) continue;
      seen.add(key);
      visit(reached);
      if (!reached.isLost) left.push(wait(reached));
    }
  }
}

const since = ({ windowStartMs, lastContactMs }: NodeHealth) => Math.max(windowStartMs, lastContactMs);

it('no verdict comes sooner than agents are told, or after a stall without a whole window', () => {
  let verdicts = 0;
  let soonestMs = Number.POSITIVE_INFINITY;
  everyWatch(({ nowMs, health, isLost }) => {
    if (!isLost) return;
    verdicts += 1;
    soonestMs = Math.min(soonestMs, nowMs - since(health));
  });
  expect(verdicts).toBeGreaterThan(0);
  expect(soonestMs).toBe(earliestVerdictMs(POLICY));
});

it('a verdict comes in time when nothing is heard any more', () => {
  let latestMs = 0;
  everyWatch((reached) => {
    if (reached.isLost) return;
    let watch = reached;
    while (!watch.isLost && watch.nowMs - since(reached.health) < 60_000) watch = observe(wait(watch), 'nothing');
    latestMs = Math.max(latestMs, watch.nowMs - since(reached.health));
  });
  expect(latestMs).toBeLessThanOrEqual(POLICY.silentAfterMs + POLICY.probeTimeoutMs + POLICY.settleMs);
});

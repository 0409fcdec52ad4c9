import { assertTransition, NODE_TRANSITIONS, type NodeStatus } from '../../../contract/states';
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
} from '../../../scheduler/core/health';
import { earliestVerdictMs, HEALTH_PROFILES, startWithinMs } from '../../../scheduler/core/healthPolicy';

const policy = HEALTH_PROFILES.default;

/** Plays a node against the decisions on a fake clock; what the node does is a function of time. */
class Simulation {
  nowMs = 0;
  readonly health: NodeHealth = initialHealth(0);
  readonly log: { atMs: number; status: string }[] = [];
  private status: NodeStatus | '' = '';
  private pendingTimeouts: { startedMs: number; endMs: number }[] = [];

  constructor(
    private readonly node: {
      heartbeats(nowMs: number): boolean;
      answers(nowMs: number): 'answered' | 'refused' | 'silent';
    },
  ) {}

  /** Advances in steps of 10 ms. */
  run(untilMs: number): this {
    while (this.nowMs < untilMs) {
      this.nowMs += 10;
      this.tick();
    }
    return this;
  }

  /** The scheduler's own loop does not run for this long. */
  stall(forMs: number): this {
    this.nowMs += forMs;
    applyStall(this.health, this.nowMs, policy);
    this.pendingTimeouts = this.pendingTimeouts.filter((p) => p.endMs > this.nowMs);
    this.health.probe = null;
    return this;
  }

  private tick(): void {
    if (this.nowMs % 1_000 === 0 && this.node.heartbeats(this.nowMs)) applyHeartbeat(this.health, this.nowMs);
    for (const pending of this.pendingTimeouts) {
      if (pending.endMs === this.nowMs) applyTimeout(this.health, pending.startedMs, this.nowMs);
    }
    const judgement = decideNode(this.health, this.nowMs, policy, this.status === 'lost');
    if (judgement.status !== this.status) {
      if (this.status !== '') assertTransition(NODE_TRANSITIONS, this.status, judgement.status, 'node');
      this.status = judgement.status;
      this.log.push({ atMs: this.nowMs, status: judgement.status });
    }
    if (!judgement.probe) return;
    applyProbeStart(this.health, this.nowMs);
    const answer = this.node.answers(this.nowMs);
    if (answer === 'answered') applyAnswer(this.health, this.nowMs);
    else if (answer === 'refused') applyRefusal(this.health, this.nowMs);
    else this.pendingTimeouts.push({ startedMs: this.nowMs, endMs: this.nowMs + policy.probeTimeoutMs });
  }

  atStatus(status: string): number | undefined {
    return this.log.find((entry) => entry.status === status)?.atMs;
  }
}

const alwaysWell = { heartbeats: () => true, answers: () => 'answered' as const };

describe('failure detection', () => {
  it('keeps a healthy node healthy', () => {
    expect(new Simulation(alwaysWell).run(60_000).log.map((e) => e.status)).toEqual(['suspect', 'healthy']);
  });

  it.each([10_000, 10_490, 10_990, 12_345, 13_000])(
    'gives a killed node its verdict 4.0 s after the last contact, never sooner (killed at %i)',
    (deathMs) => {
      const deadMs = deathMs - (deathMs % 10);
      const simulation = new Simulation({
        heartbeats: (t) => t < deadMs,
        answers: (t) => (t < deadMs ? 'answered' : 'refused'),
      });
      simulation.run(deadMs);
      applyDisconnect(simulation.health, deadMs);
      const lastContactMs = simulation.health.lastContactMs;
      simulation.run(deadMs + 10_000);
      const silentMs = simulation.atStatus('lost')! - lastContactMs;
      expect(silentMs).toBeGreaterThanOrEqual(4_000);
      expect(silentMs).toBeLessThan(4_300);
    },
  );

  it.each([10_010, 10_400, 10_990, 11_500, 12_010, 12_990])(
    'gives a node that falls silent its verdict by 4.5 s (silent from %i)',
    (silentFromMs) => {
      const simulation = new Simulation({
        heartbeats: (t) => t < silentFromMs,
        answers: (t) => (t < silentFromMs ? 'answered' : 'silent'),
      });
      simulation.run(silentFromMs);
      const lastContactMs = simulation.health.lastContactMs;
      simulation.run(silentFromMs + 10_000);
      const silentMs = simulation.atStatus('lost')! - lastContactMs;
      expect(silentMs).toBeGreaterThanOrEqual(4_000);
      expect(silentMs).toBeLessThanOrEqual(4_500);
    },
  );

  it('costs nothing when an agent is back within 4 s', () => {
    const away = (t: number) => t >= 10_010 && t < 13_900;
    const simulation = new Simulation({
      heartbeats: (t) => !away(t),
      answers: (t) => (away(t) ? 'refused' : 'answered'),
    }).run(30_000);
    expect(simulation.atStatus('lost')).toBeUndefined();
    expect(simulation.log.at(-1)?.status).toBe('healthy');
  });

  it('calls a node degraded, not lost, whose probes fail under live heartbeats', () => {
    const simulation = new Simulation({
      heartbeats: () => true,
      answers: (t) => (t < 10_000 ? 'answered' : 'silent'),
    }).run(60_000);
    expect(simulation.log.map((e) => e.status)).toEqual(['suspect', 'healthy', 'degraded']);
  });

  it('calls a node degraded, not lost, that answers but sends no heartbeats', () => {
    const simulation = new Simulation({ heartbeats: (t) => t < 10_000, answers: () => 'answered' }).run(60_000);
    expect(simulation.log.map((e) => e.status)).not.toContain('lost');
    expect(simulation.log.at(-1)?.status).toBe('degraded');
  });

  it('gives a degraded node its verdict when it falls silent altogether', () => {
    const simulation = new Simulation({
      heartbeats: (t) => t < 10_000,
      answers: (t) => (t < 20_000 ? 'answered' : 'silent'),
    }).run(40_000);
    expect(simulation.log.map((e) => e.status)).toEqual(['suspect', 'healthy', 'suspect', 'degraded', 'lost']);
  });

  it('calls a node suspect that has fallen silent altogether, also when the last that it said was an answer', () => {
    const simulation = new Simulation({
      heartbeats: (t) => t < 11_500,
      answers: (t) => (t < 12_500 ? 'answered' : 'silent'),
    }).run(40_000);
    expect(simulation.log.map((e) => e.status)).toEqual(['suspect', 'healthy', 'suspect', 'lost']);
  });

  it.each([200, 3_000, 10_000, 60_000])('gives no verdict for a stall of its own of %i ms', (stallMs) => {
    const simulation = new Simulation(alwaysWell).run(10_500).stall(stallMs).run(100_000);
    expect(simulation.atStatus('lost')).toBeUndefined();
  });

  it('gives no verdict in the first full window after a start', () => {
    const simulation = new Simulation({ heartbeats: () => false, answers: () => 'refused' }).run(3_990);
    expect(simulation.atStatus('lost')).toBeUndefined();
    expect(simulation.run(5_000).atStatus('lost')).toBeGreaterThanOrEqual(4_000);
  });
});

it.each(Object.entries(HEALTH_PROFILES))(
  'lets agents start nothing after a verdict, however slow (%s)',
  (_name, profile) => {
    const SLOWEST = 1.01;
    expect(startWithinMs(profile) * SLOWEST).toBeLessThanOrEqual(earliestVerdictMs(profile));
    expect(startWithinMs(profile)).toBeGreaterThan(0.98 * earliestVerdictMs(profile));
  },
);

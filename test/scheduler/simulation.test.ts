/**
 * The control loop against agents that are played here, so that thousands of interleavings of user acts, exits, lost
 * answers, lost nodes and agent restarts can be tried in seconds; the real thing is in test/system. Each run has a seed.
 * Whatever happened, once all is calm every instance is where it belongs and nothing runs twice.
 */
import { MorchError } from '../../contract/errors';
import { isTerminal } from '../../contract/states';
import { workloadInputSchema } from '../../contract/workload';
import type { NodeRecord } from '../../scheduler/core/model';
import { until } from '../support/until';
import type { PlayedAgent } from './playedAgent';
import { NODE_CPU_MILLIS, PlayedCluster } from './playedCluster';

/** mulberry32: small, and the same everywhere. */
function randomOf(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const NODES = ['a', 'b', 'c', 'd'];

class World {
  private readonly generations = new Map<string, number>();
  private newKeys = 0;

  private constructor(
    private readonly random: () => number,
    private readonly cluster: PlayedCluster,
  ) {}

  static async make(seed: number): Promise<World> {
    const random = randomOf(seed);
    return new World(random, await PlayedCluster.make(NODES, random));
  }

  get agents(): PlayedAgent[] {
    return [...this.cluster.agents.values()];
  }

  private pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.random() * items.length)]!;
  }

  /** One random act of a user, a program, a network or a machine. */
  async act(): Promise<void> {
    const dice = this.random();
    const agent = this.pick(this.agents);
    if (dice < 0.3) agent.step();
    else if (dice < 0.6) for (const other of this.agents) other.deliver();
    else if (dice < 0.66) this.loseSight(agent);
    else if (dice < 0.74) this.cluster.bringBack(agent);
    else if (dice < 0.75) agent.closing = true;
    else if (dice < 0.78) this.restartKeeping(agent);
    else if (dice < 0.79) this.restartEmpty(agent);
    else if (dice < 0.82) this.toggleDrain(agent.node);
    else await this.user();
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
    this.check();
  }

  private async user(): Promise<void> {
    const id = `w${Math.floor(this.random() * 4)}`;
    const spec = {
      command: ['run', String(Math.floor(this.random() * 2))],
      kind: this.pick(['service', 'batch'] as const),
      replicas: Math.floor(this.random() * 6),
      resources: { cpuMillis: this.pick([0, 500, 1_500]), memoryBytes: 0 },
      restart: { backoffMs: 1, maxBackoffMs: 5 },
    };
    const input = workloadInputSchema.parse(
      this.random() < 0.15 ? { ...spec, kind: 'daemon', replicas: undefined } : spec,
    );
    const acts = [
      () => this.cluster.service.submit({ ...input, id }),
      () => this.cluster.service.apply(id, input),
      () => this.cluster.service.stop(id, this.random() < 0.3),
      () => this.cluster.service.restart(id),
      () => this.cluster.service.scale(id, Math.floor(this.random() * 8)),
    ];
    await this.pick(acts)().catch((error: unknown) => {
      if (!(error instanceof MorchError) || error.code === 'INTERNAL') throw error;
    });
  }

  /** The network, or the agent alone: what runs there runs on. */
  private loseSight(agent: PlayedAgent): void {
    if (!agent.connected) return;
    if (this.random() < 0.5) this.cluster.kill(agent);
    else this.cluster.cutOff(agent);
    if (this.random() < 0.7) this.cluster.verdict(agent);
  }

  /** The agent is back before it is missed. Unless something else happened, nobody notices. */
  private restartKeeping(agent: PlayedAgent): void {
    if (!agent.connected) return;
    agent.deliver();
    const before = this.recordsOn(agent);
    const { lastEventSeq } = this.cluster.state;
    this.cluster.kill(agent);
    this.cluster.bringBack(agent);
    expect(this.recordsOn(agent)).toEqual(before);
    expect(this.cluster.state.lastEventSeq).toBe(lastEventSeq);
  }

  /** As they are kept. */
  private recordsOn({ node }: PlayedAgent): unknown[] {
    const there = [...this.cluster.state.instancesOn(node.id)].map((instance) => JSON.parse(JSON.stringify(instance)));
    return there.sort((a, b) => (`${a.uid}/${a.slot}` < `${b.uid}/${b.slot}` ? -1 : 1));
  }

  /** Its machine starts anew, or its records are lost and it joins as another agent once the node is not heard. */
  private restartEmpty(agent: PlayedAgent): void {
    this.cluster.kill(agent);
    if (this.random() < 0.4) {
      agent.reboot();
    } else {
      if (agent.node.status !== 'lost' && this.random() < 0.6) this.cluster.verdict(agent);
      this.newKeys += 1;
      this.cluster.takeOver(agent, `${agent.node.id} again ${this.newKeys}`);
    }
    this.cluster.bringBack(agent);
  }

  private toggleDrain(node: NodeRecord): void {
    node.drain = node.drain === null ? { state: 'draining', deadlineAtMs: Date.now() + 3_600_000 } : null;
    this.cluster.state.saveNode(node);
    this.cluster.loop.visitDaemons();
    this.cluster.loop.wake();
  }

  /** What always holds. */
  check(): void {
    for (const instance of this.cluster.state.instances.values()) {
      const key = `${instance.uid}/${instance.slot}`;
      expect(instance.generation).toBeGreaterThanOrEqual(this.generations.get(key) ?? 0);
      this.generations.set(key, instance.generation);
    }
    for (const [key, generation] of this.generations) {
      const [uid] = key.split('/');
      const workload = this.cluster.state.workloads.get(uid!);
      if (workload !== undefined && !this.cluster.state.instances.has(key))
        expect(workload.generationFloor).toBeGreaterThanOrEqual(generation);
    }
    for (const id of NODES) {
      const sum = { cpuMillis: 0, memoryBytes: 0 };
      for (const { reserved } of this.cluster.state.instancesOn(id)) {
        sum.cpuMillis += reserved.cpuMillis;
        sum.memoryBytes += reserved.memoryBytes;
      }
      expect(this.cluster.state.allocatedOn(id)).toEqual(sum);
      expect(sum.cpuMillis).toBeLessThanOrEqual(NODE_CPU_MILLIS);
    }
  }

  /** No more faults: everything that is under way comes to its end. */
  async calm(): Promise<void> {
    for (const agent of this.agents) {
      agent.node.drain = null;
      this.cluster.state.saveNode(agent.node);
      this.cluster.bringBack(agent);
    }
    this.cluster.loop.visitDaemons();
    this.cluster.loop.wake();
    await until(
      () => {
        for (const agent of this.agents) {
          agent.settle();
          agent.deliver();
        }
        return this.isSettled();
      },
      { timeoutMs: 10_000, what: 'all is settled' },
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${this.describe()}`);
    });
  }

  private isSettled(): boolean {
    for (const workload of this.cluster.state.workloads.values()) {
      const instances = [...this.cluster.state.instancesOf(workload).values()];
      const count = workload.spec.kind === 'daemon' ? NODES.length : workload.spec.replicas;
      if (workload.goal === 'run' && instances.length !== count) return false;
      if (workload.goal === 'stop' && workload.purge) return false;
      const waiting = instances.filter(({ statusReason }) => statusReason?.startsWith('no node fits'));
      for (const instance of instances) {
        const { status, replacing } = instance;
        const settled = status === 'running' || isTerminal(status) || waiting.includes(instance);
        if (workload.goal === 'stop' ? !isTerminal(status) : !settled) return false;
        if (replacing !== null && waiting.length === 0) return false;
      }
    }
    const wanted = [...this.cluster.state.instances.values()].filter((i) => i.status === 'running').length;
    const live = this.agents.reduce((sum, agent) => sum + agent.live.length, 0);
    return live === wanted;
  }

  private describe(): string {
    return JSON.stringify({
      workloads: [...this.cluster.state.workloads.values()].map(({ spec, goal, status, purge, revision }) => ({
        id: spec.id,
        kind: spec.kind,
        replicas: spec.replicas,
        goal,
        status,
        purge,
        revision,
      })),
      instances: [...this.cluster.state.instances.values()],
      nodes: NODES.map((id) => ({
        id,
        status: this.cluster.state.nodes.get(id)?.status,
        stale: [...this.cluster.state.runtimeOf(id).stale],
        live: this.cluster.agents.get(id)!.live.map((c) => c.report),
      })),
    });
  }

  /** Once all is calm. */
  checkPlaces(): void {
    expect(this.cluster.startedTwice()).toEqual([]);
    for (const { live, node } of this.agents) {
      for (const { report } of live) {
        const instance = this.cluster.state.instances.get(`${report.uid}/${report.slot}`);
        expect(instance).toMatchObject({ node: node.id, generation: report.generation, status: 'running' });
      }
    }
  }

  close(): Promise<void> {
    return this.cluster.close();
  }
}

const SEEDS = Array.from(
  { length: Number(process.env.SIMULATION_SEEDS ?? 40) },
  (_, i) => i + Number(process.env.SIMULATION_FROM ?? 1),
);

it.each(SEEDS)('ends with everything where it belongs (seed %i)', async (seed) => {
  const world = await World.make(seed);
  try {
    for (let i = 0; i < 150; i++) await world.act();
    await world.calm();
    world.checkPlaces();
  } finally {
    await world.close();
  }
});

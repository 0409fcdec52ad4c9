/**
 * The control loop against agents that are played here, so that thousands of interleavings of user acts, exits, lost
 * answers, lost nodes and agent restarts can be tried in seconds; the real thing is in test/system. Each run has a seed.
 * Whatever happened, once all is calm every instance is where it belongs and nothing runs twice.
 */
import { pino } from 'pino';
import type { InstanceReport, Started, StartInstance, StopBatch } from '../../contract/agentApi';
import { MorchError } from '../../contract/errors';
import { isTerminal } from '../../contract/states';
import { workloadInputSchema } from '../../contract/workload';
import type { BatchAnswer } from '../../scheduler/agentClient';
import { ControlLoop } from '../../scheduler/controlLoop';
import { DEFAULT_HEALTH_POLICY } from '../../scheduler/core/health';
import type { NodeRecord } from '../../scheduler/core/model';
import { Journal } from '../../scheduler/journal';
import { NodeRegistry } from '../../scheduler/nodeRegistry';
import { Service } from '../../scheduler/service';
import { State } from '../../scheduler/state';
import { openMemoryStore } from '../../scheduler/store/memory';
import { until } from '../support/until';

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

interface Copy {
  report: InstanceReport;
  maxAttempts: number;
  always: boolean;
}

class PlayedAgent {
  readonly copies = new Map<string, Copy>();
  /** Told in order, when the connection lets it. */
  private queue: InstanceReport[] = [];
  connected = true;

  constructor(
    readonly node: NodeRecord,
    private readonly random: () => number,
    private readonly hear: (report: InstanceReport) => void,
    /** Every generation that ever ran, to see that none runs in two places. */
    private readonly everRan: Map<string, string>,
  ) {}

  get live(): Copy[] {
    return [...this.copies.values()].filter(({ report }) => !isTerminal(report.status as never));
  }

  async start(commands: readonly StartInstance[]): Promise<BatchAnswer<Started>[]> {
    await this.dawdle();
    if (this.random() < 0.05) throw new MorchError('NODE_UNREACHABLE', 'the question was lost');
    const answers = commands.map((command) => this.startOne(command));
    await this.dawdle();
    if (this.random() < 0.05) throw new MorchError('NODE_UNREACHABLE', 'the answer was lost');
    return answers;
  }

  /** A question or an answer is under way for some turns of the event loop. */
  private async dawdle(): Promise<void> {
    for (let turns = Math.floor(this.random() * 12) - 6; turns > 0; turns--) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  private startOne(command: StartInstance): BatchAnswer<Started> {
    const { instanceId, uid, generation } = command as StartInstance & {
      instanceId: string;
      uid: string;
      generation: number;
    };
    const slot = instanceId.slice(instanceId.indexOf('.') + 1);
    const key = `${uid}/${slot}`;
    const known = this.copies.get(key)?.report;
    const started = (run: number): BatchAnswer<Started> => ({
      ok: true,
      value: {
        instanceId,
        generation,
        run,
        pid: 1_000 + generation,
        shimPid: 900 + generation,
        startedAt: new Date().toISOString(),
      },
    });
    if (known !== undefined && known.generation > generation)
      return { ok: false, error: new MorchError('STALE_GENERATION', 'past') };
    if (known !== undefined && known.generation === generation) {
      if (known.startError !== null)
        return {
          ok: false,
          error: new MorchError('START_FAILED', 'again', {
            system: { syscall: 'execve', errno: 2, errnoCode: 'ENOENT' },
          }),
        };
      return known.run === 0 ? { ok: false, error: new MorchError('STALE_GENERATION', 'tombstone') } : started(1);
    }
    const ran = this.everRan.get(`${key}/${generation}`);
    if (ran !== undefined && ran !== this.node.id)
      throw new Error(`${key} generation ${generation} was started on ${ran} and ${this.node.id}`);
    this.everRan.set(`${key}/${generation}`, this.node.id);
    const report: InstanceReport = {
      uid,
      slot,
      instanceId,
      generation,
      run: 1,
      rev: 9,
      status: 'running',
      statusReason: null,
      pid: 1_000 + generation,
      shimPid: 900 + generation,
      startedAt: new Date().toISOString(),
      exit: null,
      attempts: (command.attemptsUsed ?? 0) + 1,
      lost: false,
      startError: null,
    };
    const copy: Copy = {
      report,
      maxAttempts: command.restart?.attempts ?? 3,
      always: command.restart?.policy === 'always',
    };
    this.copies.set(key, copy);
    if (this.random() < 0.06) {
      this.change(copy, {
        status: 'failed',
        rev: 12,
        pid: null,
        startError: { detail: 'no', syscall: 'execve', errno: 2, errnoCode: 'ENOENT' },
      });
      return {
        ok: false,
        error: new MorchError('START_FAILED', 'no', { system: { syscall: 'execve', errno: 2, errnoCode: 'ENOENT' } }),
      };
    }
    this.queue.push({ ...report });
    return started(1);
  }

  async stop(targets: StopBatch['instances']): Promise<BatchAnswer<unknown>[]> {
    await this.dawdle();
    if (this.random() < 0.05) throw new MorchError('NODE_UNREACHABLE', 'the question was lost');
    return targets.map(({ instanceId, uid, generation }) => {
      const slot = instanceId.slice(instanceId.indexOf('.') + 1);
      const copy = this.copies.get(`${uid}/${slot}`);
      if (copy === undefined || copy.report.generation < generation) {
        const tombstone: InstanceReport = {
          uid,
          slot,
          instanceId,
          generation,
          run: 0,
          rev: 4,
          status: 'stopped',
          statusReason: null,
          pid: null,
          shimPid: null,
          startedAt: null,
          exit: null,
          attempts: 0,
          lost: false,
          startError: null,
        };
        this.copies.set(`${uid}/${slot}`, { report: tombstone, maxAttempts: 1, always: false });
        this.queue.push(tombstone);
        return { ok: false, error: new MorchError('INSTANCE_NOT_FOUND', 'none') };
      }
      if (copy.report.generation > generation) return { ok: false, error: new MorchError('STALE_GENERATION', 'past') };
      if (!isTerminal(copy.report.status as never))
        this.change(copy, { status: 'stopping', rev: copy.report.run * 8 + 2 });
      return {
        ok: true,
        value: { instanceId, generation, run: copy.report.run, status: copy.report.status, exit: copy.report.exit },
      };
    });
  }

  /** One thing that happens by itself. */
  step(): void {
    const live = this.live;
    const copy = live[Math.floor(this.random() * live.length)];
    if (copy !== undefined) this.end(copy);
  }

  /** What is being stopped ends, what waits in backoff runs again. */
  settle(): void {
    for (const copy of this.live) if (copy.report.status !== 'running') this.end(copy);
  }

  private end(copy: Copy): void {
    const { report } = copy;
    const exit = { code: 1, signal: null, at: new Date().toISOString(), oomKilled: false };
    if (report.status === 'stopping') {
      this.change(copy, { status: 'stopped', rev: report.run * 8 + 4, pid: null, exit });
    } else if (report.status === 'backoff') {
      const run = report.run + 1;
      this.change(copy, { status: 'running', run, rev: run * 8 + 1, pid: 2_000 + run, attempts: report.attempts + 1 });
    } else if (copy.always || report.attempts < copy.maxAttempts) {
      this.change(copy, { status: 'backoff', rev: report.run * 8 + 3, pid: null, exit });
    } else {
      this.change(copy, { status: 'failed', rev: report.run * 8 + 4, pid: null, exit });
    }
  }

  /** The agent dies and is back: what ran is gone, and it says so. */
  restart(): void {
    this.queue = [];
    for (const { report } of this.live)
      Object.assign(report, { status: 'failed', rev: report.run * 8 + 4, lost: true, pid: null });
  }

  private change(copy: Copy, patch: Partial<InstanceReport>): void {
    Object.assign(copy.report, patch);
    this.queue.push({ ...copy.report });
  }

  deliver(): void {
    if (!this.connected) return;
    for (const report of this.queue.splice(0)) this.hear(report);
  }

  inventory(): InstanceReport[] {
    this.queue = [];
    return [...this.copies.values()].map(({ report }) => ({ ...report }));
  }

  forget(keys: { uid: string; slot: string; generation: number }[]): void {
    for (const { uid, slot, generation } of keys) {
      const copy = this.copies.get(`${uid}/${slot}`);
      if (copy?.report.generation === generation && isTerminal(copy.report.status as never))
        this.copies.delete(`${uid}/${slot}`);
    }
  }
}

const log = pino({ level: 'silent' });
const NODES = ['a', 'b', 'c', 'd'];

class World {
  readonly random: () => number;
  readonly agents = new Map<string, PlayedAgent>();
  private readonly generations = new Map<string, number>();

  private constructor(
    seed: number,
    readonly state: State,
    readonly loop: ControlLoop,
    readonly service: Service,
    private readonly journal: Journal,
  ) {
    this.random = randomOf(seed);
  }

  static async make(seed: number): Promise<World> {
    const store = openMemoryStore();
    const state = await State.load(store, 'cluster');
    const journal: Journal = new Journal(
      store,
      state,
      () => undefined,
      log,
      () => loop.wake(),
    );
    const links = {
      senderOf: (id: string) => (world.agents.get(id)?.connected ? world.agents.get(id)! : null),
      forget: (id: string, keys: { uid: string; slot: string; generation: number }[]) => {
        if (world.agents.get(id)?.connected) world.agents.get(id)!.forget(keys);
      },
    };
    const loop: ControlLoop = new ControlLoop(state, journal, links as never, log);
    const registry = new NodeRegistry(state, DEFAULT_HEALTH_POLICY, log);
    const service = new Service(state, journal, loop, registry, store, 0);
    const world: World = new World(seed, state, loop, service, journal);
    const everRan = new Map<string, string>();
    for (const id of NODES) {
      const node: NodeRecord = {
        id,
        host: '127.0.0.1',
        port: 1,
        nodeKey: id,
        agentLabels: {},
        givenLabels: {},
        capacity: { cpuMillis: 4_000, memoryBytes: 2 ** 30 },
        features: [],
        version: '0',
        incarnation: id,
        cordoned: false,
        drain: null,
        status: 'healthy',
        statusReason: null,
        lastContactAt: null,
      };
      state.addNode(node);
      state.runtimeOf(id).connected = true;
      world.agents.set(id, new PlayedAgent(node, world.random, (report) => loop.takeIn(id, report), everRan));
    }
    return world;
  }

  private pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.random() * items.length)]!;
  }

  /** One random act of a user, a program, a network or a machine. */
  async act(): Promise<void> {
    const dice = this.random();
    const agent = this.pick([...this.agents.values()]);
    if (dice < 0.3) agent.step();
    else if (dice < 0.6) for (const other of this.agents.values()) other.deliver();
    else if (dice < 0.66) this.cutOff(agent);
    else if (dice < 0.74) this.bringBack(agent);
    else if (dice < 0.77) this.restartAgent(agent);
    else if (dice < 0.8) this.toggleDrain(agent.node);
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
      () => this.service.submit({ ...input, id }),
      () => this.service.apply(id, input),
      () => this.service.stop(id, this.random() < 0.3),
      () => this.service.restart(id),
      () => this.service.scale(id, Math.floor(this.random() * 8)),
    ];
    await this.pick(acts)().catch((error: unknown) => {
      if (!(error instanceof MorchError) || error.code === 'INTERNAL') throw error;
    });
  }

  private cutOff(agent: PlayedAgent): void {
    if (!agent.connected) return;
    agent.connected = false;
    this.state.runtimeOf(agent.node.id).connected = false;
    this.state.setNodeStatus(agent.node, 'suspect', null);
    if (this.random() < 0.7) this.verdict(agent);
  }

  private verdict(agent: PlayedAgent): void {
    const at = new Date().toISOString();
    this.state.setNodeStatus(agent.node, 'lost', null);
    this.loop.nodeLost(agent.node, { lastContactAt: at, suspectAt: null, verdictAt: at });
  }

  bringBack(agent: PlayedAgent): void {
    if (agent.connected) return;
    agent.connected = true;
    this.state.runtimeOf(agent.node.id).connected = true;
    this.loop.takeInventory(agent.node.id, agent.inventory(), performance.now());
    this.state.setNodeStatus(agent.node, 'healthy', null);
    this.loop.wake();
  }

  private restartAgent(agent: PlayedAgent): void {
    agent.restart();
    if (agent.connected) this.loop.takeInventory(agent.node.id, agent.inventory(), performance.now());
  }

  private toggleDrain(node: NodeRecord): void {
    node.drain = node.drain === null ? { state: 'draining', deadlineAtMs: Date.now() + 3_600_000 } : null;
    this.state.saveNode(node);
    this.loop.visitDaemons();
    this.loop.wake();
  }

  /** What always holds. */
  check(): void {
    for (const instance of this.state.instances.values()) {
      const key = `${instance.uid}/${instance.slot}`;
      expect(instance.generation).toBeGreaterThanOrEqual(this.generations.get(key) ?? 0);
      this.generations.set(key, instance.generation);
    }
    for (const [key, generation] of this.generations) {
      const [uid] = key.split('/');
      const workload = this.state.workloads.get(uid!);
      if (workload !== undefined && !this.state.instances.has(key))
        expect(workload.generationFloor).toBeGreaterThanOrEqual(generation);
    }
    for (const id of NODES) {
      const sum = { cpuMillis: 0, memoryBytes: 0 };
      for (const { reserved } of this.state.instancesOn(id)) {
        sum.cpuMillis += reserved.cpuMillis;
        sum.memoryBytes += reserved.memoryBytes;
      }
      expect(this.state.allocatedOn(id)).toEqual(sum);
      expect(sum.cpuMillis).toBeLessThanOrEqual(4_000);
    }
  }

  /** No more faults: everything that is under way comes to its end. */
  async calm(): Promise<void> {
    for (const agent of this.agents.values()) {
      agent.node.drain = null;
      this.bringBack(agent);
    }
    this.loop.visitDaemons();
    this.loop.wake();
    await until(
      () => {
        for (const agent of this.agents.values()) {
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
    for (const workload of this.state.workloads.values()) {
      const instances = [...this.state.instancesOf(workload).values()];
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
    const wanted = [...this.state.instances.values()].filter((i) => i.status === 'running').length;
    const live = [...this.agents.values()].reduce((sum, agent) => sum + agent.live.length, 0);
    return live === wanted;
  }

  private describe(): string {
    return JSON.stringify({
      workloads: [...this.state.workloads.values()].map(({ spec, goal, status, purge, revision }) => ({
        id: spec.id,
        kind: spec.kind,
        replicas: spec.replicas,
        goal,
        status,
        purge,
        revision,
      })),
      instances: [...this.state.instances.values()],
      nodes: NODES.map((id) => ({
        id,
        status: this.state.nodes.get(id)?.status,
        stale: [...this.state.runtimeOf(id).stale],
        live: this.agents.get(id)!.live.map((c) => c.report),
      })),
    });
  }

  async close(): Promise<void> {
    this.loop.close();
    await this.journal.close();
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
    for (const agent of world.agents.values()) {
      for (const { report } of agent.live) {
        const instance = world.state.instances.get(`${report.uid}/${report.slot}`);
        expect(instance).toMatchObject({ node: agent.node.id, generation: report.generation, status: 'running' });
      }
    }
  } finally {
    await world.close();
  }
});

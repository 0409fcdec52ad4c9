/**
 * After the store was lost, restored or damaged: the agents are asked what runs, and it is taken over rather than stopped.
 * Until their inventories are in (or an operator says so) nothing is started. The registry hands inventories to it while it
 * is on; the placer and the outbox start nothing meanwhile. See docs/protocol.md.
 */
import { performance } from 'node:perf_hooks';
import type { Logger } from 'pino';
import type { HelloMessage, InstanceReport, KeptInstance } from '../contract/agentApi';
import { pickProcess } from '../contract/workload';
import { fenceEndsMs } from './core/healthPolicy';
import { hasEnded } from './core/intake';
import { type InstanceRecord, instanceKey, type WorkloadRecord } from './core/model';
import { emitAbout } from './instanceEvents';
import type { RebuildReason } from './meta';
import type { Testimony } from './proofs';
import { newInstance } from './reconcile';
import type { State } from './state';

/** Agents that no record speaks of make themselves known within this time of hearing no scheduler. */
const AT_LEAST_MS = 12_000;
/** Timers take no longer ones (2^31 - 1); it is looked again then. */
const TIMER_AT_MOST_MS = 2 ** 31 - 1;
/** Since the last inventory. */
const QUIET_MS = 5_000;
const LOOK_MS = 250;
/** So far ahead go generations of what may run, unseen, on nodes that have not answered. */
const UNSEEN_GENERATIONS = 1_000;

export interface RebuildMeans {
  /** What the agent was told to run. @throws when it does not answer */
  askKept(nodeId: string): Promise<KeptInstance[]>;
  /** Takes in a report like any other. */
  takeIn(nodeId: string, report: InstanceReport): void;
  /** All nodes are to tell their inventories once more, to the ordinary rules. */
  onEnded(): void;
  /** Copies of which nobody knows are dead by now, where they were fenced. */
  onFencesOver(): void;
}

export class Rebuild {
  private readonly heardFrom = new Set<string>();
  private sinceMs = performance.now();
  private lastHeardAtMs = performance.now();
  private timer: NodeJS.Timeout | null = null;
  private fencesTimer: NodeJS.Timeout | null = null;

  /** @param leaseMs the longest that is known to have been given; agents may tell of a longer one */
  constructor(
    private readonly state: State,
    private readonly means: RebuildMeans,
    private leaseMs: number,
    private readonly log: Logger,
  ) {
    if (this.isOn) {
      state.meta.unseenFenced = true;
      state.saveMeta();
      this.watch();
    }
    if (state.meta.unseenFenced === true) this.awaitFences();
  }

  get isOn(): boolean {
    return this.state.meta.rebuilding != null;
  }

  begin(reason: RebuildReason): void {
    if (this.isOn) return;
    this.state.meta.rebuilding = { reason, since: new Date().toISOString() };
    this.state.meta.unseenFenced = true;
    this.state.saveMeta();
    this.state.emit({ type: 'scheduler.rebuilding', data: { reason } }, new Date().toISOString());
    this.log.error({ reason }, 'learning from the agents what runs; nothing is started until that is known');
    this.heardFrom.clear();
    this.sinceMs = performance.now();
    this.lastHeardAtMs = this.sinceMs;
    this.watch();
    this.awaitFences();
  }

  /** What runs on the node is taken over. What it lacks, or has of an earlier generation, is judged when all are heard. */
  takeInventory(nodeId: string, hello: Pick<HelloMessage, 'instances' | 'leaseMs'>): void {
    this.leaseMs = Math.max(this.leaseMs, hello.leaseMs);
    this.means
      .askKept(nodeId)
      .then((kept) => {
        if (!this.isOn) return;
        for (const workload of latestByUid(kept).values()) this.adoptWorkload(nodeId, workload);
        for (const report of hello.instances) this.adopt(nodeId, report);
        this.heardFrom.add(nodeId);
        this.lastHeardAtMs = performance.now();
      })
      .catch((error: unknown) => {
        this.log.warn({ node: nodeId, err: error }, 'the agent has not told what it runs; it is asked again');
        setTimeout(() => {
          const connected = this.state.nodes.has(nodeId) && this.state.runtimeOf(nodeId).session !== null;
          if (this.isOn && connected) this.takeInventory(nodeId, hello);
        }, QUIET_MS).unref();
      });
  }

  /** @returns whether it was on */
  end(by: 'inventories' | 'operator'): boolean {
    if (!this.isOn) return false;
    const { reason } = this.state.meta.rebuilding!;
    const missing = [...this.state.nodes.keys()].filter((id) => !this.heardFrom.has(id));
    // Of an empty store nobody knows which nodes there were.
    if (missing.length > 0 || reason === 'empty') this.skipGenerations();
    this.state.meta.rebuilding = null;
    this.state.saveMeta();
    this.state.emit({ type: 'scheduler.rebuilt', data: { by, reason, missing } }, new Date().toISOString());
    this.log.warn({ by, missing }, 'what runs is known again; starts go on');
    this.stopWatching();
    this.means.onEnded();
    return true;
  }

  close(): void {
    this.stopWatching();
    if (this.fencesTimer !== null) clearTimeout(this.fencesTimer);
    this.fencesTimer = null;
  }

  private stopWatching(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
  }

  /**
   * A node that has not answered may run fenced copies that no record tells of, as long as its lease lasts: no fenced
   * instance is placed before (`meta.unseenFenced`), not even when an operator has ended the rebuilding.
   */
  private awaitFences(): void {
    const leftMs = fenceEndsMs(this.sinceMs + this.leaseMs, this.leaseMs) - performance.now();
    if (leftMs > 0) {
      this.fencesTimer = setTimeout(() => this.awaitFences(), Math.min(Math.ceil(leftMs), TIMER_AT_MOST_MS));
      return;
    }
    this.fencesTimer = null;
    this.state.meta.unseenFenced = false;
    this.state.saveMeta();
    this.means.onFencesOver();
  }

  private watch(): void {
    this.timer ??= setInterval(() => {
      const nowMs = performance.now();
      if (nowMs - this.sinceMs < AT_LEAST_MS || nowMs - this.lastHeardAtMs < QUIET_MS) return;
      const nodes = [...this.state.nodes.values()];
      const settled = nodes.every(({ id, status }) => this.heardFrom.has(id) || status === 'lost');
      if (settled && this.heardFrom.size > 0) this.end('inventories');
    }, LOOK_MS);
  }

  private adoptWorkload(nodeId: string, kept: KeptInstance): void {
    const told = this.testimonyOf(nodeId, kept);
    if (told === null) return;
    const { uid, spec, version } = told;
    const known = this.state.workloads.get(uid);
    if (known !== undefined && known.version >= version) return;
    // The name has been used again: that workload is the later one.
    if (known === undefined && this.state.workloadById(spec.id) !== undefined) return;
    const updatedAt = new Date().toISOString();
    if (known !== undefined) {
      Object.assign(known, { ...told, updatedAt });
      this.state.saveWorkload(known);
      return;
    }
    const adopted: WorkloadRecord = {
      ...told,
      goal: 'run',
      purge: false,
      generationFloor: 0,
      status: 'pending',
      updatedAt,
    };
    this.state.addWorkload(adopted);
    emitAbout(this.state, 'workload.adopted', adopted, null, { data: { version } });
  }

  /** @returns what the workload is; null when the agent, which may be somebody else's by now, has no proof of it */
  private testimonyOf(nodeId: string, kept: KeptInstance): Testimony | null {
    const { testimony } = kept.workload ?? {};
    const proven = testimony === undefined ? null : this.state.proofs.read(testimony);
    if (proven?.uid === kept.uid) return proven;
    if (this.state.believesAgents) return wordOf(kept);
    this.log.error(
      { node: nodeId, uid: kept.uid, instance: kept.instanceId },
      'the agent has no proof that a scheduler told it to run this: it is not taken over',
    );
    return null;
  }

  private adopt(nodeId: string, report: InstanceReport): void {
    const workload = this.state.workloads.get(report.uid);
    if (workload === undefined) return;
    const known = this.state.instances.get(instanceKey(report));
    // A tombstone, or the end of what nobody knows any more.
    if (known === undefined && hasEnded(report)) return;
    if (known === undefined || report.generation > known.generation)
      this.adoptGeneration(nodeId, report, workload, known);
    this.means.takeIn(nodeId, report);
  }

  /** As if this scheduler had placed it there; what the report says of it is taken in next. */
  private adoptGeneration(
    nodeId: string,
    report: InstanceReport,
    workload: WorkloadRecord,
    known: InstanceRecord | undefined,
  ): void {
    const placed: Partial<InstanceRecord> = {
      generation: report.generation,
      run: 0,
      rev: -1,
      revision: workload.revision,
      status: 'starting',
      statusReason: `found on ${nodeId}`,
      node: nodeId,
      lingersOn: null,
      onDisconnect: workload.spec.onDisconnect ?? 'replace',
      fenced: false,
      reserved: { ...workload.spec.resources },
      replacing: null,
    };
    if (known === undefined) this.state.addInstance({ ...newInstance(workload, report.slot), ...placed });
    else this.state.adoptInstance(known, placed);
  }

  private skipGenerations(): void {
    for (const workload of this.state.workloads.values()) {
      let highest = workload.generationFloor;
      for (const { generation } of this.state.instancesOf(workload).values()) highest = Math.max(highest, generation);
      workload.generationFloor = highest + UNSEEN_GENERATIONS;
      this.state.saveWorkload(workload);
    }
  }
}

/** Of each workload what was told last, as far as these agents know. */
function latestByUid(kept: readonly KeptInstance[]): Map<string, KeptInstance> {
  const latest = new Map<string, KeptInstance>();
  for (const one of kept) {
    const before = latest.get(one.uid);
    if (before === undefined || (one.workload?.version ?? 0) > (before.workload?.version ?? 0))
      latest.set(one.uid, one);
  }
  return latest;
}

/** As the agent itself has it. */
function wordOf({ uid, instanceId, kind, restart, stop, workload: origin, ...rest }: KeptInstance): Testimony {
  const { labels = {}, resources = { cpuMillis: 0, memoryBytes: 0 }, replicas } = origin ?? {};
  const spec: WorkloadRecord['spec'] = {
    id: instanceId.slice(0, instanceId.lastIndexOf('.')),
    kind,
    ...pickProcess(rest),
    restart,
    stop,
    labels,
    ...(kind === 'daemon' ? {} : { replicas: replicas ?? 1 }),
    resources,
    placement: origin?.placement ?? { strategy: 'spread', constraints: [] },
  };
  const { version = 1, revision = 1, createdAt = new Date().toISOString() } = origin ?? {};
  return { uid, spec, version, revision, createdAt };
}

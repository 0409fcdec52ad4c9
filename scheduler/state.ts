/**
 * All of the scheduler's state in memory, with the indexes the control loop needs, and the list of what is not
 * durable yet. Every change of a record goes through here, so that indexes, state tables and the journal cannot
 * disagree. Reads are free for all; journal.ts takes the changes. Over 400 lines: each index is kept by the acts that change it.
 */
import { randomUUID } from 'node:crypto';
import type { MorchEvent } from '../contract/events';
import {
  assertTransition,
  INSTANCE_TRANSITIONS,
  isTerminal,
  mayHoldProcess,
  NODE_TRANSITIONS,
} from '../contract/states';
import {
  type InstanceRecord,
  instanceKey,
  isUnplaced,
  type NodeRecord,
  type NodeRuntime,
  type WorkloadRecord,
} from './core/model';
import { type StatusCounts, workloadStatusOf } from './core/workloadStatus';
import type { WorkloadHistory } from './events/history';
import { InstancesByKey } from './instancesByKey';
import { InstanceUsage } from './instanceUsage';
import { ListIndex } from './listIndex';
import { firstOfLastEvents, loadMeta, type Meta } from './meta';
import type { Proofs } from './proofs';
import {
  beginRecovery,
  emptyRecoveryLog,
  endRecovery,
  loadedRecoveryLog,
  type RecoveryLog,
  recoveryPlaced,
  recoveryStarted,
  type StoredRecoveryLog,
  storedRecoveryLog,
} from './recoveryLog';
import { StateRecords } from './stateRecords';
import { keys, prefixes } from './store/keys';
import type { Store, StoreOp } from './store/store';
import { instanceOf, type StoredInstance, storedInstance } from './storedInstance';

export class State {
  readonly workloads = new Map<string, WorkloadRecord>();
  private readonly instancesByWorkload = new Map<string, Map<string, InstanceRecord>>();
  readonly instances = new InstancesByKey(this.instancesByWorkload);
  readonly nodes = new Map<string, NodeRecord>();
  readonly recoveries: RecoveryLog;
  /** What agents are told this scheduler is: of `meta` as far as it is durable. */
  readonly term: { clusterId: string; epoch: number; id: string; readonly mark: number; readonly proof: string };
  /** Instances that wait for a place, in the order in which they began to. */
  readonly unplaced = new Set<InstanceRecord>();
  readonly usage = new InstanceUsage();
  readonly lists = new ListIndex();
  /** Workloads and instances that the next pass has to look at. */
  readonly workloadsToVisit = new Set<WorkloadRecord>();
  /** Workloads of which instances have changed, in nothing from which more can follow than another status of theirs. */
  readonly workloadsToSettle = new Set<WorkloadRecord>();
  readonly instancesToVisit = new Set<InstanceRecord>();

  /** Of all instances on record. */
  readonly statusCounts: StatusCounts = {};
  /** Told how long each recovery took, in ms. */
  onRecovered: (ms: number) => void = () => {};

  private readonly uidById = new Map<string, string>();
  private readonly instancesByNode = new Map<string, Set<InstanceRecord>>();
  private readonly lingeringByNode = new Map<string, Set<InstanceRecord>>();
  private readonly countsByWorkload = new Map<string, StatusCounts>();
  private readonly runtimes = new Map<string, NodeRuntime>();
  private readonly allocated = new Map<string, { cpuMillis: number; memoryBytes: number }>();
  private dirty = new Map<string, () => unknown>();
  private events: MorchEvent[] = [];

  private constructor(
    private readonly store: Pick<Store, 'mark' | 'skipAhead'>,
    readonly meta: Meta,
    private lastSeq: number,
    recoveries: RecoveryLog,
    /** What was found missing while loading, for the log. */
    readonly notes: readonly string[],
    readonly proofs: Proofs,
    /** Of the events that are durable. */
    readonly history: WorkloadHistory,
  ) {
    this.recoveries = recoveries;
    const { clusterId, epoch } = meta;
    this.term = {
      clusterId,
      epoch,
      id: randomUUID(),
      get mark() {
        return store.mark;
      },
      get proof() {
        return proofs.standingOf(this);
      },
    };
  }

  /**
   * Reads everything from the store, and tolerates what damage may have taken from it: `notes` tell what was missing
   * and what was made of it. A damage that the store's opening found is dealt with by setting `rebuilding`; both are
   * durable with the next commit.
   *
   * @param newClusterId used when the store is empty, or nothing in it tells the cluster's
   * @param records of the store, as it is now
   * @throws Error when the store was written by a later version
   */
  static async load(store: Store, newClusterId: string, proofs: Proofs, records?: StateRecords): Promise<State> {
    const found = records ?? (await StateRecords.of(store));
    const { nodes, workloads, instances, orphans, openRecoveries, history } = found;
    const notes: string[] = [];
    const meta = await loadMeta(store, newClusterId, notes);
    let lastSeq = meta.firstEventSeq - 1;
    for await (const [, event] of store.range(prefixes.event, { reverse: true, limit: 1 })) {
      lastSeq = (event as MorchEvent).seq;
    }
    const stored = (await store.get(keys.recovery)) as StoredRecoveryLog | undefined;
    const recoveries = stored === undefined ? emptyRecoveryLog() : loadedRecoveryLog(stored);
    const state = new State(store, meta, lastSeq, recoveries, notes, proofs, history);
    // Of an earlier version, which kept them with the rest.
    for (const key of recoveries.open.keys()) state.saveRecovery(key);
    for (const open of openRecoveries) recoveries.open.set(open.key, open);
    for (const node of nodes.values()) state.indexNode(node);
    for (const workload of inOrderOfEnding(workloads.values())) state.indexWorkload(workload);
    for (const [key, stored] of orphans) state.setAside(key, stored, notes);
    for (const instance of instances) state.loadInstance(instance, notes);
    // Records of nodes without the meta record are those of a cluster whose id was lost with it: its agents tell it.
    if (state.nodes.size > 0 && meta.epoch > 0) meta.joined = true;
    if (meta.keyId !== proofs.keyId) {
      if (meta.joined === true) {
        meta.unproven = true;
        notes.push(
          'secret.key is not the one that agents have heard of: should the records be lost, what agents tell will be believed without proof.',
        );
      }
      meta.keyId = proofs.keyId;
      state.saveMeta();
    }
    if ((await store.get(keys.damage)) !== undefined) {
      meta.firstEventSeq = (await firstOfLastEvents(store)) ?? lastSeq + 1;
      meta.rebuilding = { reason: 'damaged', since: new Date().toISOString() };
      state.saveMeta();
      state.delete(keys.damage);
    }
    const isDamaged = meta.rebuilding?.reason === 'damaged';
    for (const workload of workloads.values()) {
      if (isDamaged || !state.isSettled(workload)) state.workloadsToVisit.add(workload);
    }
    return state;
  }

  // ---- reading

  workloadById(id: string): WorkloadRecord | undefined {
    const uid = this.uidById.get(id);
    return uid === undefined ? undefined : this.workloads.get(uid);
  }

  instancesOf(workload: WorkloadRecord): ReadonlyMap<string, InstanceRecord> {
    return this.instancesByWorkload.get(workload.uid) ?? new Map();
  }

  countsOf(workload: WorkloadRecord): StatusCounts {
    return this.countsByWorkload.get(workload.uid) ?? {};
  }

  /** Instances whose current generation may hold a process there. */
  instancesOn(nodeId: string): ReadonlySet<InstanceRecord> {
    return this.instancesByNode.get(nodeId) ?? new Set();
  }

  /** Unplaced instances whose last copy may still be on that node, which was lost. */
  lingeringOn(nodeId: string): ReadonlySet<InstanceRecord> {
    return this.lingeringByNode.get(nodeId) ?? new Set();
  }

  runtimeOf(nodeId: string): NodeRuntime {
    let runtime = this.runtimes.get(nodeId);
    if (runtime === undefined) {
      runtime = {
        usage: null,
        usageAtMs: 0,
        session: null,
        leaseEndsAtMs: Number.NEGATIVE_INFINITY,
        leaving: false,
        stale: new Set(),
        unseenCpuMillis: 0,
        consecutiveFailures: 0,
      };
      this.runtimes.set(nodeId, runtime);
    }
    return runtime;
  }

  allocatedOn(nodeId: string): { cpuMillis: number; memoryBytes: number } {
    return this.allocated.get(nodeId) ?? { cpuMillis: 0, memoryBytes: 0 };
  }

  get lastEventSeq(): number {
    return this.lastSeq;
  }

  // ---- changing

  addWorkload(workload: WorkloadRecord): void {
    this.indexWorkload(workload);
    this.saveWorkload(workload);
  }

  /** After a change of the record's own fields. */
  saveWorkload(workload: WorkloadRecord): void {
    this.lists.noteWorkload(workload);
    this.mark(keys.workload(workload.uid), () => workload);
    this.workloadsToVisit.add(workload);
  }

  /** Its instances must be gone. */
  removeWorkload(workload: WorkloadRecord): void {
    this.workloads.delete(workload.uid);
    if (this.uidById.get(workload.spec.id) === workload.uid) this.uidById.delete(workload.spec.id);
    this.lists.dropWorkload(workload);
    this.instancesByWorkload.delete(workload.uid);
    this.countsByWorkload.delete(workload.uid);
    this.workloadsToVisit.delete(workload);
    this.workloadsToSettle.delete(workload);
    this.mark(keys.workload(workload.uid), () => undefined);
  }

  addInstance(instance: InstanceRecord): void {
    this.indexInstance(instance);
    this.touchInstance(instance, true);
  }

  /** @throws Error when the change of status is not in the table, or the record has been removed */
  updateInstance(instance: InstanceRecord, patch: Partial<InstanceRecord>): void {
    if (this.instances.get(instanceKey(instance)) !== instance)
      throw new Error(`instance ${instance.id} has been removed`);
    if (patch.status !== undefined) {
      assertTransition(INSTANCE_TRANSITIONS, instance.status, patch.status, `instance ${instance.id}`);
    }
    const wasAsWanted = this.isAsWanted(instance);
    this.unindexInstance(instance);
    Object.assign(instance, patch);
    this.indexInstance(instance);
    this.touchInstance(instance, !wasAsWanted || !this.isAsWanted(instance));
  }

  /** Takes over what an agent knows better than the record does, whatever that says: no transition of its own making. */
  adoptInstance(instance: InstanceRecord, found: Partial<InstanceRecord>): void {
    this.unindexInstance(instance);
    Object.assign(instance, found);
    this.indexInstance(instance);
    this.touchInstance(instance, true);
  }

  removeInstance(instance: InstanceRecord): void {
    const workload = this.workloads.get(instance.uid);
    if (workload !== undefined) {
      workload.generationFloor = Math.max(workload.generationFloor, instance.generation);
      this.saveWorkload(workload);
    }
    this.unindexInstance(instance);
    const left = this.instancesByWorkload.get(instance.uid);
    left?.delete(instance.slot);
    if (left !== undefined) this.lists.dropInstance(instance, left);
    this.instancesToVisit.delete(instance);
    this.mark(keys.instance(instance.uid, instance.slot), () => undefined);
  }

  addNode(node: NodeRecord): void {
    this.indexNode(node);
    this.saveNode(node);
  }

  saveNode(node: NodeRecord): void {
    this.mark(keys.node(node.id), () => node);
  }

  setNodeStatus(node: NodeRecord, status: NodeRecord['status'], reason: string | null): void {
    assertTransition(NODE_TRANSITIONS, node.status, status, `node ${node.id}`);
    node.status = status;
    node.statusReason = reason;
    this.saveNode(node);
  }

  removeNode(node: NodeRecord): void {
    this.nodes.delete(node.id);
    this.lists.nodeIds.delete(node.id);
    this.runtimes.delete(node.id);
    this.usage.forget(node.id);
    this.mark(keys.node(node.id), () => undefined);
  }

  /** Whether this mark was told by a store that had something which this one has lost. */
  isBehind(mark: number): boolean {
    return mark > this.store.mark;
  }

  /** From the next commit on, marks are beyond all that were told. */
  skipMarks(): void {
    this.store.skipAhead();
  }

  /** Whether an agent's word that nothing proves counts: nothing can be proven yet, or no more. */
  get believesAgents(): boolean {
    return this.meta.unproven === true || this.meta.joined !== true;
  }

  /** Call it when `meta` is durable. */
  publishTerm(): void {
    this.term.clusterId = this.meta.clusterId;
    this.term.epoch = this.meta.epoch;
  }

  saveMeta(): void {
    this.mark(keys.meta, () => this.meta);
    this.mark(keys.metaCopy, () => this.meta);
  }

  saveRecoveries(): void {
    this.mark(keys.recovery, () => storedRecoveryLog(this.recoveries));
  }

  /** Its node was lost, or it was lost with its agent. */
  beginRecovery(instance: InstanceRecord, lost: Parameters<typeof beginRecovery>[2]): void {
    beginRecovery(this.recoveries, instanceKey(instance), lost);
    this.saveRecovery(instanceKey(instance));
  }

  /** It has a place, if it was being recovered. */
  placeRecovery(instance: InstanceRecord, nodeId: string): void {
    const key = instanceKey(instance);
    if (recoveryPlaced(this.recoveries, key, nodeId, new Date().toISOString())) this.saveRecovery(key);
  }

  /** Its new agent has taken the start on, if the instance is being recovered. */
  startRecovery(instance: InstanceRecord): void {
    const key = instanceKey(instance);
    if (recoveryStarted(this.recoveries, key, new Date().toISOString())) this.saveRecovery(key);
  }

  /** If the instance was being recovered. */
  endRecovery(instance: InstanceRecord, outcome: 'succeeded' | 'failed'): void {
    const key = instanceKey(instance);
    const at = new Date().toISOString();
    if (!endRecovery(this.recoveries, key, outcome, instance.node, at)) return;
    this.saveRecovery(key);
    if (outcome === 'succeeded') this.onRecovered(this.recoveries.recoveryMs.at(-1)!);
  }

  /** The counters with it: both are of the same batch. */
  private saveRecovery(key: string): void {
    this.mark(keys.openRecovery(key), () => this.recoveries.open.get(key));
    this.saveRecoveries();
  }

  /** A record of another subject, such as an idempotency key. */
  put(key: string, value: unknown): void {
    this.mark(key, () => value);
  }

  delete(key: string): void {
    this.mark(key, () => undefined);
  }

  /** Appends to the log of events; it is told once it is durable. */
  emit(event: Omit<MorchEvent, 'seq' | 'at' | 'data'> & { data?: Record<string, unknown> }, at: string): void {
    this.lastSeq += 1;
    this.events.push({ seq: this.lastSeq, at, ...event, data: event.data ?? {} });
  }

  /** Takes back such of the events that are not durable: nobody has heard of them. */
  untell(which: (event: MorchEvent) => boolean): void {
    const first = this.events[0]?.seq;
    if (first === undefined) return;
    this.events = this.events.filter((event) => !which(event));
    this.events.forEach((event, at) => {
      event.seq = first + at;
    });
    this.lastSeq = first + this.events.length - 1;
  }

  // ---- for the journal

  get hasChanges(): boolean {
    return this.dirty.size > 0 || this.events.length > 0;
  }

  /** All that is not durable yet, as it is now. */
  takeChanges(): { ops: StoreOp[]; events: MorchEvent[]; giveBack: () => void } {
    const { dirty, events } = this;
    this.dirty = new Map();
    this.events = [];
    const ops: StoreOp[] = [];
    for (const [key, read] of dirty) {
      const value = read();
      ops.push(value === undefined ? { type: 'del', key } : { type: 'put', key, value });
    }
    for (const event of events) ops.push({ type: 'put', key: keys.event(event.seq), value: event });
    const giveBack = (): void => {
      for (const [key, read] of dirty) if (!this.dirty.has(key)) this.dirty.set(key, read);
      this.events = [...events, ...this.events];
    };
    return { ops, events, giveBack };
  }

  // ---- indexes

  private mark(key: string, read: () => unknown): void {
    this.dirty.set(key, read);
  }

  /** @param isAboutAll whether the workload's other instances may be concerned: see reconcileWorkload, which looks at all */
  private touchInstance(instance: InstanceRecord, isAboutAll: boolean): void {
    this.mark(keys.instance(instance.uid, instance.slot), () => storedInstance(instance));
    this.instancesToVisit.add(instance);
    const workload = this.workloads.get(instance.uid);
    if (workload !== undefined) (isAboutAll ? this.workloadsToVisit : this.workloadsToSettle).add(workload);
  }

  /** Its instances are as many as are wanted, and it has been told what it is: what else may be due, their records show. */
  private isSettled(workload: WorkloadRecord): boolean {
    const { goal, spec, status } = workload;
    if (goal === 'stop' || spec.kind === 'daemon' || this.instancesOf(workload).size !== spec.replicas) return false;
    return workloadStatusOf(goal, this.countsOf(workload), spec.replicas).status === status;
  }

  /** It is to be there and to run what it runs: neither replaced, nor removed, nor the last that a purge waits for. */
  private isAsWanted({ uid, surplus, replacing, revision }: InstanceRecord): boolean {
    const workload = this.workloads.get(uid);
    if (workload === undefined || workload.goal === 'stop' || workload.spec.kind === 'daemon') return false;
    return !surplus && replacing === null && revision >= workload.revision;
  }

  private indexNode(node: NodeRecord): void {
    this.nodes.set(node.id, node);
    this.lists.nodeIds.add(node.id);
  }

  private indexWorkload(workload: WorkloadRecord): void {
    this.workloads.set(workload.uid, workload);
    this.lists.noteWorkload(workload);
    this.uidById.set(workload.spec.id, workload.uid);
    if (!this.instancesByWorkload.has(workload.uid)) this.instancesByWorkload.set(workload.uid, new Map());
    if (!this.countsByWorkload.has(workload.uid)) this.countsByWorkload.set(workload.uid, {});
  }

  /** Nothing can be decided about it. Its generation may be of use once more. */
  private setAside(key: string, stored: StoredInstance, notes: string[]): void {
    const { id, uid } = instanceOf(key, stored, undefined);
    notes.push(`The workload of instance ${id} (${uid}) is missing: its record was set aside.`);
    this.put(keys.setAside(key), stored);
    this.delete(key);
  }

  private loadInstance(instance: InstanceRecord, notes: string[]): void {
    this.indexInstance(instance);
    if (!this.isAsWanted(instance)) this.workloadsToVisit.add(this.workloads.get(instance.uid)!);
    // What runs as it is to run has nothing to be done about it.
    const isQuiet = isTerminal(instance.status) || (instance.status === 'running' && this.isAsWanted(instance));
    if (!isQuiet) this.instancesToVisit.add(instance);
    if (instance.node === null || isTerminal(instance.status) || this.nodes.has(instance.node)) return;
    notes.push(`The record of node ${instance.node} is missing: ${instance.id} waits until it joins again.`);
  }

  private indexInstance(instance: InstanceRecord): void {
    this.instancesByWorkload.get(instance.uid)?.set(instance.slot, instance);
    this.lists.noteInstance(instance);
    for (const counts of [this.statusCounts, this.countsByWorkload.get(instance.uid)]) {
      if (counts !== undefined) counts[instance.status] = (counts[instance.status] ?? 0) + 1;
    }
    if (isUnplaced(instance)) this.unplaced.add(instance);
    else this.unplaced.delete(instance);
    if (instance.lingersOn !== null) setOf(this.lingeringByNode, instance.lingersOn).add(instance);
    if (instance.node !== null && mayHoldProcess(instance.status)) {
      setOf(this.instancesByNode, instance.node).add(instance);
      this.addAllocated(instance.node, instance.reserved, 1);
    }
  }

  private unindexInstance(instance: InstanceRecord): void {
    this.lists.takeOutInstance(instance);
    for (const counts of [this.statusCounts, this.countsByWorkload.get(instance.uid)]) {
      if (counts === undefined) continue;
      const left = (counts[instance.status] ?? 1) - 1;
      if (left > 0) counts[instance.status] = left;
      else delete counts[instance.status];
    }
    if (instance.node !== null && mayHoldProcess(instance.status)) {
      setOf(this.instancesByNode, instance.node).delete(instance);
      this.addAllocated(instance.node, instance.reserved, -1);
    }
    this.unplaced.delete(instance);
    if (instance.lingersOn !== null) setOf(this.lingeringByNode, instance.lingersOn).delete(instance);
  }

  private addAllocated(nodeId: string, amounts: { cpuMillis: number; memoryBytes: number }, sign: 1 | -1): void {
    const sum = this.allocated.get(nodeId) ?? { cpuMillis: 0, memoryBytes: 0 };
    sum.cpuMillis += sign * amounts.cpuMillis;
    sum.memoryBytes += sign * amounts.memoryBytes;
    this.allocated.set(nodeId, sum);
  }
}

/** Those that have not ended first. */
function inOrderOfEnding(workloads: Iterable<WorkloadRecord>): WorkloadRecord[] {
  const ended: WorkloadRecord[] = [];
  const others: WorkloadRecord[] = [];
  for (const workload of workloads) (isTerminal(workload.status) ? ended : others).push(workload);
  return others.concat(ended.sort((a, b) => (a.updatedAt < b.updatedAt ? -1 : 1)));
}

function setOf(map: Map<string, Set<InstanceRecord>>, nodeId: string): Set<InstanceRecord> {
  let set = map.get(nodeId);
  if (set === undefined) {
    set = new Set();
    map.set(nodeId, set);
  }
  return set;
}

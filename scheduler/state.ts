/**
 * All of the scheduler's state in memory, with the indexes the control loop needs, and the list of what is not
 * durable yet. Every change of a record goes through here, so that indexes, state tables and the journal cannot
 * disagree. Reads are free for all; journal.ts takes the changes. Over 400 lines: each index is kept by the acts that change it.
 */
import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { MorchEvent } from '../contract/events';
import type { Amounts } from '../contract/node';
import {
  assertTransition,
  INSTANCE_TRANSITIONS,
  isTerminal,
  mayHoldProcess,
  NODE_TRANSITIONS,
  type NodeStatus,
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
import { Slice } from './slice';
import { StateRecords } from './stateRecords';
import { keys, prefixes } from './store/keys';
import type { Store, StoreOp } from './store/store';
import { instanceOf, type StoredInstance, storedInstance } from './storedInstance';
import { WaitingList } from './waiting';

/** Loading the indexes goes on in another turn after so long. */
const LOAD_TURN_MS = 20;

/** Of a node: instances whose current generation may hold a process there, and what they have reserved. */
interface OnNode {
  readonly instances: Set<InstanceRecord>;
  readonly allocated: Amounts;
}

export class State {
  readonly workloads = new Map<string, WorkloadRecord>();
  private readonly instancesByWorkload = new Map<string, Map<string, InstanceRecord>>();
  readonly instances = new InstancesByKey(this.instancesByWorkload);
  readonly nodes = new Map<string, NodeRecord>();
  readonly recoveries: RecoveryLog;
  /** What agents are told this scheduler is: of `meta` as far as it is durable. */
  readonly term: { clusterId: string; epoch: number; id: string; readonly mark: number; readonly proof: string };
  /** Instances that wait for a place. */
  readonly waiting = new WaitingList();
  /** How many: also those held by a fence. */
  unplacedCount = 0;
  /** Nodes that have changed in what a placement goes by; whoever follows them takes them out. */
  readonly changedNodes = new Set<string>();
  readonly drainingNodes = new Set<NodeRecord>();
  readonly daemons = new Set<WorkloadRecord>();
  readonly usage = new InstanceUsage();
  readonly lists = new ListIndex();
  /** Workloads and instances that the next pass has to look at. */
  readonly workloadsToVisit = new Set<WorkloadRecord>();
  /** Workloads that have fewer records of instances than wanted: from which slot on they may be missing. */
  readonly workloadsToFill = new Map<WorkloadRecord, number>();
  /** Workloads of which instances have changed, in nothing from which more can follow than another status of theirs. */
  readonly workloadsToSettle = new Set<WorkloadRecord>();
  readonly instancesToVisit = new Set<InstanceRecord>();

  readonly nodesByStatus = new Map<NodeStatus, number>();
  /** Of all instances on record. */
  readonly statusCounts: StatusCounts = {};
  /** Told how long each recovery took, in ms. */
  onRecovered: (ms: number) => void = () => {};

  private readonly uidById = new Map<string, string>();
  private readonly onNodes = new Map<string, OnNode>();
  private readonly lingeringByNode = new Map<string, Set<InstanceRecord>>();
  private readonly countsByWorkload = new Map<string, StatusCounts>();
  /** Of workloads that are counted; see `countByNode`. */
  private readonly liveByNode = new Map<string, Map<string, number>>();
  private readonly runtimes = new Map<string, NodeRuntime>();
  /** By key: what is to be written, or a function that tells it then; undefined is to be deleted. */
  private dirty = new Map<string, unknown>();
  /** Most of what changes, so no keys are made for it before it is written. */
  private dirtyInstances = new Set<InstanceRecord>();
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
    let slice = new Slice(LOAD_TURN_MS);
    for (const [uid, ofWorkload] of instances) {
      state.loadInstances(uid, ofWorkload, notes);
      if (!slice.isOver) continue;
      await setImmediate();
      slice = new Slice(LOAD_TURN_MS);
    }
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

  /** How many instances are about to be placed: those that wait, and those of which there is no record yet. */
  get placesToCome(): number {
    let count = this.waiting.fresh.size;
    for (const [{ goal, spec }, from] of this.workloadsToFill) {
      if (goal === 'run') count += (spec.replicas ?? 1) - from;
    }
    return count;
  }

  /** Whether it is still on record. */
  has(instance: InstanceRecord): boolean {
    return this.instancesByWorkload.get(instance.uid)?.get(instance.slot) === instance;
  }

  countsOf(workload: WorkloadRecord): StatusCounts {
    return this.countsByWorkload.get(workload.uid) ?? {};
  }

  /** Instances whose current generation may hold a process there. */
  instancesOn(nodeId: string): ReadonlySet<InstanceRecord> {
    return this.onNodes.get(nodeId)?.instances ?? new Set();
  }

  /** Unplaced instances whose last copy may still be on that node, which was lost. */
  lingeringOn(nodeId: string): ReadonlySet<InstanceRecord> {
    return this.lingeringByNode.get(nodeId) ?? new Set();
  }

  /** How many live instances of it each node has: kept up to date until `stopCounting`. */
  countByNode(workload: WorkloadRecord): ReadonlyMap<string, number> {
    let counted = this.liveByNode.get(workload.uid);
    if (counted === undefined) {
      counted = this.countOnce(workload);
      this.liveByNode.set(workload.uid, counted);
    }
    return counted;
  }

  /** The same as it is now, for the caller to change. */
  countOnce(workload: WorkloadRecord): Map<string, number> {
    const counted = new Map<string, number>();
    for (const { node, status } of this.instancesOf(workload).values()) {
      if (node !== null && !isTerminal(status)) counted.set(node, (counted.get(node) ?? 0) + 1);
    }
    return counted;
  }

  stopCounting(uid: string): void {
    this.liveByNode.delete(uid);
  }

  /** After a change of what placements go by, name the node in `changedNodes`. */
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
    return this.onNodes.get(nodeId)?.allocated ?? { cpuMillis: 0, memoryBytes: 0 };
  }

  get lastEventSeq(): number {
    return this.lastSeq;
  }

  // ---- changing

  addWorkload(workload: WorkloadRecord): void {
    this.indexWorkload(workload);
    this.saveWorkload(workload);
  }

  /** After a change of what is wanted of it. */
  saveWorkload(workload: WorkloadRecord): void {
    this.noteKind(workload);
    this.noteWorkload(workload);
    this.workloadsToVisit.add(workload);
  }

  /** After a change of its record that has nothing follow for its instances. */
  noteWorkload(workload: WorkloadRecord): void {
    this.lists.noteWorkload(workload);
    this.mark(keys.workload(workload.uid), workload);
  }

  /** Its instances must be gone. */
  removeWorkload(workload: WorkloadRecord): void {
    this.workloads.delete(workload.uid);
    if (this.uidById.get(workload.spec.id) === workload.uid) this.uidById.delete(workload.spec.id);
    this.lists.dropWorkload(workload);
    this.instancesByWorkload.delete(workload.uid);
    this.countsByWorkload.delete(workload.uid);
    this.liveByNode.delete(workload.uid);
    this.daemons.delete(workload);
    this.workloadsToVisit.delete(workload);
    this.workloadsToFill.delete(workload);
    this.workloadsToSettle.delete(workload);
    this.mark(keys.workload(workload.uid), undefined);
  }

  /** One that was missing. */
  addInstance(instance: InstanceRecord): void {
    this.enterInstance(instance);
    this.touchInstance(instance, false);
  }

  /** @throws Error when the change of status is not in the table, or the record has been removed */
  updateInstance(instance: InstanceRecord, patch: Partial<InstanceRecord>): void {
    if (!this.has(instance)) throw new Error(`instance ${instance.id} has been removed`);
    if (patch.status !== undefined) {
      assertTransition(INSTANCE_TRANSITIONS, instance.status, patch.status, `instance ${instance.id}`);
    }
    const wasAsWanted = this.isAsWanted(instance);
    this.reindexInstance(instance, patch);
    this.touchInstance(instance, !wasAsWanted || !this.isAsWanted(instance));
  }

  /** Takes over what an agent knows better than the record does, whatever that says: no transition of its own making. */
  adoptInstance(instance: InstanceRecord, found: Partial<InstanceRecord>): void {
    this.reindexInstance(instance, found);
    this.touchInstance(instance, true);
  }

  removeInstance(instance: InstanceRecord): void {
    const workload = this.workloads.get(instance.uid);
    if (workload !== undefined) {
      workload.generationFloor = Math.max(workload.generationFloor, instance.generation);
      // Where one too many has gone, none is missing.
      if (instance.surplus && workload.spec.kind !== 'daemon' && !(Number(instance.slot) < workload.spec.replicas!))
        this.noteWorkload(workload);
      else this.saveWorkload(workload);
    }
    this.unindexInstance(instance);
    this.waiting.drop(instance);
    const left = this.instancesByWorkload.get(instance.uid);
    left?.delete(instance.slot);
    if (left !== undefined) this.lists.dropInstance(instance, left);
    this.instancesToVisit.delete(instance);
    this.dirtyInstances.delete(instance);
    this.mark(keys.instance(instance.uid, instance.slot), undefined);
  }

  addNode(node: NodeRecord): void {
    this.indexNode(node);
    this.saveNode(node);
  }

  saveNode(node: NodeRecord): void {
    this.noteDrain(node);
    this.changedNodes.add(node.id);
    this.mark(keys.node(node.id), node);
  }

  setNodeStatus(node: NodeRecord, status: NodeRecord['status'], reason: string | null): void {
    assertTransition(NODE_TRANSITIONS, node.status, status, `node ${node.id}`);
    this.countNode(node, -1);
    node.status = status;
    this.countNode(node, 1);
    node.statusReason = reason;
    this.saveNode(node);
  }

  removeNode(node: NodeRecord): void {
    this.nodes.delete(node.id);
    this.countNode(node, -1);
    this.drainingNodes.delete(node);
    this.changedNodes.add(node.id);
    this.lists.nodeIds.delete(node.id);
    this.runtimes.delete(node.id);
    this.usage.forget(node.id);
    this.mark(keys.node(node.id), undefined);
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
    this.mark(keys.meta, this.meta);
    this.mark(keys.metaCopy, this.meta);
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
    this.mark(key, value);
  }

  delete(key: string): void {
    this.mark(key, undefined);
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

  /** Records that are not durable yet. */
  get changeCount(): number {
    return this.dirty.size + this.dirtyInstances.size + this.events.length;
  }

  /** All that is not durable yet, as it is now. */
  takeChanges(): { ops: StoreOp[]; events: MorchEvent[]; giveBack: () => void } {
    const { dirty, dirtyInstances, events } = this;
    this.dirty = new Map();
    this.dirtyInstances = new Set();
    this.events = [];
    const ops: StoreOp[] = [];
    for (const [key, what] of dirty) {
      const value: unknown = typeof what === 'function' ? what() : what;
      ops.push(value === undefined ? { type: 'del', key } : { type: 'put', key, value });
    }
    // After what is deleted: a slot that has gone may have come again.
    for (const instance of dirtyInstances)
      ops.push({ type: 'put', key: keys.instance(instance.uid, instance.slot), value: storedInstance(instance) });
    for (const event of events) ops.push({ type: 'put', key: keys.event(event.seq), value: event });
    const giveBack = (): void => {
      for (const [key, what] of dirty) if (!this.dirty.has(key)) this.dirty.set(key, what);
      for (const instance of dirtyInstances) if (this.has(instance)) this.dirtyInstances.add(instance);
      this.events = [...events, ...this.events];
    };
    return { ops, events, giveBack };
  }

  // ---- indexes

  private mark(key: string, what: unknown): void {
    this.dirty.set(key, what);
  }

  /** @param isAboutAll whether the workload's other instances may be concerned: see reconcileWorkload, which looks at all */
  private touchInstance(instance: InstanceRecord, isAboutAll: boolean): void {
    this.dirtyInstances.add(instance);
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
    this.countNode(node, 1);
    this.lists.nodeIds.add(node.id);
    this.noteDrain(node);
    this.changedNodes.add(node.id);
  }

  private countNode({ status }: NodeRecord, sign: 1 | -1): void {
    this.nodesByStatus.set(status, (this.nodesByStatus.get(status) ?? 0) + sign);
  }

  private noteKind(workload: WorkloadRecord): void {
    if (workload.spec.kind === 'daemon') this.daemons.add(workload);
    else this.daemons.delete(workload);
  }

  private noteDrain(node: NodeRecord): void {
    if (node.drain?.state === 'draining') this.drainingNodes.add(node);
    else this.drainingNodes.delete(node);
  }

  private indexWorkload(workload: WorkloadRecord): void {
    this.workloads.set(workload.uid, workload);
    this.lists.noteWorkload(workload);
    this.uidById.set(workload.spec.id, workload.uid);
    this.noteKind(workload);
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

  private loadInstances(uid: string, instances: Map<string, InstanceRecord>, notes: string[]): void {
    const workload = this.workloads.get(uid)!;
    this.instancesByWorkload.set(uid, instances);
    for (const instance of instances.values()) {
      this.indexInstance(instance);
      const { status, node } = instance;
      const isAsWanted = this.isAsWanted(instance);
      if (!isAsWanted) this.workloadsToVisit.add(workload);
      // What runs as it is to run has nothing to be done about it.
      const isQuiet = isTerminal(status) || (status === 'running' && isAsWanted);
      if (!isQuiet) this.instancesToVisit.add(instance);
      if (node === null || isTerminal(status) || this.nodes.has(node)) continue;
      notes.push(`The record of node ${node} is missing: ${instance.id} waits until it joins again.`);
    }
  }

  private enterInstance(instance: InstanceRecord): void {
    this.instancesByWorkload.get(instance.uid)?.set(instance.slot, instance);
    this.indexInstance(instance);
  }

  private indexInstance(instance: InstanceRecord): void {
    this.lists.noteInstance(instance);
    for (const counts of [this.statusCounts, this.countsByWorkload.get(instance.uid)]) {
      if (counts !== undefined) counts[instance.status] = (counts[instance.status] ?? 0) + 1;
    }
    if (isUnplaced(instance)) {
      this.unplacedCount += 1;
      this.waiting.note(instance);
    }
    if (instance.lingersOn !== null) setOf(this.lingeringByNode, instance.lingersOn).add(instance);
    if (instance.node !== null && mayHoldProcess(instance.status)) {
      const there = this.onNode(instance.node);
      there.instances.add(instance);
      this.addAllocated(instance.node, there, instance.reserved, 1);
    }
    this.count(instance, 1);
  }

  private reindexInstance(instance: InstanceRecord, patch: Partial<InstanceRecord>): void {
    const waited = isUnplaced(instance);
    this.unindexInstance(instance);
    Object.assign(instance, patch);
    this.indexInstance(instance);
    if (waited && !isUnplaced(instance)) this.waiting.drop(instance);
  }

  private count({ uid, node, status }: InstanceRecord, sign: 1 | -1): void {
    if (node === null || isTerminal(status)) return;
    const counted = this.liveByNode.get(uid);
    if (counted === undefined) return;
    const count = (counted.get(node) ?? 0) + sign;
    if (count > 0) counted.set(node, count);
    else counted.delete(node);
    this.changedNodes.add(node);
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
      const there = this.onNode(instance.node);
      there.instances.delete(instance);
      this.addAllocated(instance.node, there, instance.reserved, -1);
    }
    this.count(instance, -1);
    if (isUnplaced(instance)) this.unplacedCount -= 1;
    if (instance.lingersOn !== null) setOf(this.lingeringByNode, instance.lingersOn).delete(instance);
  }

  private onNode(nodeId: string): OnNode {
    let there = this.onNodes.get(nodeId);
    if (there === undefined) {
      there = { instances: new Set(), allocated: { cpuMillis: 0, memoryBytes: 0 } };
      this.onNodes.set(nodeId, there);
    }
    return there;
  }

  private addAllocated(nodeId: string, { allocated }: OnNode, { cpuMillis, memoryBytes }: Amounts, sign: 1 | -1): void {
    allocated.cpuMillis += sign * cpuMillis;
    allocated.memoryBytes += sign * memoryBytes;
    this.changedNodes.add(nodeId);
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

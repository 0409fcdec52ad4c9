/**
 * Brings records nearer to what is wanted, a part of the control loop's pass: which instances there should be, which of
 * them are to be replaced or to end. Changes records only; whom to tell follows from them.
 */
import type { EventType } from '../contract/events';
import { type InstanceStatus, isTerminal } from '../contract/states';
import { isUnwanted } from './core/intake';
import { FRESH, type InstanceRecord, labelsOf, type WorkloadRecord } from './core/model';
import { satisfies } from './core/placement';
import { workloadStatusOf } from './core/workloadStatus';
import { holdsNonDaemons } from './drain';
import { emitAbout } from './instanceEvents';
import { Slice } from './slice';
import type { State } from './state';

/** Slots, between two looks at the clock. */
const LOOKED_AT_ONCE = 64;
/** Of the event loop, while a request waits. */
const ANSWER_MS = 5;

/**
 * Which instances there should be: marks what is to go or to be replaced; what is missing is made by fillWorkload. Goes as far
 * as it comes in the slice: what was changed of an instance has its workload visited again.
 */
export function reconcileWorkload(state: State, workload: WorkloadRecord, slice: Slice): void {
  if (!state.workloads.has(workload.uid)) return;
  if (workload.goal === 'stop') {
    const statuses = Object.keys(state.countsOf(workload)) as InstanceStatus[];
    if (workload.purge && statuses.every(isTerminal)) purge(state, workload, slice);
    return;
  }
  if (workload.spec.kind === 'daemon') reconcileDaemon(state, workload);
  else if (reconcileReplicas(state, workload, slice)) return;
  replaceOutdated(state, workload, slice);
}

/** So that whoever changed a workload sees its instances; of very many the first. */
export function reconcileForAnswer(state: State, workload: WorkloadRecord): void {
  const slice = new Slice(ANSWER_MS);
  reconcileWorkload(state, workload, slice);
  if (state.workloadsToFill.has(workload)) fillWorkload(state, workload, slice);
}

/** @returns whether there may be more that are too many */
function reconcileReplicas(state: State, workload: WorkloadRecord, slice: Slice): boolean {
  const { replicas = 1 } = workload.spec;
  for (const instance of state.instancesOf(workload).values()) {
    // Of a daemon that it was before, it has names of nodes.
    if (instance.surplus || Number(instance.slot) < replicas) continue;
    state.updateInstance(instance, { surplus: true });
    if (slice.isOver) return true;
  }
  state.workloadsToFill.set(workload, 0);
  return false;
}

function reconcileDaemon(state: State, workload: WorkloadRecord): void {
  const instances = state.instancesOf(workload);
  const wanted = wantedNodes(state, workload, instances);
  for (const slot of wanted) if (!instances.has(slot)) state.addInstance(newInstance(workload, slot));
  for (const [slot, instance] of instances) {
    if (!instance.surplus && !wanted.has(slot)) state.updateInstance(instance, { surplus: true });
  }
}

/** Makes records of the instances that are missing, as far as it comes in the slice; the rest stays to be filled. */
export function fillWorkload(state: State, workload: WorkloadRecord, slice: Slice): void {
  const from = state.workloadsToFill.get(workload) ?? 0;
  const wanted = workload.goal === 'stop' ? 0 : (workload.spec.replicas ?? 1);
  const instances = state.instancesOf(workload);
  for (let slot = from; slot < wanted; slot++) {
    if (slot % LOOKED_AT_ONCE === 0 && slot > from && slice.isOver) {
      state.workloadsToFill.set(workload, slot);
      return;
    }
    const name = String(slot);
    if (!instances.has(name)) state.addInstance(newInstance(workload, name));
  }
  state.workloadsToFill.delete(workload);
}

function wantedNodes(
  state: State,
  workload: WorkloadRecord,
  instances: ReadonlyMap<string, InstanceRecord>,
): Set<string> {
  const wanted = new Set<string>();
  for (const node of state.nodes.values()) {
    const labels = labelsOf(node);
    if (!workload.spec.placement.constraints.every((constraint) => satisfies(labels, constraint))) continue;
    const there = instances.has(node.id);
    if (node.drain !== null ? there && holdsNonDaemons(state, node.id) : there || !node.cordoned) wanted.add(node.id);
  }
  return wanted;
}

/** Instances of an earlier revision: the live ones one at a time, the old tree gone first. */
function replaceOutdated(state: State, workload: WorkloadRecord, slice: Slice): void {
  let busy = false;
  let next: InstanceRecord | null = null;
  for (const instance of state.instancesOf(workload).values()) {
    if (instance.surplus) continue;
    if (instance.replacing !== null) busy = true;
    if (instance.revision >= workload.revision) {
      // Of another spec than the one it was refused a place with, perhaps.
      if (instance.node === null) state.waiting.lookAnew(instance);
    } else if (isTerminal(instance.status) || instance.node === null) {
      if (renew(state, instance, workload) && slice.isOver) return;
    } else if (instance.replacing === null && (next === null || comesBefore(instance, next, workload))) {
      next = instance;
    }
  }
  if (busy || next === null) return;
  state.updateInstance(next, {
    status: 'stopping',
    statusReason: `to be started anew, version ${workload.version}`,
    replacing: 'revision',
  });
}

function comesBefore({ slot: a }: InstanceRecord, { slot: b }: InstanceRecord, { spec }: WorkloadRecord): boolean {
  return spec.kind === 'daemon' ? a.localeCompare(b, 'en', { numeric: true }) < 0 : Number(a) < Number(b);
}

/** Nothing of it runs: it is of the present revision at once. @returns whether it could be */
function renew(state: State, instance: InstanceRecord, workload: WorkloadRecord): boolean {
  if (isTerminal(instance.status)) {
    state.updateInstance(instance, {
      status: 'pending',
      statusReason: null,
      ...FRESH,
      revision: workload.revision,
      preferredNode: instance.node,
      node: null,
      startedAt: null,
    });
    return true;
  }
  // A copy that lingers on a lost node is of the earlier revision, and stays so if it comes back.
  if (instance.lingersOn !== null) return false;
  const { preferredNode } = instance;
  state.updateInstance(instance, { ...FRESH, preferredNode, revision: workload.revision });
  return true;
}

/** One step nearer to its end, for an instance that is not wanted any more. */
export function reconcileInstance(state: State, instance: InstanceRecord): void {
  if (!state.has(instance)) return;
  const workload = state.workloads.get(instance.uid);
  if (workload === undefined) {
    state.removeInstance(instance);
    return;
  }
  if (!isUnwanted(instance, workload)) return;
  if (isTerminal(instance.status)) {
    if (instance.surplus) state.removeInstance(instance);
  } else if (instance.node === null) {
    stopUnplaced(state, instance, workload);
  } else if (!state.nodes.has(instance.node)) {
    stoppedAtOnce(state, instance, workload);
  } else if (instance.status !== 'stopping') {
    const lost = state.nodes.get(instance.node)?.status === 'lost';
    state.updateInstance(instance, { status: 'stopping', statusReason: lost ? 'node-lost' : 'stop requested' });
  }
}

/**
 * Nothing runs, save perhaps an old copy on a lost node: then it is stopping until that node is back or forgotten, or,
 * where the copy is fenced, until that fence is over.
 */
function stopUnplaced(state: State, instance: InstanceRecord, workload: WorkloadRecord): void {
  const lostNode = instance.lingersOn === null ? undefined : state.nodes.get(instance.lingersOn);
  const mayLive = instance.onDisconnect === 'stop' ? instance.fenced : lostNode?.status === 'lost';
  if (mayLive && lostNode === undefined) {
    if (instance.status === 'stopping') return;
    state.updateInstance(instance, { status: 'stopping', statusReason: 'waits for its lease to end' });
    state.endRecovery(instance, 'failed');
  } else if (mayLive && lostNode !== undefined) {
    state.updateInstance(instance, {
      status: 'stopping',
      statusReason: 'node-lost',
      node: lostNode.id,
      lingersOn: null,
    });
    state.endRecovery(instance, 'failed');
  } else {
    stoppedAtOnce(state, instance, workload);
  }
}

/** Nothing of an instance can be alive any more on the node that was lost with it. */
export function endFence(state: State, instance: InstanceRecord): void {
  const workload = state.workloads.get(instance.uid);
  if (workload === undefined || !state.has(instance)) return;
  state.updateInstance(instance, { fenced: false });
  if (isUnwanted(instance, workload)) stoppedAtOnce(state, instance, workload);
}

function stoppedAtOnce(state: State, instance: InstanceRecord, workload: WorkloadRecord): void {
  state.updateInstance(instance, {
    status: 'stopped',
    statusReason: 'stopped by request',
    replacing: null,
    pid: null,
    shimPid: null,
  });
  state.endRecovery(instance, 'failed');
  emitAbout(state, 'instance.stopped', workload, instance);
}

/** Takes down what the workload has become, and tells of its end. */
export function settleWorkload(state: State, workload: WorkloadRecord): void {
  if (!state.workloads.has(workload.uid)) return;
  const { status } = workloadStatusOf(workload.goal, state.countsOf(workload), workload.spec.replicas);
  if (status === workload.status) return;
  workload.status = status;
  workload.updatedAt = new Date().toISOString();
  state.noteWorkload(workload);
  if (isTerminal(status))
    emitAbout(state, `workload.${status}` as EventType, workload, null, {
      data: { reason: endReason(state, workload) },
    });
}

/** The first failure, else what the first instance says. */
function endReason(state: State, workload: WorkloadRecord): string | null {
  let first: InstanceRecord | undefined;
  for (const instance of state.instancesOf(workload).values()) {
    if (instance.status === 'failed') return `${instance.id}: ${instance.statusReason}`;
    first ??= instance;
  }
  return first?.statusReason ?? null;
}

function purge(state: State, workload: WorkloadRecord, slice: Slice): void {
  for (const instance of state.instancesOf(workload).values()) {
    state.removeInstance(instance);
    if (!slice.isOver) continue;
    state.workloadsToVisit.add(workload);
    return;
  }
  state.removeWorkload(workload);
  emitAbout(state, 'workload.purged', workload, null);
}

/** A slot that has never been placed. */
export function newInstance(workload: WorkloadRecord, slot: string): InstanceRecord {
  return {
    uid: workload.uid,
    slot,
    id: `${workload.spec.id}.${slot}`,
    generation: workload.generationFloor,
    run: 0,
    rev: -1,
    revision: workload.revision,
    status: 'pending',
    statusReason: null,
    node: null,
    lingersOn: null,
    onDisconnect: 'replace',
    fenced: false,
    pid: null,
    shimPid: null,
    startedAt: null,
    exit: null,
    attempts: 0,
    reserved: { cpuMillis: 0, memoryBytes: 0 },
    replacing: null,
    surplus: false,
    retryAtMs: 0,
    triedNodes: [],
    preferredNode: null,
    placements: [],
  };
}

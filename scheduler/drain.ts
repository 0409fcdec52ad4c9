/**
 * Empties a draining node, a step each pass: services move, stopped before they are started, at most one of a workload
 * at a time; batches may end a run until the deadline; daemons stop last; what fits nowhere stays until the deadline.
 */
import type { Amounts } from '../contract/node';
import { isUnwanted } from './core/intake';
import type { InstanceRecord, NodeRecord } from './core/model';
import { explainRejections } from './core/placement';
import { chooseElsewhere } from './placer';
import type { Secrets } from './secrets/secrets';
import type { State } from './state';

export function drainStep(state: State, secrets: Pick<Secrets, 'faultOf'>, node: NodeRecord, nowMs: number): void {
  const there = [...state.instancesOn(node.id)];
  if (there.length === 0) {
    node.drain = { ...node.drain!, state: 'drained' };
    state.saveNode(node);
    state.emit({ type: 'node.drained', node: node.id }, new Date().toISOString());
    return;
  }
  const late = nowMs >= node.drain!.deadlineAtMs;
  const onlyDaemons = !holdsNonDaemons(state, node.id);
  const promised = promisedElsewhere(state);
  for (const instance of there) {
    const workload = state.workloads.get(instance.uid);
    if (workload === undefined) continue;
    const { kind, resources } = workload.spec;
    if (kind === 'daemon') {
      if (!onlyDaemons) {
        if (instance.status === 'running') keep(state, instance, node, 'a daemon stops when nothing else is left');
      } else if (!instance.surplus) state.workloadsToVisit.add(workload); // wanted there no longer; see reconcile.ts
      continue;
    }
    if (isUnwanted(instance, workload) || instance.status === 'stopping') continue;
    // Between two runs there is nothing to wait for.
    if (!late && kind === 'batch' && instance.status !== 'backoff') {
      if (instance.status === 'running') keep(state, instance, node, 'a batch may end by itself until the deadline');
      continue;
    }
    if (!late && isMoving(state, instance)) continue;
    const elsewhere = chooseElsewhere(state, instance, workload, promised);
    const fault = secrets.faultOf(workload.spec);
    if ((elsewhere.kind === 'unplaceable' || fault !== null) && !late) {
      keep(state, instance, node, elsewhere.kind === 'unplaceable' ? explainRejections(elsewhere.rejections) : fault!);
      continue;
    }
    const preferredNode = elsewhere.kind === 'placed' ? elsewhere.nodeId : null;
    if (preferredNode !== null) promise(promised, preferredNode, resources);
    const statusReason = `moving off ${node.id}`;
    state.updateInstance(instance, { status: 'stopping', statusReason, replacing: 'drain', preferredNode });
  }
}

/** What a drain that is no more has said of the instances that are there. */
export function forgetDrain(state: State, node: NodeRecord): void {
  node.drain = null;
  for (const instance of state.instancesOn(node.id)) {
    if (instance.statusReason?.startsWith(keptOn(node))) state.updateInstance(instance, { statusReason: null });
  }
}

function keep(state: State, instance: InstanceRecord, node: NodeRecord, why: string): void {
  const statusReason = keptOn(node) + why;
  if (instance.statusReason !== statusReason) state.updateInstance(instance, { statusReason });
}

const keptOn = ({ id }: NodeRecord): string => `kept on ${id}, which is draining: `;

export function holdsNonDaemons(state: State, nodeId: string): boolean {
  for (const instance of state.instancesOn(nodeId)) {
    if (state.workloads.get(instance.uid)?.spec.kind !== 'daemon') return true;
  }
  return false;
}

/** Whether an instance of the same workload is being replaced. */
function isMoving(state: State, { uid }: InstanceRecord): boolean {
  const workload = state.workloads.get(uid)!;
  for (const { replacing } of state.instancesOf(workload).values()) if (replacing !== null) return true;
  return false;
}

/** Room that instances on the move have been told of and do not hold yet, by node. */
function promisedElsewhere(state: State): Map<string, Amounts> {
  const promised = new Map<string, Amounts>();
  const take = (instance: InstanceRecord): void => {
    if (instance.replacing !== 'drain' || instance.preferredNode === null) return;
    const workload = state.workloads.get(instance.uid);
    if (workload !== undefined) promise(promised, instance.preferredNode, workload.spec.resources);
  };
  for (const instance of state.waiting) take(instance);
  for (const node of state.nodes.values()) {
    if (node.drain === null) continue;
    for (const instance of state.instancesOn(node.id)) if (instance.status === 'stopping') take(instance);
  }
  return promised;
}

function promise(promised: Map<string, Amounts>, nodeId: string, resources: Amounts): void {
  const sum = promised.get(nodeId) ?? { cpuMillis: 0, memoryBytes: 0 };
  sum.cpuMillis += resources.cpuMillis;
  sum.memoryBytes += resources.memoryBytes;
  promised.set(nodeId, sum);
}

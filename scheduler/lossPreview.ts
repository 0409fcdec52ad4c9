/** What the loss of a node would mean for each instance there, if it happened now. Reads the state, changes nothing. */
import type { Loss } from '../contract/drill';
import { isUnwanted } from './core/intake';
import type { InstanceRecord, NodeRecord, WorkloadRecord } from './core/model';
import { choosePlacement, explainRejections } from './core/placement';
import { askedBy, candidateOf } from './placer';
import type { State } from './state';

export function previewLoss(state: State, node: NodeRecord): Loss[] {
  const others = [...state.nodes.values()].filter(({ id }) => id !== node.id).map((other) => candidateOf(state, other));
  const counts = new Map<string, Map<string, number>>();
  const countsOf = (workload: WorkloadRecord): Map<string, number> => {
    let perNode = counts.get(workload.uid);
    if (perNode === undefined) {
      perNode = state.countOnce(workload);
      counts.set(workload.uid, perNode);
    }
    return perNode;
  };
  const place = (workload: WorkloadRecord): Pick<Loss, 'fate' | 'toNode' | 'reason'> => {
    const perNode = countsOf(workload);
    for (const other of others) other.workloadInstanceCount = perNode.get(other.id) ?? 0;
    const placement = choosePlacement(askedBy(workload), others);
    if (placement.kind === 'unplaceable') {
      return { fate: 'nowhere', toNode: null, reason: explainRejections(placement.rejections) };
    }
    const { nodeId } = placement;
    const taken = others.find(({ id }) => id === nodeId)!;
    const { cpuMillis, memoryBytes } = workload.spec.resources;
    taken.allocated = {
      cpuMillis: taken.allocated.cpuMillis + cpuMillis,
      memoryBytes: taken.allocated.memoryBytes + memoryBytes,
    };
    taken.instanceCount += 1;
    perNode.set(nodeId, (perNode.get(nodeId) ?? 0) + 1);
    return { fate: 'moves', toNode: nodeId, reason: null };
  };
  const fateOf = (instance: InstanceRecord, workload: WorkloadRecord): Pick<Loss, 'fate' | 'toNode' | 'reason'> => {
    if (isUnwanted(instance, workload)) return { fate: 'ends', toNode: null, reason: null };
    if (workload.spec.kind === 'daemon') return { fate: 'waits', toNode: null, reason: 'a daemon has no other node' };
    if (instance.onDisconnect === 'keep') return { fate: 'waits', toNode: null, reason: 'onDisconnect is keep' };
    return place(workload);
  };
  return [...state.instancesOn(node.id)]
    .sort((a, b) => a.id.localeCompare(b.id, 'en', { numeric: true }))
    .flatMap((instance) => {
      const workload = state.workloads.get(instance.uid);
      if (workload === undefined) return [];
      const { id, onDisconnect } = instance;
      return [{ instance: id, workload: workload.spec.id, onDisconnect, ...fateOf(instance, workload) }];
    });
}

/** Records as they are answered. Pure reads of the state. */
import type { Health, HealthSummary } from '../contract/health';
import type { Amounts, Node, NodeDetail } from '../contract/node';
import {
  INSTANCE_STATUSES,
  type InstanceStatus,
  mayHoldProcess,
  type NodeStatus,
  type WorkloadStatus,
} from '../contract/states';
import type { Instance, Workload } from '../contract/workload';
import { type InstanceRecord, labelsOf, type NodeRecord, type WorkloadRecord } from './core/model';
import { workloadStatusOf } from './core/workloadStatus';
import { closedReason } from './placer';
import type { State } from './state';

export function instanceView(state: State, instance: InstanceRecord): Instance {
  return {
    id: instance.id,
    generation: instance.generation,
    run: instance.run,
    status: instance.status,
    statusReason: instance.statusReason,
    node: instance.node,
    pid: instance.pid,
    shimPid: instance.shimPid,
    startedAt: instance.startedAt,
    exit: instance.exit,
    attempts: instance.attempts,
    usage: mayHoldProcess(instance.status) ? state.usage.of(instance) : null,
  };
}

/** By index, or by node for a daemon. */
export function orderedInstances(state: State, workload: WorkloadRecord): InstanceRecord[] {
  const byNumber = workload.spec.kind !== 'daemon';
  return [...state.instancesOf(workload).values()].sort((a, b) =>
    byNumber ? Number(a.slot) - Number(b.slot) : a.slot < b.slot ? -1 : 1,
  );
}

/** @param show how many instances to list; none when left out */
export function workloadView(state: State, workload: WorkloadRecord, show?: { instances: number }): Workload {
  const counts = { ...state.countsOf(workload) };
  const recorded = Object.values(counts).reduce((sum, n) => sum + n, 0);
  // Replicas whose records the next pass makes.
  const missing = workload.goal === 'run' ? Math.max(0, (workload.spec.replicas ?? 0) - recorded) : 0;
  if (missing > 0) counts.pending = (counts.pending ?? 0) + missing;
  const { status, reason } = workloadStatusOf(workload.goal, counts, workload.spec.replicas);
  const instances = state.instancesOf(workload);
  let attempts = 0;
  for (const instance of instances.values()) attempts = Math.max(attempts, instance.attempts);
  const only = instances.size === 1 ? [...instances.values()][0] : undefined;
  const single = workload.spec.replicas === 1 ? { node: only?.node ?? null, pid: only?.pid ?? null } : {};
  return {
    ...workload.spec,
    uid: workload.uid,
    status,
    statusReason: only?.statusReason ?? reason,
    counts,
    version: workload.version,
    createdAt: workload.createdAt,
    updatedAt: workload.updatedAt,
    attempts,
    ...single,
    ...(show === undefined
      ? {}
      : {
          instances: orderedInstances(state, workload)
            .slice(0, show.instances)
            .map((i) => instanceView(state, i)),
        }),
  };
}

export function nodeView(state: State, node: NodeRecord): Node {
  return {
    id: node.id,
    host: node.host,
    port: node.port,
    labels: labelsOf(node),
    status: node.status,
    statusReason: node.statusReason,
    schedulable: !node.cordoned && closedReason(state, node) === null,
    drain: node.drain?.state ?? 'none',
    capacity: node.capacity,
    allocated: { ...state.allocatedOn(node.id) },
    usage: state.runtimeOf(node.id).usage,
    features: node.features,
    version: node.version,
    lastContactAt: node.lastContactAt,
    instanceCount: state.instancesOn(node.id).size,
    staleCopies: state.runtimeOf(node.id).stale.size,
  };
}

export function nodeDetailView(state: State, node: NodeRecord): NodeDetail {
  const instances = [...state.instancesOn(node.id)]
    .map((instance) => ({
      ...instanceView(state, instance),
      workload: state.workloads.get(instance.uid)?.spec.id ?? '',
    }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  return { ...nodeView(state, node), instances };
}

export function healthOf(
  state: State,
  self: {
    store: string;
    unwritable: string | null;
    deposedBy: number | null;
    takesOver: boolean;
    unreadableSecrets: number;
    auditUnwritable: string | null;
    version: string;
    uptimeMs: number;
  },
): Health {
  const unwell = [...state.nodes.values()].filter((node) => node.status !== 'healthy');
  const reasons = [
    ...unwell.map(
      (node) => `node ${node.id} is ${node.status}${node.statusReason === null ? '' : `: ${node.statusReason}`}`,
    ),
    ...(self.deposedBy === null
      ? []
      : [`agents obey a scheduler of epoch ${self.deposedBy}; this one, of epoch ${state.meta.epoch}, stands down`]),
    ...(state.meta.rebuilding
      ? [
          `learning from the agents what runs since ${state.meta.rebuilding.since} (the store was ${state.meta.rebuilding.reason}); nothing is started until all are heard, or with morch recovery --release`,
        ]
      : []),
    ...(state.meta.brake
      ? [
          `the brake is on since ${state.meta.brake.since}: ${state.meta.brake.nodes.length} nodes were lost at once, nothing of theirs is moved (morch recovery --release)`,
        ]
      : []),
    ...(self.unwritable === null ? [] : [`the store cannot be written: ${self.unwritable}`]),
    ...(self.auditUnwritable === null
      ? []
      : [`the audit log cannot be written, so no change is taken: ${self.auditUnwritable}`]),
    ...(self.unreadableSecrets === 0
      ? []
      : [`${self.unreadableSecrets} secrets were sealed under another secret.key and cannot be opened`]),
  ];
  let running = 0;
  for (const workload of state.workloads.values()) if (workload.status === 'running') running += 1;
  return {
    status: reasons.length === 0 ? 'healthy' : 'degraded',
    reasons,
    version: self.version,
    clusterId: state.meta.clusterId,
    epoch: state.meta.epoch,
    ...(self.takesOver ? { takesOver: true } : {}),
    uptimeMs: self.uptimeMs,
    store: { kind: self.store, writable: self.unwritable === null },
    nodes: { total: state.nodes.size, healthy: state.nodes.size - unwell.length },
    workloads: { total: state.workloads.size, running },
  };
}

export function summaryOf(state: State, status: Health['status']): HealthSummary {
  const nodes = [...state.nodes.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  const byStatus: Partial<Record<NodeStatus, number>> = {};
  const capacity: Amounts = { cpuMillis: 0, memoryBytes: 0 };
  const allocated: Amounts = { cpuMillis: 0, memoryBytes: 0 };
  for (const node of nodes) {
    byStatus[node.status] = (byStatus[node.status] ?? 0) + 1;
    capacity.cpuMillis += node.capacity.cpuMillis;
    capacity.memoryBytes += node.capacity.memoryBytes;
    allocated.cpuMillis += state.allocatedOn(node.id).cpuMillis;
    allocated.memoryBytes += state.allocatedOn(node.id).memoryBytes;
  }
  const instances: Partial<Record<InstanceStatus, number>> = {};
  const workloads: Partial<Record<WorkloadStatus, number>> = {};
  for (const workload of state.workloads.values()) {
    workloads[workload.status] = (workloads[workload.status] ?? 0) + 1;
    const counts = state.countsOf(workload);
    for (const name of INSTANCE_STATUSES) {
      const n = counts[name];
      if (n !== undefined) instances[name] = (instances[name] ?? 0) + n;
    }
  }
  return {
    status,
    checkedAt: new Date().toISOString(),
    nodes: nodes.map((node) => {
      const runtime = state.runtimeOf(node.id);
      return {
        id: node.id,
        status: node.status,
        lastContactAt: node.lastContactAt,
        consecutiveFailures: runtime.consecutiveFailures,
        usage: runtime.usage,
        instanceCount: state.instancesOn(node.id).size,
      };
    }),
    totals: { nodes: nodes.length, byStatus, instances, ...capacity, allocated },
    workloads: { byStatus: workloads },
    recentVerdicts: [...state.recoveries.recentVerdicts].reverse(),
  };
}

/** Records as they are answered. Pure reads of the state. */
import type { Health, HealthSummary } from '../contract/health';
import type { Amounts, Node, NodeDetail } from '../contract/node';
import { mayHoldProcess, type NodeStatus, type WorkloadStatus } from '../contract/states';
import type { Instance, Workload, WorkloadSpec } from '../contract/workload';
import { type InstanceRecord, labelsOf, type NodeRecord, type WorkloadRecord } from './core/model';
import { type StatusCounts, workloadStatusOf } from './core/workloadStatus';
import { JsonText } from './jsonText';
import { slotKey } from './pages';
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

/**
 * Instances by index, or by node for a daemon, from the one after `after` on.
 *
 * @param after the key of a slot (slotKey), there or not
 */
export function orderedInstances(
  state: State,
  workload: WorkloadRecord,
  { after = null, limit = Number.POSITIVE_INFINITY }: { after?: string | null; limit?: number } = {},
): InstanceRecord[] {
  const instances = state.instancesOf(workload);
  if (workload.spec.kind === 'daemon') {
    const slots = [...instances.keys()].filter((slot) => after === null || slotKey(slot) > after);
    slots.sort((a, b) => (slotKey(a) < slotKey(b) ? -1 : 1));
    return slots.slice(0, limit).map((slot) => instances.get(slot)!);
  }
  const found: InstanceRecord[] = [];
  const end = state.lists.slotEndOf(workload.uid);
  for (let index = after === null ? 0 : Number(after) + 1; index < end && found.length < limit; index++) {
    const instance = instances.get(String(index));
    if (instance !== undefined) found.push(instance);
  }
  return found;
}

/** With the replicas whose records the next pass makes. */
function countsToBe(state: State, workload: WorkloadRecord): StatusCounts {
  const counts = { ...state.countsOf(workload) };
  if (workload.goal !== 'run' || workload.spec.replicas === undefined) return counts;
  const missing = workload.spec.replicas - state.instancesOf(workload).size;
  if (missing > 0) counts.pending = (counts.pending ?? 0) + missing;
  return counts;
}

export function statusOf(state: State, workload: WorkloadRecord): WorkloadStatus {
  return workloadStatusOf(workload.goal, countsToBe(state, workload), workload.spec.replicas).status;
}

/** What of a workload is not in its spec. */
type Standing = Omit<Workload, keyof WorkloadSpec>;

/** @param show how many instances to list; none when left out */
export function workloadView(state: State, workload: WorkloadRecord, show?: { instances: number }): Workload {
  return { ...workload.spec, ...standingOf(state, workload, show) };
}

/** The same as JSON: an object put together from two parts is slow to make, and slow to write. */
export function workloadJson(state: State, workload: WorkloadRecord, show?: { instances: number }): JsonText<Workload> {
  const spec = JSON.stringify(workload.spec);
  const standing = JSON.stringify(standingOf(state, workload, show));
  return new JsonText(`${spec.slice(0, -1)},${standing.slice(1)}`);
}

function standingOf(state: State, workload: WorkloadRecord, show?: { instances: number }): Standing {
  const counts = countsToBe(state, workload);
  const { status, reason } = workloadStatusOf(workload.goal, counts, workload.spec.replicas);
  const instances = state.instancesOf(workload);
  const only: InstanceRecord | undefined = instances.size === 1 ? instances.values().next().value : undefined;
  const view: Standing = {
    uid: workload.uid,
    status,
    statusReason: only?.statusReason ?? reason,
    counts,
    version: workload.version,
    createdAt: workload.createdAt,
    updatedAt: workload.updatedAt,
    attempts: only?.attempts ?? state.lists.mostAttemptsOf(workload.uid),
  };
  if (workload.spec.replicas === 1) {
    view.node = only?.node ?? null;
    view.pid = only?.pid ?? null;
  }
  if (show !== undefined) {
    view.instances = orderedInstances(state, workload, { limit: show.instances }).map((i) => instanceView(state, i));
  }
  return view;
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
    workloads: { total: state.workloads.size, running: state.lists.workloadsByStatus.get('running') ?? 0 },
  };
}

export function summaryOf(state: State, status: Health['status']): HealthSummary {
  const nodes = [...state.lists.nodeIds.after(null)].map((id) => state.nodes.get(id)!);
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
    totals: { nodes: nodes.length, byStatus, instances: { ...state.statusCounts }, ...capacity, allocated },
    workloads: { byStatus: Object.fromEntries(state.lists.workloadsByStatus) },
    recentVerdicts: [...state.recoveries.recentVerdicts].reverse(),
  };
}

/** Gives nodes to the instances that wait for one, by core/placement's choice; a part of the control loop's pass. */
import { neededFeatures } from '../contract/features';
import type { Amounts } from '../contract/node';
import { isTerminal } from '../contract/states';
import { isUnwanted } from './core/intake';
import { FRESH, type InstanceRecord, labelsOf, type NodeRecord, type WorkloadRecord } from './core/model';
import {
  type Candidate,
  choosePlacement,
  explainRejections,
  type Placement,
  type PlacementRequest,
} from './core/placement';
import { emitAbout } from './instanceEvents';
import type { Secrets } from './secrets/secrets';
import type { State } from './state';

/** Of one pass; the rest follows in the next, so that the loop is not held up. */
const PLACED_PER_PASS = 1_000;
/** Beyond this many waiting instances of a workload their reasons are not kept up to date one by one. */
const REASONS_PER_WORKLOAD = 100;
const PLACEMENTS_KEPT = 10;
/** What a placement that reserves less is taken to use until a measurement shows it, so that a burst is spread. */
const UNSEEN_CPU_MILLIS = 100;

/** What is said of instances that the brake holds. */
const BRAKED =
  'held by the brake, as so many nodes were lost at once; it goes on when they are back, or with `morch recovery --release`';

/** What is said of fenced instances as long as a copy may live that no record tells of. */
const UNSEEN =
  'held until the lease of nodes that have not told what they run is over, as one of them may still run it';

/** @returns whether some are left that could not be looked at in this pass */
export function placeWaiting(state: State, secrets: Pick<Secrets, 'faultOf'>, nowMs: number): boolean {
  if (state.meta.rebuilding) return false;
  const pass = new Pass(state);
  const braked = new Set(state.meta.brake?.nodes);
  let placed = 0;
  for (const instance of [...state.unplaced]) {
    const workload = state.workloads.get(instance.uid);
    if (workload === undefined || instance.retryAtMs > nowMs || instance.fenced) continue;
    if (isUnwanted(instance, workload)) continue;
    if (instance.lingersOn !== null && braked.has(instance.lingersOn)) {
      if (instance.statusReason !== BRAKED) state.updateInstance(instance, { statusReason: BRAKED });
      continue;
    }
    if (state.meta.unseenFenced === true && workload.spec.onDisconnect === 'stop') {
      if (instance.statusReason !== UNSEEN) state.updateInstance(instance, { statusReason: UNSEEN });
      continue;
    }
    const fault = secrets.faultOf(workload.spec);
    if (fault !== null) {
      pass.refuse(instance, workload, fault);
      continue;
    }
    if (placed === PLACED_PER_PASS) return true;
    if (pass.place(instance, workload)) placed += 1;
  }
  return false;
}

/**
 * Where an instance would go if it could not stay on its node.
 *
 * @param promised what is already on its way to a node, by node
 */
export function chooseElsewhere(
  state: State,
  instance: InstanceRecord,
  workload: WorkloadRecord,
  promised: ReadonlyMap<string, Amounts>,
): Placement {
  const perNode = countPerNode(state, workload);
  const candidates = [...state.nodes.values()].map((node) => {
    const candidate = candidateOf(state, node);
    const more = promised.get(node.id) ?? { cpuMillis: 0, memoryBytes: 0 };
    const { cpuMillis, memoryBytes } = candidate.allocated;
    return {
      ...candidate,
      allocated: { cpuMillis: cpuMillis + more.cpuMillis, memoryBytes: memoryBytes + more.memoryBytes },
      workloadInstanceCount: perNode.get(node.id) ?? 0,
    };
  });
  return choosePlacement({ ...askedBy(workload), excludedNode: instance.node ?? '' }, candidates);
}

/** What every instance of a workload asks of its node. */
export function askedBy({ spec }: WorkloadRecord): Pick<PlacementRequest, 'resources' | 'rules' | 'features'> {
  return { resources: spec.resources, rules: spec.placement, features: neededFeatures(spec) };
}

/** Candidates are made once, for the first that is to be placed, and kept up to date with what the pass itself places. */
class Pass {
  private made: Candidate[] | null = null;
  /** Where in the list each node is. */
  private readonly places = new Map<string, number>();
  /** The workload whose instances the candidates count at present. */
  private counted: WorkloadRecord | null = null;
  /** What was asked and refused → reason: within a pass room only shrinks. */
  private readonly refused = new Map<string, string>();
  private readonly shapes = new Map<string, string>();
  private readonly perNode = new Map<string, Map<string, number>>();
  private readonly reasonsTold = new Map<string, number>();

  constructor(private readonly state: State) {}

  /** Most passes place nothing: they are about something else. */
  private get candidates(): Candidate[] {
    this.made ??= [...this.state.nodes.values()].map((node, at) => {
      this.places.set(node.id, at);
      return candidateOf(this.state, node);
    });
    return this.made;
  }

  /** As instances of that workload see them. */
  private candidatesFor(workload: WorkloadRecord, counts: ReadonlyMap<string, number>): Candidate[] {
    if (this.counted !== workload)
      for (const candidate of this.candidates) candidate.workloadInstanceCount = counts.get(candidate.id) ?? 0;
    this.counted = workload;
    return this.candidates;
  }

  /** @returns whether it was placed; else it has been told why not */
  place(instance: InstanceRecord, workload: WorkloadRecord): boolean {
    const { kind } = workload.spec;
    const onlyNode = kind === 'daemon' ? { onlyNode: instance.slot } : {};
    const shape = kind === 'daemon' ? null : this.shapeOf(workload);
    const known = shape === null ? undefined : this.refused.get(shape);
    if (known !== undefined) {
      this.refuse(instance, workload, known);
      return false;
    }
    const counts = this.countsOf(workload);
    const candidates = this.candidatesFor(workload, counts);
    const { preferredNode, triedNodes } = instance;
    const placement = choosePlacement({ ...askedBy(workload), preferredNode, triedNodes, ...onlyNode }, candidates);
    if (placement.kind === 'unplaceable') {
      const reason = explainRejections(placement.rejections, onlyNode.onlyNode);
      if (shape !== null) this.refused.set(shape, reason);
      this.refuse(instance, workload, reason);
      return false;
    }
    const { nodeId } = placement;
    const workloadInstanceCount = (counts.get(nodeId) ?? 0) + 1;
    counts.set(nodeId, workloadInstanceCount);
    applyPlacement(this.state, instance, workload, nodeId);
    const node = this.state.nodes.get(nodeId)!;
    candidates[this.places.get(nodeId)!] = { ...candidateOf(this.state, node), workloadInstanceCount };
    return true;
  }

  refuse(instance: InstanceRecord, workload: WorkloadRecord, reason: string): void {
    const told = this.reasonsTold.get(workload.uid) ?? 0;
    this.reasonsTold.set(workload.uid, told + 1);
    const first = !instance.statusReason?.startsWith('no node');
    if (instance.statusReason === reason || (!first && told >= REASONS_PER_WORKLOAD)) return;
    this.state.updateInstance(instance, {
      statusReason: reason,
      ...(instance.status === 'backoff' ? { status: 'pending' as const } : {}),
    });
    // One event tells of all that wait for the same reason.
    if (first && told === 0) emitAbout(this.state, 'instance.unplaceable', workload, instance, { data: { reason } });
  }

  private shapeOf(workload: WorkloadRecord): string {
    let shape = this.shapes.get(workload.uid);
    if (shape === undefined) {
      const { resources, rules, features } = askedBy(workload);
      shape = JSON.stringify([resources, rules.constraints, features]);
      this.shapes.set(workload.uid, shape);
    }
    return shape;
  }

  private countsOf(workload: WorkloadRecord): Map<string, number> {
    let counts = this.perNode.get(workload.uid);
    if (counts === undefined) {
      counts = countPerNode(this.state, workload);
      this.perNode.set(workload.uid, counts);
    }
    return counts;
  }
}

function applyPlacement(state: State, instance: InstanceRecord, workload: WorkloadRecord, nodeId: string): void {
  const generation = Math.max(instance.generation, workload.generationFloor) + 1;
  state.updateInstance(instance, {
    ...(instance.revision < workload.revision ? FRESH : {}),
    status: instance.status === 'recovering' ? 'recovering' : 'starting',
    statusReason: `placed on ${nodeId}`,
    generation,
    run: 0,
    rev: -1,
    revision: workload.revision,
    node: nodeId,
    lingersOn: null,
    onDisconnect: workload.spec.onDisconnect ?? 'replace',
    pid: null,
    shimPid: null,
    startedAt: null,
    reserved: { ...workload.spec.resources },
    retryAtMs: 0,
    placements: [...instance.placements, { generation, node: nodeId }].slice(-PLACEMENTS_KEPT),
  });
  state.runtimeOf(nodeId).unseenCpuMillis += Math.max(workload.spec.resources.cpuMillis, UNSEEN_CPU_MILLIS);
  state.placeRecovery(instance, nodeId);
  emitAbout(state, 'instance.placed', workload, instance, { node: nodeId });
}

export function candidateOf(state: State, node: NodeRecord): Candidate {
  const runtime = state.runtimeOf(node.id);
  return {
    id: node.id,
    labels: labelsOf(node),
    closed: closedReason(state, node),
    cordoned: node.cordoned,
    features: node.features,
    capacity: node.capacity,
    allocated: state.allocatedOn(node.id),
    cpuPercent: runtime.usage?.cpuPercent ?? null,
    unseenCpuMillis: runtime.unseenCpuMillis,
    instanceCount: state.instancesOn(node.id).size,
    workloadInstanceCount: 0,
  };
}

export function countPerNode(state: State, workload: WorkloadRecord): Map<string, number> {
  const perNode = new Map<string, number>();
  for (const { node, status } of state.instancesOf(workload).values()) {
    if (node !== null && !isTerminal(status)) perNode.set(node, (perNode.get(node) ?? 0) + 1);
  }
  return perNode;
}

/** Why nothing is placed on a node now, a cordon apart; null when it takes placements. */
export function closedReason(state: State, node: NodeRecord): string | null {
  const runtime = state.runtimeOf(node.id);
  if (node.status !== 'healthy') return `is ${node.status}`;
  if (node.drain !== null) return `is ${node.drain.state}`;
  if (runtime.leaving) return 'its agent is stopping';
  if (runtime.session === null) return 'is not connected';
  if (runtime.stale.size > 0) return 'still stops stale copies';
  return null;
}

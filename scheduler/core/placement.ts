/**
 * Chooses a node for one instance: filter, then score. Pure; asked by the control loop for every unplaced
 * instance and by a drain that wants to know whether an instance fits elsewhere.
 */
import { type Feature, lackInWords } from '../../contract/features';
import type { Amounts } from '../../contract/node';
import type { Constraint, PlacementRules } from '../../contract/workload';

export interface Candidate {
  id: string;
  labels: Readonly<Record<string, string>>;
  /** Why nothing may be placed there now, a cordon apart; null when it may. */
  closed: string | null;
  /** Takes only what was there before. */
  cordoned: boolean;
  features: readonly string[];
  capacity: Amounts;
  allocated: Amounts;
  /** Of the whole node, 0–100; null when not measured yet. */
  cpuPercent: number | null;
  /** Taken to be used by placements that `cpuPercent` does not show yet. */
  unseenCpuMillis: number;
  instanceCount: number;
  /** Live instances of the workload in question. */
  workloadInstanceCount: number;
}

export interface PlacementRequest {
  resources: Amounts;
  rules: PlacementRules;
  /** Which the node must have. */
  features: readonly Feature[];
  /** A daemon's instance: this node or none. */
  onlyNode?: string;
  /** Where it was before: taken if it fits, whatever the scores, and although it is cordoned. */
  preferredNode?: string | null;
  /** Nodes on which it failed to start: taken only when no other fits. */
  triedNodes?: readonly string[];
  /** Never taken: the node being drained. */
  excludedNode?: string;
}

export interface Rejection {
  nodeId: string;
  reason: 'closed' | 'constraint' | 'feature' | 'cpu' | 'memory';
  /** In words, such as `short of 512 MiB memory`. */
  detail: string;
}

export type Placement = { kind: 'placed'; nodeId: string } | { kind: 'unplaceable'; rejections: Rejection[] };

/**
 * @param candidates in any order; not changed
 * @returns ties go to the lowest id; `unplaceable` has one rejection per candidate that was looked at (none when there
 *   are no nodes). Never throws.
 */
export function choosePlacement(request: PlacementRequest, candidates: readonly Candidate[]): Placement {
  const { preferredNode, triedNodes = [] } = request;
  const compare = request.rules.strategy === 'binpack' ? compareBinpack(request.resources) : compareSpread;
  let untried: Candidate | undefined;
  let tried: Candidate | undefined;
  // One look at each, and nothing is made for those that fit: of many nodes most do.
  for (const candidate of candidates) {
    if (!isAskedFor(request, candidate) || rejectionOf(request, candidate) !== null) continue;
    if (candidate.id === preferredNode) return { kind: 'placed', nodeId: candidate.id };
    if (triedNodes.includes(candidate.id)) {
      if (tried === undefined || compare(candidate, tried) < 0) tried = candidate;
    } else if (untried === undefined || compare(candidate, untried) < 0) untried = candidate;
  }
  const best = untried ?? tried;
  if (best !== undefined) return { kind: 'placed', nodeId: best.id };
  const asked = candidates.filter((candidate) => isAskedFor(request, candidate));
  return { kind: 'unplaceable', rejections: asked.map((candidate) => rejectionOf(request, candidate)!) };
}

/** Whether it may go there, whatever else there is. */
export function fits(request: PlacementRequest, candidate: Candidate): boolean {
  return rejectionOf(request, candidate) === null;
}

function isAskedFor({ onlyNode, excludedNode }: PlacementRequest, { id }: Candidate): boolean {
  return id !== excludedNode && (onlyNode === undefined || id === onlyNode);
}

function rejectionOf(request: PlacementRequest, c: Candidate): Rejection | null {
  if (c.closed !== null) return { nodeId: c.id, reason: 'closed', detail: c.closed };
  if (c.cordoned && c.id !== request.preferredNode) return { nodeId: c.id, reason: 'closed', detail: 'is cordoned' };
  for (const constraint of request.rules.constraints) {
    if (satisfies(c.labels, constraint)) continue;
    return { nodeId: c.id, reason: 'constraint', detail: `does not satisfy ${inWords(constraint)}` };
  }
  if (request.features.some((feature) => !c.features.includes(feature))) {
    const missing = request.features.filter((feature) => !c.features.includes(feature));
    return { nodeId: c.id, reason: 'feature', detail: `lacks ${lackInWords(missing)}` };
  }
  const shortCpu = request.resources.cpuMillis - (c.capacity.cpuMillis - c.allocated.cpuMillis);
  if (request.resources.cpuMillis > 0 && shortCpu > 0) {
    return { nodeId: c.id, reason: 'cpu', detail: `short of ${shortCpu}m cpu` };
  }
  const shortMemory = request.resources.memoryBytes - (c.capacity.memoryBytes - c.allocated.memoryBytes);
  if (request.resources.memoryBytes > 0 && shortMemory > 0) {
    return { nodeId: c.id, reason: 'memory', detail: `short of ${Math.ceil(shortMemory / 2 ** 20)} MiB memory` };
  }
  return null;
}

export function satisfies(labels: Readonly<Record<string, string>>, constraint: Constraint): boolean {
  const value = Object.hasOwn(labels, constraint.label) ? labels[constraint.label] : undefined;
  switch (constraint.op) {
    case 'exists':
      return value !== undefined;
    case 'absent':
      return value === undefined;
    case 'in':
      return value !== undefined && (constraint.values ?? []).includes(value);
    case 'notIn':
      return value === undefined || !constraint.values?.includes(value);
  }
}

function inWords(constraint: Constraint): string {
  const values = constraint.values === undefined ? '' : ` (${constraint.values.join(', ')})`;
  return `${constraint.label} ${constraint.op}${values}`;
}

/** Fewest of this workload, then least CPU in steps of 10 points, then fewest instances, then lowest id. */
function compareSpread(a: Candidate, b: Candidate): number {
  return (
    a.workloadInstanceCount - b.workloadInstanceCount ||
    cpuStep(a) - cpuStep(b) ||
    a.instanceCount - b.instanceCount ||
    compareIds(a, b)
  );
}

function cpuStep(c: Candidate): number {
  return cpuStepOf(c.capacity.cpuMillis, c.allocated.cpuMillis, c.cpuPercent ?? 0, c.unseenCpuMillis);
}

/** Measured, or reserved if that is higher, plus what the measurement does not show yet; in steps of 10 points. */
export function cpuStepOf(
  capacityMillis: number,
  allocatedMillis: number,
  percent: number,
  unseenMillis: number,
): number {
  const total = Math.max(capacityMillis, 1);
  const reserved = (allocatedMillis / total) * 100;
  const seen = percent + (unseenMillis / total) * 100;
  return Math.floor(Math.max(reserved, seen) / 10);
}

/** The fullest first: the mean of the reserved shares of CPU and memory once this instance is on it. */
function compareBinpack(resources: Amounts): (a: Candidate, b: Candidate) => number {
  const fill = (c: Candidate): number =>
    (c.allocated.cpuMillis + resources.cpuMillis) / Math.max(c.capacity.cpuMillis, 1) +
    (c.allocated.memoryBytes + resources.memoryBytes) / Math.max(c.capacity.memoryBytes, 1);
  return (a, b) => fill(b) - fill(a) || b.instanceCount - a.instanceCount || compareIds(a, b);
}

function compareIds(a: Candidate, b: Candidate): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

/** One sentence for a pending instance: rejections of the same kind are counted together. */
export function explainRejections(rejections: readonly Rejection[], onlyNode?: string): string {
  if (rejections.length === 0) {
    return onlyNode === undefined ? 'no node has joined yet' : `node ${onlyNode} is not there`;
  }
  const byDetail = new Map<string, string[]>();
  for (const r of rejections) byDetail.set(r.detail, [...(byDetail.get(r.detail) ?? []), r.nodeId]);
  const parts = [...byDetail]
    .sort((a, b) => b[1].length - a[1].length)
    .map(([detail, ids]) => `${ids.length > 3 ? `${ids.length} nodes` : [...ids].sort().join(', ')}: ${detail}`);
  const shown = parts.slice(0, 5);
  const rest = parts.length - shown.length;
  return `no node fits (${shown.join('; ')}${rest > 0 ? `; and ${rest} more reasons` : ''})`;
}

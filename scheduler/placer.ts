/** Gives nodes to the instances that wait for one, by core/placement's choice; a part of the control loop's pass. */
import { neededFeatures } from '../contract/features';
import type { Amounts } from '../contract/node';
import { type InstanceStatus, isTerminal } from '../contract/states';
import { isUnwanted } from './core/intake';
import { FRESH, type InstanceRecord, labelsOf, type NodeRecord, type WorkloadRecord } from './core/model';
import { NodeTable } from './core/nodeTable';
import {
  type Candidate,
  choosePlacement,
  explainRejections,
  fits,
  type Placement,
  type PlacementRequest,
} from './core/placement';
import { PlacementOrder } from './core/placementOrders';
import { emitAbout } from './instanceEvents';
import type { Secrets } from './secrets/secrets';
import { Slice } from './slice';
import type { State } from './state';
import type { Circumstances, Parked } from './waiting';

/** Beyond this many of those that wait for the same, their reasons are not kept up to date one by one. */
const REASONS_KEPT_UP = 100;
const PLACEMENTS_KEPT = 10;
/** What a placement that reserves less is taken to use until a measurement shows it, so that a burst is spread. */
const UNSEEN_CPU_MILLIS = 100;
/** Those used last are kept; one has 28 bytes for each node. */
const ORDERS_AT_MOST = 256;
/** So many of those that wait are taken together, workload by workload: each has its own order of the nodes. */
const TAKEN_TOGETHER = 1_000;
/** How often the reason of what waits for room is found out again: it takes a look at all nodes. */
const EXPLAINED_EVERY_MS = 1_000;
/** Begins what is wanted of nodes: it may be had when the table says that there is more room. */
const FOR_ROOM = 'room ';

/** What is said of instances that the brake holds. */
const BRAKED =
  'held by the brake, as so many nodes were lost at once; it goes on when they are back, or with `morch recovery --release`';

/** What is said of fenced instances as long as a copy may live that no record tells of. */
const UNSEEN =
  'held until the lease of nodes that have not told what they run is over, as one of them may still run it';

/** Why an instance has no place now; all that have the same want would be refused as well. */
interface Refusal extends Circumstances {
  want: string;
}

export class Placer {
  readonly #table = new NodeTable();
  /** By what is asked; the one used last is the last. */
  readonly #orders = new Map<string, PlacementOrder>();
  /** Of those that count a workload: its uid. */
  readonly #counted = new Map<string, string>();
  readonly #shapes = new WeakMap<WorkloadRecord['spec'], string>();
  /** Some that wait may do so for other reasons than they were told. */
  #reasonsAreOld = false;
  /** Of which an event has told that they wait for it. */
  readonly #toldOf = new WeakMap<WorkloadRecord, string>();

  constructor(
    private readonly state: State,
    private readonly secrets: Pick<Secrets, 'faultOf'>,
  ) {}

  /**
   * Places as many as it comes to.
   *
   * @param forMs how long it may take
   * @returns whether some are left that could not be looked at
   */
  place(nowMs: number, forMs: number): boolean {
    const { waiting, meta } = this.state;
    if (meta.rebuilding) return false;
    waiting.wakeUp(nowMs);
    if (waiting.fresh.size + waiting.parked.size === 0) return false;
    const slice = new Slice(forMs);
    if (this.#followNodes(slice)) return true;
    // Those that were refused came first; what has come since is not held up by them.
    const isMoreParked = this.#tryParked(new Slice(forMs / 2));
    while (waiting.fresh.size > 0) {
      const isPlaced = this.#placeSome(firstByWorkload(waiting.fresh), slice);
      if (slice.isOver) return true;
      if (!isPlaced) break;
    }
    return isMoreParked;
  }

  /** In turn, whatever there is room for. @returns whether there are more that may have room now */
  #tryParked(slice: Slice): boolean {
    const { parked } = this.state.waiting;
    for (const [want, group] of [...parked]) {
      if (isForRoom(want) && group.roomVersion === this.#table.roomVersion && !this.#isDue(group)) continue;
      if (slice.isOver) return true;
      // The others have their turn before it comes again.
      parked.delete(want);
      parked.set(want, group);
      this.#tryAgain(want, group, slice);
    }
    const { reasonVersion } = this.#table;
    this.#reasonsAreOld = [...parked].some(([want, group]) => isForRoom(want) && group.reasonVersion !== reasonVersion);
    return false;
  }

  /** Whether the reason may be another by now, and it is time to find out. */
  #isDue({ reasonVersion, explainedAtMs }: Parked): boolean {
    return reasonVersion !== this.#table.reasonVersion && performance.now() - explainedAtMs >= EXPLAINED_EVERY_MS;
  }

  /** When there may be other reasons to tell (ms from now on); never: infinite. */
  get nextReasonsInMs(): number {
    return this.#reasonsAreOld ? EXPLAINED_EVERY_MS : Number.POSITIVE_INFINITY;
  }

  /** @returns whether any of them has left the list: those that have not are not to be placed now */
  #placeSome(byWorkload: ReadonlyMap<string, InstanceRecord[]>, slice: Slice): boolean {
    let isAny = false;
    for (const instances of byWorkload.values()) {
      for (const instance of instances) {
        if (slice.isOver) return isAny;
        const workload = this.#workloadOf(instance);
        if (workload === null) continue;
        const refusal = this.#try(instance, workload);
        if (refusal !== null) this.#refuse(instance, workload, refusal);
        isAny = true;
      }
    }
    return isAny;
  }

  /** Ends with the first that is refused once more. */
  #tryAgain(want: string, group: Parked, slice: Slice): void {
    for (const instance of group.instances) {
      if (slice.isOver) return;
      const workload = this.#workloadOf(instance);
      if (workload === null) continue;
      const refusal = this.#try(instance, workload);
      if (refusal === null) continue;
      if (refusal.want !== want) {
        this.#refuse(instance, workload, refusal);
        continue;
      }
      const { reason, roomVersion, reasonVersion, explainedAtMs } = refusal;
      if (reason !== group.reason) this.#tellReason(group, reason);
      Object.assign(group, { roomVersion, reasonVersion, explainedAtMs });
      return;
    }
  }

  #tellReason(group: Parked, reason: string): void {
    group.reason = reason;
    let told = 0;
    for (const instance of group.instances) {
      if (++told > REASONS_KEPT_UP) return;
      if (instance.statusReason !== reason) this.state.updateInstance(instance, { statusReason: reason });
    }
  }

  /** null: nothing is to be done for it here. */
  #workloadOf(instance: InstanceRecord): WorkloadRecord | null {
    const workload = this.state.workloads.get(instance.uid);
    return workload === undefined || isUnwanted(instance, workload) ? null : workload;
  }

  /** @returns null when it was placed */
  #try(instance: InstanceRecord, workload: WorkloadRecord): Refusal | null {
    const { state } = this;
    const { lingersOn } = instance;
    if (lingersOn !== null && state.meta.brake?.nodes.includes(lingersOn))
      return this.#refusal(`brake ${lingersOn}`, BRAKED);
    if (state.meta.unseenFenced === true && workload.spec.onDisconnect === 'stop')
      return this.#refusal('fences', UNSEEN);
    const fault = this.secrets.faultOf(workload.spec);
    if (fault !== null) return this.#refusal(`secrets ${workload.uid}`, fault);
    const isDaemon = workload.spec.kind === 'daemon';
    const want = `${FOR_ROOM}${isDaemon ? `${instance.slot} ${workload.uid}` : this.#shapeOf(workload)}`;
    const known = state.waiting.parked.get(want);
    if (known !== undefined && known.roomVersion === this.#table.roomVersion && !known.instances.has(instance))
      return { ...known, want };
    if (!isDaemon && this.#placeByOrder(instance, workload)) return null;
    if (known !== undefined && performance.now() - known.explainedAtMs < EXPLAINED_EVERY_MS)
      return { ...known, want, roomVersion: this.#table.roomVersion };
    // The records have the last word, and the reasons.
    const placement = choosePlacement(
      { ...askedBy(workload), preferredNode: instance.preferredNode, triedNodes: instance.triedNodes },
      this.#candidates(workload, isDaemon ? instance.slot : null),
    );
    if (placement.kind === 'placed') {
      this.#apply(instance, workload, placement.nodeId);
      this.#follow(placement.nodeId);
      return null;
    }
    return this.#refusal(want, explainRejections(placement.rejections, isDaemon ? instance.slot : undefined));
  }

  #refusal(want: string, reason: string): Refusal {
    const { roomVersion, reasonVersion } = this.#table;
    return { want, reason, roomVersion, reasonVersion, explainedAtMs: performance.now() };
  }

  /** @returns false when no node is known that fits */
  #placeByOrder(instance: InstanceRecord, workload: WorkloadRecord): boolean {
    const { preferredNode, triedNodes } = instance;
    const asked = askedBy(workload);
    const preferred = preferredNode === null ? undefined : this.state.nodes.get(preferredNode);
    if (preferred !== undefined && fits({ ...asked, preferredNode }, candidateOf(this.state, preferred))) {
      this.#apply(instance, workload, preferred.id);
      this.#follow(preferred.id);
      return true;
    }
    const order = this.#orderFor(workload, asked);
    for (;;) {
      const row = order.best(triedNodes);
      if (row < 0) return false;
      const id = this.#table.ids[row]!;
      const node = this.state.nodes.get(id);
      if (node !== undefined && fits(asked, candidateOf(this.state, node))) {
        this.#apply(instance, workload, id);
        order.take(row, unseenCpuMillis(workload));
        return true;
      }
      // It has changed since the table was last brought up to date.
      this.#follow(id);
    }
  }

  /** Workloads of which nothing lives yet share one for the same request: there is nothing to count. */
  #orderFor(workload: WorkloadRecord, asked: ReturnType<typeof askedBy>): PlacementOrder {
    const spreads = asked.rules.strategy === 'spread';
    const isFirst = !spreads || !hasLive(this.state, workload);
    const shape = this.#shapeOf(workload);
    const key = isFirst ? shape : `${workload.uid} ${shape}`;
    let order = this.#orders.get(key);
    this.#orders.delete(key);
    if (order === undefined) {
      const counts = isFirst ? null : this.state.countByNode(workload);
      if (!isFirst) this.#counted.set(key, workload.uid);
      order = new PlacementOrder(this.#table, asked, counts);
    }
    this.#orders.set(key, order);
    if (this.#orders.size > ORDERS_AT_MOST) this.#dropOldest();
    return order;
  }

  #dropOldest(): void {
    const [key] = this.#orders.keys();
    this.#orders.delete(key!);
    const uid = this.#counted.get(key!);
    this.#counted.delete(key!);
    // An earlier spec of the same workload may have left another order, which counts it as well.
    if (uid !== undefined && ![...this.#counted.values()].includes(uid)) this.state.stopCounting(uid);
  }

  #candidates(workload: WorkloadRecord, only: string | null): Candidate[] {
    if (only !== null) {
      const node = this.state.nodes.get(only);
      return node === undefined ? [] : [candidateOf(this.state, node)];
    }
    const counts = this.state.countOnce(workload);
    return [...this.state.nodes.values()].map((node) => ({
      ...candidateOf(this.state, node),
      workloadInstanceCount: counts.get(node.id) ?? 0,
    }));
  }

  #apply(instance: InstanceRecord, workload: WorkloadRecord, nodeId: string): void {
    applyPlacement(this.state, instance, workload, nodeId);
    this.#toldOf.delete(workload);
  }

  #refuse(instance: InstanceRecord, workload: WorkloadRecord, refusal: Refusal): void {
    const { state } = this;
    const { want, reason, roomVersion, reasonVersion, explainedAtMs } = refusal;
    state.waiting.park(instance, want, { reason, roomVersion, reasonVersion, explainedAtMs });
    if (instance.statusReason !== reason)
      state.updateInstance(instance, {
        statusReason: reason,
        ...(instance.status === 'backoff' ? { status: 'pending' as const } : {}),
      });
    // One event tells of all of a workload that wait for the same.
    if (reason === BRAKED || reason === UNSEEN || this.#toldOf.get(workload) === want) return;
    this.#toldOf.set(workload, want);
    emitAbout(state, 'instance.unplaceable', workload, instance, { data: { reason } });
  }

  #shapeOf({ spec }: WorkloadRecord): string {
    let shape = this.#shapes.get(spec);
    if (shape === undefined) {
      shape = JSON.stringify([spec.resources, spec.placement, neededFeatures(spec)]);
      this.#shapes.set(spec, shape);
    }
    return shape;
  }

  /** @returns whether there are more to look at: nothing is placed by what was */
  #followNodes(slice: Slice): boolean {
    const { changedNodes } = this.state;
    for (const id of changedNodes) {
      changedNodes.delete(id);
      this.#follow(id);
      if (slice.isOver) return changedNodes.size > 0;
    }
    return false;
  }

  #follow(id: string): void {
    const node = this.state.nodes.get(id);
    if (node === undefined) this.#table.remove(id);
    else this.#table.put(candidateOf(this.state, node));
  }
}

function isForRoom(want: string): boolean {
  return want.startsWith(FOR_ROOM);
}

/** The first of those that wait, by workload. */
function firstByWorkload(waiting: ReadonlySet<InstanceRecord>): Map<string, InstanceRecord[]> {
  const byWorkload = new Map<string, InstanceRecord[]>();
  let count = 0;
  for (const instance of waiting) {
    if (++count > TAKEN_TOGETHER) break;
    const others = byWorkload.get(instance.uid);
    if (others === undefined) byWorkload.set(instance.uid, [instance]);
    else others.push(instance);
  }
  return byWorkload;
}

function hasLive(state: State, workload: WorkloadRecord): boolean {
  return Object.keys(state.countsOf(workload)).some(
    (status) => !isTerminal(status as InstanceStatus) && status !== 'pending',
  );
}

function unseenCpuMillis({ spec }: WorkloadRecord): number {
  return Math.max(spec.resources.cpuMillis, UNSEEN_CPU_MILLIS);
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
  const perNode = state.countOnce(workload);
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
  state.runtimeOf(nodeId).unseenCpuMillis += unseenCpuMillis(workload);
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

/**
 * What all nodes offer, as columns of numbers: a row for each node, kept up to date by whoever knows of a change, so that a
 * placement over ten thousand of them reads numbers that lie side by side. Pure; read by placementOrders.ts.
 */
import type { Amounts } from '../../contract/node';
import { LabelIndex, type Rows, setRow, withRoomFor } from './labelIndex';
import { type Candidate, cpuStepOf } from './placement';

const CHANGES_KEPT = 1_024;

/** A candidate as all workloads see it. */
export type Offer = Omit<Candidate, 'workloadInstanceCount'>;

export class NodeTable {
  /** May take what is new there. */
  open: Rows = new Uint32Array(1);
  readonly labels = new LabelIndex();
  readonly features = new LabelIndex();
  /** Of each row; null where there is none. */
  readonly ids: (string | null)[] = [];
  capacityCpu = new Float64Array(32);
  capacityMemory = new Float64Array(32);
  allocatedCpu = new Float64Array(32);
  allocatedMemory = new Float64Array(32);
  cpuPercent = new Float64Array(32);
  unseenCpu = new Float64Array(32);
  instances = new Float64Array(32);
  /** Steps of 10 points; see placement.ts. */
  cpuStep = new Float64Array(32);
  /** Place of its id among all, from 0: as `rankAll` found it. */
  rank = new Float64Array(32);
  /** Rises with whatever may let something fit that did not. */
  roomVersion = 0;
  /** Rises with whatever may be the reason for a refusal, or not any more. */
  reasonVersion = 0;
  /** Rises when nodes come, go, or are described otherwise: labels and features. */
  describedVersion = 0;
  /** Rows that have changed, the latest last; ~row where it only took an instance. */
  readonly changes: number[] = [];
  /** How many changes there were before the first of `changes`. */
  changesBefore = 0;
  readonly #rows = new Map<string, number>();
  readonly #free: number[] = [];
  /** By row, as last told. */
  readonly #closed: (string | null)[] = [];
  readonly #described: Pick<Offer, 'labels' | 'features'>[] = [];
  readonly #sorted: string[] = [];
  /** From this place on there are others than were ranked. */
  #unrankedFrom = Number.POSITIVE_INFINITY;

  get size(): number {
    return this.#rows.size;
  }

  rowOf(id: string): number | undefined {
    return this.#rows.get(id);
  }

  /** Enters a node, or what has become of it. */
  put(offer: Offer): void {
    const known = this.#rows.get(offer.id);
    const row = known ?? this.#enter(offer.id);
    const isOpen = offer.closed === null && !offer.cordoned;
    const wasOpen = known !== undefined && (this.open[row >>> 5]! & (1 << (row & 31))) !== 0;
    const freeCpu = this.capacityCpu[row]! - this.allocatedCpu[row]!;
    const freeMemory = this.capacityMemory[row]! - this.allocatedMemory[row]!;
    this.capacityCpu[row] = offer.capacity.cpuMillis;
    this.capacityMemory[row] = offer.capacity.memoryBytes;
    this.allocatedCpu[row] = offer.allocated.cpuMillis;
    this.allocatedMemory[row] = offer.allocated.memoryBytes;
    this.cpuPercent[row] = offer.cpuPercent ?? 0;
    this.unseenCpu[row] = offer.unseenCpuMillis;
    this.instances[row] = offer.instanceCount;
    this.#stepOf(row);
    setRow(this.open, row, isOpen);
    const isOther = this.#describe(row, offer) || known === undefined;
    const moreCpu = offer.capacity.cpuMillis - offer.allocated.cpuMillis - freeCpu;
    const moreMemory = offer.capacity.memoryBytes - offer.allocated.memoryBytes - freeMemory;
    const hasMore = moreCpu > 0 || moreMemory > 0;
    const closed = offer.cordoned ? 'cordoned' : offer.closed;
    if (isOther || moreCpu !== 0 || moreMemory !== 0 || this.#closed[row] !== closed) this.reasonVersion += 1;
    this.#closed[row] = closed;
    if (isOther) this.describedVersion += 1;
    if (isOther || (isOpen && (!wasOpen || hasMore))) this.roomVersion += 1;
    this.#noteChange(row);
  }

  remove(id: string): void {
    const row = this.#rows.get(id);
    if (row === undefined) return;
    this.#rows.delete(id);
    this.ids[row] = null;
    this.#describe(row, { labels: {}, features: [] });
    setRow(this.open, row, false);
    this.#free.push(row);
    const at = this.#placeOf(id);
    this.#sorted.splice(at, 1);
    this.#unrankedFrom = Math.min(this.#unrankedFrom, at);
    this.describedVersion += 1;
    this.reasonVersion += 1;
  }

  /** An instance has been placed there. @param unseenCpuMillis what it is taken to use until a measurement shows it */
  take(row: number, { cpuMillis, memoryBytes }: Amounts, unseenCpuMillis: number): void {
    this.allocatedCpu[row]! += cpuMillis;
    this.allocatedMemory[row]! += memoryBytes;
    this.unseenCpu[row]! += unseenCpuMillis;
    this.instances[row]! += 1;
    this.#stepOf(row);
    this.reasonVersion += 1;
    this.#noteChange(~row);
  }

  /** For whoever compares ranks, after another `describedVersion`: thousands of nodes come at once, and go. */
  rankAll(): void {
    for (let i = this.#unrankedFrom; i < this.#sorted.length; i++) this.rank[this.#rows.get(this.#sorted[i]!)!] = i;
    this.#unrankedFrom = Number.POSITIVE_INFINITY;
  }

  #noteChange(change: number): void {
    // Whoever is behind by more than this had better look at all rows.
    if (this.changes.length > CHANGES_KEPT + 2 * this.ids.length) {
      this.changesBefore += this.changes.length;
      this.changes.length = 0;
    }
    this.changes.push(change);
  }

  #stepOf(row: number): void {
    this.cpuStep[row] = cpuStepOf(
      this.capacityCpu[row]!,
      this.allocatedCpu[row]!,
      this.cpuPercent[row]!,
      this.unseenCpu[row]!,
    );
  }

  /** @returns whether its labels or features are other ones */
  #describe(row: number, { labels, features }: Pick<Offer, 'labels' | 'features'>): boolean {
    const { [row]: known } = this.#described;
    if (known?.labels === labels && known.features === features) return false;
    this.#described[row] = { labels, features };
    const hasOthers = this.labels.set(row, labels);
    const isAble = this.features.set(row, Object.fromEntries(features.map((feature) => [feature, ''])));
    return hasOthers || isAble;
  }

  #enter(id: string): number {
    const row = this.#free.pop() ?? this.ids.length;
    this.#grow(row);
    this.ids[row] = id;
    this.#rows.set(id, row);
    const at = this.#placeOf(id);
    this.#sorted.splice(at, 0, id);
    this.#unrankedFrom = Math.min(this.#unrankedFrom, at);
    return row;
  }

  /** Where it is in the sorted list, or belongs. */
  #placeOf(id: string): number {
    let [low, high] = [0, this.#sorted.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#sorted[middle]! < id) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #grow(row: number): void {
    this.open = withRoomFor(this.open, row);
    if (row < this.rank.length) return;
    const grown = (column: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> => {
      const wider = new Float64Array(2 * column.length);
      wider.set(column);
      return wider;
    };
    this.capacityCpu = grown(this.capacityCpu);
    this.capacityMemory = grown(this.capacityMemory);
    this.allocatedCpu = grown(this.allocatedCpu);
    this.allocatedMemory = grown(this.allocatedMemory);
    this.cpuPercent = grown(this.cpuPercent);
    this.unseenCpu = grown(this.unseenCpu);
    this.instances = grown(this.instances);
    this.cpuStep = grown(this.cpuStep);
    this.rank = grown(this.rank);
  }
}

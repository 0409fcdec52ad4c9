/**
 * The same choices as placement.ts makes one by one, for very many instances: what asks for the same has an order of all nodes
 * that fit, a heap with the best on top, which is kept from pass to pass and follows the table's changes. A node that has
 * only taken instances got worse: it is put right when it comes to the top. Pure.
 */
import { forEachRow, hasRow, type Rows } from './labelIndex';
import type { NodeTable } from './nodeTable';
import type { PlacementRequest } from './placement';

/** Room for the rank of a node in the lower part of its score. */
const RANKS = 2 ** 20;
/** Room for CPU steps in the upper part. */
const STEPS = 2 ** 12;
const ABSENT = -1;

type Asked = Pick<PlacementRequest, 'resources' | 'rules' | 'features'>;

/** The nodes as one kind of request sees them. */
export class PlacementOrder {
  readonly #packs: boolean;
  #eligible: Rows = new Uint32Array(0);
  /** By row: live instances of the workload. */
  #own = new Float64Array(0);
  /** By row: the score as it is in the heap, in two parts; the less the better. */
  #upper = new Float64Array(0);
  #lower = new Float64Array(0);
  /** By row: where in the heap it is. */
  #places = new Int32Array(0);
  #heap = new Int32Array(0);
  #size = 0;
  #described = ABSENT;
  /** Of the table's changes, how many have been followed. */
  #followed = 0;

  /**
   * @param counts live instances of the workload by node, kept up to date; a change of them is one of their node too. null:
   *   for the first instance of any workload, none counts
   */
  constructor(
    private readonly table: NodeTable,
    private readonly asked: Asked,
    private readonly counts: ReadonlyMap<string, number> | null,
  ) {
    this.#packs = asked.rules.strategy === 'binpack';
  }

  /**
   * @param tried nodes that are taken only when no other fits
   * @returns the row of the best node, or -1 when none fits
   */
  best(tried: readonly string[] = []): number {
    this.#follow();
    let row = this.#top();
    if (tried.length === 0) return row;
    const set: number[] = [];
    while (row !== ABSENT && tried.includes(this.table.ids[row]!)) {
      set.push(row);
      this.#remove(row);
      row = this.#top();
    }
    for (const one of set) this.#insert(one);
    return row !== ABSENT ? row : (set[0] ?? ABSENT);
  }

  /** One more was placed there. @param unseenCpuMillis what it is taken to use until a measurement shows it */
  take(row: number, unseenCpuMillis: number): void {
    if (this.counts !== null) this.#own[row]! += 1;
    this.table.take(row, this.asked.resources, unseenCpuMillis);
  }

  #follow(): void {
    const { changes, changesBefore, describedVersion } = this.table;
    if (this.#described !== describedVersion || this.#followed < changesBefore) {
      this.#build();
    } else {
      for (let i = this.#followed - changesBefore; i < changes.length; i++) {
        const change = changes[i]!;
        if (change >= 0) {
          this.#count(change);
          this.#look(change);
        } else if (this.#packs) this.#look(~change);
      }
    }
    this.#followed = changesBefore + changes.length;
  }

  #build(): void {
    const { table, asked } = this;
    const rows = table.ids.length;
    if (this.#heap.length < rows) {
      this.#own = new Float64Array(rows);
      this.#upper = new Float64Array(rows);
      this.#lower = new Float64Array(rows);
      this.#places = new Int32Array(rows);
      this.#heap = new Int32Array(rows);
    }
    table.rankAll();
    this.#eligible = new Uint32Array(table.open.length).fill(~0);
    table.labels.narrow(this.#eligible, asked.rules.constraints);
    table.features.narrow(
      this.#eligible,
      asked.features.map((label) => ({ label, op: 'exists' })),
    );
    this.#places.fill(ABSENT);
    this.#size = 0;
    forEachRow(this.#eligible, (row) => {
      if (row >= rows) return;
      this.#count(row);
      if (!this.#fits(row)) return;
      this.#score(row);
      this.#put(this.#size++, row);
    });
    for (let at = (this.#size >>> 1) - 1; at >= 0; at--) this.#sink(at);
    this.#described = table.describedVersion;
  }

  #count(row: number): void {
    if (this.counts !== null) this.#own[row] = this.counts.get(this.table.ids[row] ?? '') ?? 0;
  }

  #look(row: number): void {
    const at = this.#places[row]!;
    const fits = hasRow(this.#eligible, row) && this.#fits(row);
    if (at === ABSENT) {
      if (fits) this.#insert(row);
    } else if (!fits) this.#remove(row);
    else if (this.#score(row)) {
      this.#rise(at);
      this.#sink(this.#places[row]!);
    }
  }

  #top(): number {
    while (this.#size > 0) {
      const row = this.#heap[0]!;
      if (!this.#fits(row)) this.#remove(row);
      else if (this.#score(row)) this.#sink(0);
      else return row;
    }
    return ABSENT;
  }

  #fits(row: number): boolean {
    const { cpuMillis, memoryBytes } = this.asked.resources;
    const { table } = this;
    return (
      hasRow(table.open, row) &&
      (cpuMillis === 0 || cpuMillis <= table.capacityCpu[row]! - table.allocatedCpu[row]!) &&
      (memoryBytes === 0 || memoryBytes <= table.capacityMemory[row]! - table.allocatedMemory[row]!)
    );
  }

  /** As it is now. @returns whether it has become another */
  #score(row: number): boolean {
    const { table } = this;
    let upper: number;
    let lower: number;
    if (this.#packs) {
      const { cpuMillis, memoryBytes } = this.asked.resources;
      upper = -(
        (table.allocatedCpu[row]! + cpuMillis) / Math.max(table.capacityCpu[row]!, 1) +
        (table.allocatedMemory[row]! + memoryBytes) / Math.max(table.capacityMemory[row]!, 1)
      );
      lower = table.rank[row]! - table.instances[row]! * RANKS;
    } else {
      upper = this.#own[row]! * STEPS + Math.min(table.cpuStep[row]!, STEPS - 1);
      lower = table.rank[row]! + table.instances[row]! * RANKS;
    }
    if (upper === this.#upper[row] && lower === this.#lower[row]) return false;
    this.#upper[row] = upper;
    this.#lower[row] = lower;
    return true;
  }

  // ---- the heap

  #isBetter(a: number, b: number): boolean {
    const difference = this.#upper[a]! - this.#upper[b]!;
    return difference < 0 || (difference === 0 && this.#lower[a]! < this.#lower[b]!);
  }

  #put(at: number, row: number): void {
    this.#heap[at] = row;
    this.#places[row] = at;
  }

  #insert(row: number): void {
    this.#score(row);
    this.#put(this.#size, row);
    this.#size += 1;
    this.#rise(this.#size - 1);
  }

  #remove(row: number): void {
    const at = this.#places[row]!;
    this.#places[row] = ABSENT;
    this.#size -= 1;
    if (at === this.#size) return;
    const last = this.#heap[this.#size]!;
    this.#put(at, last);
    this.#rise(at);
    this.#sink(this.#places[last]!);
  }

  #rise(from: number): void {
    const heap = this.#heap;
    const row = heap[from]!;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (!this.#isBetter(row, heap[parent]!)) break;
      this.#put(at, heap[parent]!);
      at = parent;
    }
    this.#put(at, row);
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const places = this.#places;
    const upper = this.#upper;
    const lower = this.#lower;
    const size = this.#size;
    const row = heap[from]!;
    const [rowUpper, rowLower] = [upper[row]!, lower[row]!];
    let at = from;
    for (let child = 2 * at + 1; child < size; child = 2 * at + 1) {
      let best = heap[child]!;
      if (child + 1 < size) {
        const other = heap[child + 1]!;
        const difference = upper[other]! - upper[best]!;
        if (difference < 0 || (difference === 0 && lower[other]! < lower[best]!)) {
          best = other;
          child += 1;
        }
      }
      const difference = upper[best]! - rowUpper;
      if (difference > 0 || (difference === 0 && lower[best]! >= rowLower)) break;
      heap[at] = best;
      places[best] = at;
      at = child;
    }
    heap[at] = row;
    places[row] = at;
  }
}

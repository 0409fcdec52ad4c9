/**
 * Which rows have which labels: one bitmap for each label and for each of its values, so that constraints are answered for
 * all nodes at once by a few words of logic each. Pure.
 */
import type { Constraint } from '../../contract/workload';

const BITS = 32;

/** A set of rows. */
export type Rows = Uint32Array;

type Labels = Readonly<Record<string, string>>;

export function hasRow(rows: Rows, row: number): boolean {
  return (rows[row >>> 5]! & (1 << (row & 31))) !== 0;
}

export function setRow(rows: Rows, row: number, member: boolean): void {
  if (member) rows[row >>> 5]! |= 1 << (row & 31);
  else rows[row >>> 5]! &= ~(1 << (row & 31));
}

/** In ascending order. */
export function forEachRow(rows: Rows, visit: (row: number) => void): void {
  for (let word = 0; word < rows.length; word++) {
    for (let left = rows[word]!; left !== 0; left &= left - 1) visit(word * BITS + 31 - Math.clz32(left & -left));
  }
}

/** Twice the room, or what is needed for `row`. */
export function withRoomFor(rows: Rows, row: number): Rows {
  if (row < rows.length * BITS) return rows;
  const grown = new Uint32Array(Math.max(2 * rows.length, (row >>> 5) + 1));
  grown.set(rows);
  return grown;
}

export class LabelIndex {
  readonly #labels: Labels[] = [];
  /** By label: who has it, with any value. */
  readonly #present = new Map<string, Rows>();
  /** By label and value. */
  readonly #valued = new Map<string, Map<string, Rows>>();

  /** @returns whether they differ from those it had */
  set(row: number, labels: Labels): boolean {
    const before = this.#labels[row] ?? {};
    if (before === labels) return false;
    const gone = Object.keys(before).filter((label) => labels[label] !== before[label]);
    const come = Object.keys(labels).filter((label) => labels[label] !== before[label]);
    for (const label of gone) this.#mark(row, label, before[label]!, false);
    for (const label of come) this.#mark(row, label, labels[label]!, true);
    this.#labels[row] = labels;
    return gone.length + come.length > 0;
  }

  /** Takes out of `rows` all that do not satisfy each of the constraints. */
  narrow(rows: Rows, constraints: readonly Constraint[]): void {
    for (const { label, op, values = [] } of constraints) {
      const present = this.#present.get(label);
      if (op === 'exists') keep(rows, present);
      else if (op === 'absent') remove(rows, present);
      else {
        const valued = values.map((value) => this.#valued.get(label)?.get(value));
        if (op === 'notIn') for (const one of valued) remove(rows, one);
        else keep(rows, union(valued, rows.length));
      }
    }
  }

  #mark(row: number, label: string, value: string, member: boolean): void {
    const valued = this.#valued.get(label) ?? new Map<string, Rows>();
    this.#valued.set(label, valued);
    const rows = withRoomFor(valued.get(value) ?? new Uint32Array(1), row);
    setRow(rows, row, member);
    if (member || rows.some((word) => word !== 0)) valued.set(value, rows);
    else valued.delete(value);
    const present = withRoomFor(this.#present.get(label) ?? new Uint32Array(1), row);
    setRow(present, row, member);
    this.#present.set(label, present);
    if (valued.size > 0) return;
    this.#valued.delete(label);
    this.#present.delete(label);
  }
}

function union(sets: readonly (Rows | undefined)[], length: number): Rows {
  const all = new Uint32Array(length);
  for (const set of sets) if (set !== undefined) for (let i = 0; i < length; i++) all[i]! |= set[i] ?? 0;
  return all;
}

function keep(rows: Rows, others: Rows | undefined): void {
  for (let i = 0; i < rows.length; i++) rows[i]! &= others?.[i] ?? 0;
}

function remove(rows: Rows, others: Rows | undefined): void {
  if (others !== undefined) for (let i = 0; i < rows.length; i++) rows[i]! &= ~(others[i] ?? 0);
}

/**
 * What lists, health and metrics would otherwise go through all records for: ids in their order, workloads by status, and of
 * each workload what its line in a list says. Kept up to date by State with every change.
 */
import { isTerminal, type WorkloadStatus } from '../contract/states';
import type { InstanceRecord, WorkloadRecord } from './core/model';
import { SortedIds } from './sortedIds';

/** Lines that are kept written, about 1 kB each: those of lists that are asked for again and again. */
const LINES_KEPT = 20_000;
const PAGES_KEPT = 16;

interface Listed {
  status: WorkloadStatus;
  /** All slots that are numbers lie below it. */
  slotEnd: number;
  /** Instances with an attempt or more. */
  attempted: number;
  /** How many instances have so many attempts, where that is more than one. */
  manyAttempts: Map<number, number> | null;
}

export class ListIndex {
  readonly workloadIds = new SortedIds();
  readonly nodeIds = new SortedIds();
  /** Uids of workloads that refer to secrets. */
  readonly withSecrets = new Set<string>();
  /** Uids of workloads that have ended, in the order in which they did. */
  readonly ended = new Set<string>();
  /** As last told by an event. */
  readonly workloadsByStatus = new Map<WorkloadStatus, number>();
  private readonly listed = new Map<string, Listed>();
  /** Pages as they were answered last, until any line of any page changes. */
  private readonly pages = new Map<string, unknown>();
  /** By uid. */
  private readonly lines = new Map<string, string>();

  /** It is new, or has changed. */
  noteWorkload({ uid, spec, status }: WorkloadRecord): void {
    this.forget(uid);
    if (spec.secrets === undefined) this.withSecrets.delete(uid);
    else this.withSecrets.add(uid);
    const known = this.listed.get(uid);
    if (known === undefined) {
      this.workloadIds.add(spec.id);
      this.listed.set(uid, { status, slotEnd: 0, attempted: 0, manyAttempts: null });
    } else if (known.status !== status) {
      countDown(this.workloadsByStatus, known.status);
      known.status = status;
    } else return;
    countUp(this.workloadsByStatus, status);
    if (isTerminal(status)) this.ended.add(uid);
    else this.ended.delete(uid);
  }

  dropWorkload({ uid, spec }: WorkloadRecord): void {
    this.forget(uid);
    const known = this.listed.get(uid);
    if (known === undefined) return;
    countDown(this.workloadsByStatus, known.status);
    this.workloadIds.delete(spec.id);
    this.ended.delete(uid);
    this.withSecrets.delete(uid);
    this.listed.delete(uid);
  }

  /** It is counted as it is now; before it changes, it is to be taken out. */
  noteInstance({ uid, slot, attempts }: InstanceRecord): void {
    this.forget(uid);
    const listed = this.listed.get(uid);
    if (listed === undefined) return;
    const index = Number(slot);
    if (index >= listed.slotEnd) listed.slotEnd = index + 1;
    if (attempts > 0) listed.attempted += 1;
    if (attempts <= 1) return;
    listed.manyAttempts ??= new Map();
    countUp(listed.manyAttempts, attempts);
  }

  takeOutInstance({ uid, attempts }: InstanceRecord): void {
    this.forget(uid);
    const listed = this.listed.get(uid);
    if (listed === undefined || attempts === 0) return;
    listed.attempted -= 1;
    if (attempts > 1 && listed.manyAttempts !== null) countDown(listed.manyAttempts, attempts);
  }

  /** @param left the workload's instances without it */
  dropInstance({ uid, slot }: InstanceRecord, left: ReadonlyMap<string, unknown>): void {
    const listed = this.listed.get(uid);
    if (listed === undefined || Number(slot) !== listed.slotEnd - 1) return;
    while (listed.slotEnd > 0 && !left.has(String(listed.slotEnd - 1))) listed.slotEnd -= 1;
  }

  slotEndOf(uid: string): number {
    return this.listed.get(uid)?.slotEnd ?? 0;
  }

  mostAttemptsOf(uid: string): number {
    const listed = this.listed.get(uid);
    if (listed === undefined || listed.attempted === 0) return 0;
    return Math.max(1, ...(listed.manyAttempts?.keys() ?? []));
  }

  private forget(uid: string): void {
    if (this.lines.size > 0) this.lines.delete(uid);
    if (this.pages.size > 0) this.pages.clear();
  }

  /** What was kept of a page of all workloads, if it still is as it was. */
  pageOf<P>(page: string): P | undefined {
    return this.pages.get(page) as P | undefined;
  }

  /** To be called in the turn in which it was made. */
  keepPage(page: string, content: unknown): void {
    if (this.pages.size >= PAGES_KEPT) this.pages.clear();
    this.pages.set(page, content);
  }

  /** Its line in a list of workloads, written by `write` where it has changed since. */
  lineOf(uid: string, write: () => string): string {
    const known = this.lines.get(uid);
    if (known !== undefined) return known;
    const line = write();
    if (this.lines.size >= LINES_KEPT) this.lines.clear();
    this.lines.set(uid, line);
    return line;
  }
}

function countUp<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function countDown<K>(counts: Map<K, number>, key: K): void {
  const left = (counts.get(key) ?? 0) - 1;
  if (left > 0) counts.set(key, left);
  else counts.delete(key);
}

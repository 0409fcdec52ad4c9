/** Which of the kept events are about which workload: in memory, made anew from the events at each start. */
import type { MorchEvent } from '../../contract/events';

export class WorkloadHistory {
  /** Seqs by uid, ascending; half of them at most, the first ones, have been pruned. */
  private readonly seqs = new Map<string, number[]>();
  /** Those of all, in the order of their seqs; the first `gone` have been pruned. */
  private told: { seq: number; uid: string }[] = [];
  private gone = 0;
  private firstSeq = 1;

  /** In the order of their seqs; those that are about no workload are left out. */
  add({ seq, data: { uid } }: Pick<MorchEvent, 'seq' | 'data'>): void {
    if (typeof uid !== 'string') return;
    const known = this.seqs.get(uid);
    if (known === undefined) this.seqs.set(uid, [seq]);
    else known.push(seq);
    this.told.push({ seq, uid });
  }

  /** Events before `firstSeq` are no longer kept. */
  prune(firstSeq: number): void {
    for (; this.gone < this.told.length; this.gone++) {
      const { seq, uid } = this.told[this.gone]!;
      if (seq >= firstSeq) break;
      this.pruneOne(uid, firstSeq);
    }
    this.firstSeq = Math.max(this.firstSeq, firstSeq);
    // Not every time, because it moves all that are left.
    if (this.gone <= this.told.length / 2) return;
    this.told = this.told.slice(this.gone);
    this.gone = 0;
  }

  private pruneOne(uid: string, firstSeq: number): void {
    const known = this.seqs.get(uid);
    if (known === undefined) return;
    if (known.at(-1)! < firstSeq) this.seqs.delete(uid);
    else if (known[known.length >>> 1]! < firstSeq) known.splice(0, placeOf(known, firstSeq));
  }

  /** @returns seqs of its events after `seq`, `limit` at most */
  after(uid: string, seq: number, limit: number): number[] {
    const known = this.seqs.get(uid) ?? [];
    const at = placeOf(known, Math.max(seq + 1, this.firstSeq));
    return known.slice(at, at + limit);
  }
}

/** Index of the first that is not less. */
function placeOf(ascending: readonly number[], seq: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ascending[middle]! < seq) low = middle + 1;
    else high = middle;
  }
  return low;
}

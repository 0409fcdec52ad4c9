/** Which of the kept events are about which workload: in memory, made anew from the events at each start. */
import type { MorchEvent } from '../../contract/events';

/** As `State.emit` has it written. What stands before `data` are names and times: no text of a user can look like it. */
const ABOUT_WORKLOAD = /^\{"seq":(\d{1,15}),[^{}]*"data":\{"uid":"([A-Za-z0-9-]+)"/;

interface Kept {
  readonly uid: string;
  /** Ascending; half of them at most, the first ones, have been pruned. */
  readonly seqs: number[];
}

export class WorkloadHistory {
  private readonly byUid = new Map<string, Kept>();
  /** Those of all, in the order of their seqs; the first `gone` have been pruned. */
  private told: { seq: number; of: Kept }[] = [];
  private gone = 0;
  private firstSeq = 1;

  /** In the order of their seqs; those that are about no workload are left out. */
  add({ seq, data: { uid } }: Pick<MorchEvent, 'seq' | 'data'>): void {
    if (typeof uid === 'string') this.note(seq, this.byUid.get(uid) ?? this.keep(uid));
  }

  /** The same for the JSON of one, of which most need not be parsed for that. */
  addText(json: string): void {
    const [, seq, uid] = ABOUT_WORKLOAD.exec(json) ?? [];
    const kept = uid === undefined ? undefined : this.byUid.get(uid);
    // What the expression has found is a part of the whole text, which would be kept with it.
    if (kept === undefined) this.add(JSON.parse(json) as MorchEvent);
    else this.note(Number(seq), kept);
  }

  private keep(uid: string): Kept {
    const kept: Kept = { uid, seqs: [] };
    this.byUid.set(uid, kept);
    return kept;
  }

  private note(seq: number, of: Kept): void {
    of.seqs.push(seq);
    this.told.push({ seq, of });
  }

  /** Events before `firstSeq` are no longer kept. */
  prune(firstSeq: number): void {
    for (; this.gone < this.told.length; this.gone++) {
      const { seq, of } = this.told[this.gone]!;
      if (seq >= firstSeq) break;
      this.pruneOne(of, firstSeq);
    }
    this.firstSeq = Math.max(this.firstSeq, firstSeq);
    // Not every time, because it moves all that are left.
    if (this.gone <= this.told.length / 2) return;
    this.told = this.told.slice(this.gone);
    this.gone = 0;
  }

  private pruneOne({ uid, seqs }: Kept, firstSeq: number): void {
    if ((seqs.at(-1) ?? 0) < firstSeq) this.byUid.delete(uid);
    else if (seqs[seqs.length >>> 1]! < firstSeq) seqs.splice(0, placeOf(seqs, firstSeq));
  }

  /** @returns seqs of its events after `seq`, `limit` at most */
  after(uid: string, seq: number, limit: number): number[] {
    const known = this.byUid.get(uid)?.seqs ?? [];
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

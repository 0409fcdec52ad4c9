/** Which of the kept events are about which workload: in memory, made anew from the events at each start. */
import type { MorchEvent } from '../../contract/events';
import { seqOfEvent } from '../store/keys';
import { LongList } from './longList';

/** Of an event, as `State.emit` has it written. */
const BEFORE_UID = ',"data":{"uid":"';

interface Kept {
  readonly uid: string;
  /** Ascending; half of them at most, the first ones, have been pruned. */
  readonly seqs: number[];
}

/** As another thread can be given it. */
export interface PackedHistory {
  uids: string[];
  /** Of each event, in their order: its seq, and which of the uids it is about. */
  seqs: Float64Array;
  about: Uint32Array;
}

export class WorkloadHistory {
  private readonly byUid = new Map<string, Kept>();
  /** Those of all, in the order of their seqs, and what each is about. */
  private readonly told = new LongList<number>();
  private readonly about = new LongList<Kept>();
  private firstSeq = 1;

  /** In the order of their seqs; those that are about no workload are left out. */
  add({ seq, data: { uid } }: Pick<MorchEvent, 'seq' | 'data'>): void {
    if (typeof uid === 'string') this.note(seq, this.byUid.get(uid) ?? this.keep(uid));
  }

  /** The same as they stand in the store. @param start where in the texts the JSON begins */
  addTexts(records: readonly (readonly [key: string, text: string])[], start: number): void {
    for (const [key, text] of records) this.addText(seqOfEvent(key), text, start);
  }

  /**
   * The same for the JSON of one, of which most need not be parsed for that.
   *
   * @param start where in the text it begins
   */
  addText(seq: number, text: string, start: number): void {
    // What stands before `data` is of names, times and numbers: the second brace is its own.
    const at = text.indexOf('{', start + 1) - BEFORE_UID.indexOf('{');
    const from = at + BEFORE_UID.length;
    const uid = text.startsWith(BEFORE_UID, at) ? text.slice(from, text.indexOf('"', from)) : '';
    const kept = this.byUid.get(uid);
    // A piece of the text would keep all of it, so a uid that is new is read from the value.
    if (kept === undefined) this.add(JSON.parse(text.slice(start)) as MorchEvent);
    else this.note(seq, kept);
  }

  pack(): PackedHistory {
    const places = new Map<Kept, number>();
    for (const kept of this.byUid.values()) places.set(kept, places.size);
    return {
      uids: [...this.byUid.keys()],
      seqs: Float64Array.from(this.told),
      about: Uint32Array.from(this.about, (kept) => places.get(kept)!),
    };
  }

  /** To what there is; none of it is known yet. */
  addPacked({ uids, seqs, about }: PackedHistory): void {
    const kept = uids.map((uid) => this.keep(uid));
    for (let at = 0; at < seqs.length; at++) this.note(seqs[at]!, kept[about[at]!]!);
  }

  private keep(uid: string): Kept {
    const kept: Kept = { uid, seqs: [] };
    this.byUid.set(uid, kept);
    return kept;
  }

  private note(seq: number, of: Kept): void {
    of.seqs.push(seq);
    this.told.push(seq);
    this.about.push(of);
  }

  /** Events before `firstSeq` are no longer kept. */
  prune(firstSeq: number): void {
    let index = this.told.first;
    for (; index < this.told.end && this.told.at(index) < firstSeq; index++)
      this.pruneOne(this.about.at(index), firstSeq);
    this.told.dropBefore(index);
    this.about.dropBefore(index);
    this.firstSeq = Math.max(this.firstSeq, firstSeq);
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

/**
 * The records that State is made of as one thread gives them to another: the JSON of many as one, which is parsed at once where they
 * are kept, and keys without what they have alike. Of events no more than which workloads they are about.
 */
import { type PackedHistory, WorkloadHistory } from './events/history';
import { prefixes, seqOfEvent, startOfName } from './store/keys';
import type { RecordsReader } from './store/reading';

/** Keys in their order: those that are alike up to their last `/` follow each other. */
interface KeyGroup {
  prefix: string;
  /** What follows it in each, with `/` between. */
  names: string;
}

export interface PackedRecords {
  groups: KeyGroup[];
  /** A JSON array of the values, in the order of the keys. */
  values: string;
}

/** Every kind that State is made of; others are not given away. */
const KINDS = [prefixes.instance, prefixes.workload, prefixes.node, prefixes.openRecovery];

export function isOfState(key: string): boolean {
  return KINDS.some((kind) => key.startsWith(kind));
}

/** Packs what it is given, events apart, which are told when all have passed. */
export class RecordPacker implements RecordsReader {
  readonly last = prefixes.instance;
  private readonly history = new WorkloadHistory();
  private groups: KeyGroup[] = [];
  private values: string[] = [];

  /** @param send told what has passed; the next records come when it resolves */
  constructor(private readonly send: (packed: PackedRecords) => Promise<void>) {}

  take(key: string, text: string, start: number): void {
    const at = startOfName(key);
    const group = this.groups.at(-1);
    if (group !== undefined && at === group.prefix.length && key.startsWith(group.prefix)) {
      group.names += key.slice(at - 1);
    } else if (key.startsWith(prefixes.event)) {
      this.history.addText(seqOfEvent(key), text, start);
      return;
    } else if (isOfState(key)) {
      this.groups.push({ prefix: key.slice(0, at), names: key.slice(at) });
    } else return;
    this.values.push(text.slice(start));
  }

  async passed(): Promise<void> {
    if (this.values.length === 0) return;
    const packed = { groups: this.groups, values: `[${this.values.join(',')}]` };
    this.groups = [];
    this.values = [];
    await this.send(packed);
  }

  packedHistory(): PackedHistory {
    return this.history.pack();
  }
}

/**
 * The records that State is made of as one thread gives them to another: the JSON of many as one, which is parsed at once where they
 * are kept, and keys without what they have alike. Of events no more than which workloads they are about.
 */
import { type PackedHistory, WorkloadHistory } from './events/history';
import { prefixes, startOfName } from './store/keys';
import type { ReadRecords, RecordsReader } from './store/reading';

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

export function isOfState([key]: ReadRecords[number]): boolean {
  return KINDS.some((kind) => key.startsWith(kind));
}

export function isEvent([key]: ReadRecords[number]): boolean {
  return key.startsWith(prefixes.event);
}

/** Packs what it is given, events apart, which are told when all have passed. */
export class RecordPacker implements RecordsReader {
  readonly last = prefixes.instance;
  private readonly history = new WorkloadHistory();

  /** @param send told what has passed; the next records come when it resolves */
  constructor(private readonly send: (packed: PackedRecords) => Promise<void>) {}

  async take(records: ReadRecords, start: number): Promise<void> {
    const events = records.filter(isEvent);
    if (events.length > 0) this.history.addTexts(events, start);
    const ofState = records.filter(isOfState);
    if (ofState.length > 0) await this.send(pack(ofState, start));
  }

  packedHistory(): PackedHistory {
    return this.history.pack();
  }
}

function pack(records: ReadRecords, start: number): PackedRecords {
  const groups: KeyGroup[] = [];
  let prefix = '';
  for (const [key] of records) {
    const at = startOfName(key);
    if (groups.length > 0 && at === prefix.length && key.startsWith(prefix)) {
      groups.at(-1)!.names += key.slice(at - 1);
      continue;
    }
    prefix = key.slice(0, at);
    groups.push({ prefix, names: key.slice(at) });
  }
  return { groups, values: `[${records.map(([, text]) => text.slice(start)).join(',')}]` };
}

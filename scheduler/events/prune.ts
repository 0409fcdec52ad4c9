/** Keeps the event log to its size: which keys to delete, for the journal to write with its next batch. */
import { EVENTS_KEPT, type MorchEvent } from '../../contract/events';
import { keys, prefixes } from '../store/keys';
import type { Store, StoreOp } from '../store/store';

/** Two deletes each: the event and its entry in its workload's index. */
const EVENTS_PER_CALL = 1_000;

/**
 * @param firstSeq least seq still kept
 * @returns deletes for the oldest events beyond `kept`, 1,000 at most, and the least seq kept once they are
 *   durable (to be told to `EventLog.pruned` then); no ops when there is nothing to prune
 */
export async function pruneOps(
  store: Store,
  firstSeq: number,
  lastSeq: number,
  kept = EVENTS_KEPT,
): Promise<{ ops: StoreOp[]; firstSeq: number }> {
  const count = Math.min(lastSeq - firstSeq + 1 - kept, EVENTS_PER_CALL);
  if (count <= 0) return { ops: [], firstSeq };
  const end = firstSeq + count;
  const ops: StoreOp[] = [];
  for await (const [key, value] of store.range(prefixes.event, { after: keys.event(firstSeq - 1), limit: count })) {
    if (key >= keys.event(end)) break;
    ops.push({ type: 'del', key });
    const { seq, data } = value as MorchEvent;
    if (typeof data.uid === 'string') ops.push({ type: 'del', key: keys.workloadEvent(data.uid, seq) });
  }
  return { ops, firstSeq: end };
}

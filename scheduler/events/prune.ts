/** Keeps the event log to its size: which keys to delete, for the journal to write with its next batch. Pure. */
import { EVENTS_KEPT } from '../../contract/events';
import { keys } from '../store/keys';
import type { StoreOp } from '../store/store';

const EVENTS_PER_CALL = 1_000;

/**
 * @param firstSeq least seq still kept
 * @returns deletes for the oldest events beyond `kept`, 1,000 at most, and the least seq kept once they are
 *   durable (to be told to `EventLog.pruned` then); no ops when there is nothing to prune
 */
export function pruneOps(firstSeq: number, lastSeq: number, kept = EVENTS_KEPT): { ops: StoreOp[]; firstSeq: number } {
  const count = Math.max(0, Math.min(lastSeq - firstSeq + 1 - kept, EVENTS_PER_CALL));
  const ops = Array.from({ length: count }, (_, at): StoreOp => ({ type: 'del', key: keys.event(firstSeq + at) }));
  return { ops, firstSeq: firstSeq + count };
}

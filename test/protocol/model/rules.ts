/**
 * The rules of the protocol that a search can leave out, to see what they are for. Those that are pure in the product are
 * the product's own; the others are told by the model as the product has them.
 */
import { Session } from '../../../agent/session';
import { fenceEndsMs, startWithinMs } from '../../../scheduler/core/healthPolicy';
import { judgeReport } from '../../../scheduler/core/intake';
import { judgeAbsence } from '../../../scheduler/core/loss';

export interface Rules {
  // Of the scheduler.
  startWithinMs: typeof startWithinMs;
  fenceEndsMs: typeof fenceEndsMs;
  judgeReport: typeof judgeReport;
  judgeAbsence: typeof judgeAbsence;
  /** After its start every lease counts as renewed at that moment. */
  renewsLeasesAtStart: boolean;
  /** What is decided is durable before an agent is told. */
  storesFirst: boolean;
  /** No generation is forgotten whose start may still arrive in the present session. */
  keepsTombstones: boolean;

  // Of the agent.
  Session: typeof Session;
  /** A generation below the latest known is refused. */
  refusesPastGenerations: boolean;
  /** The same generation again is answered, not executed again. */
  startsOnce: boolean;
  /** A stop of a generation never heard of is remembered. */
  leavesTombstones: boolean;
  /** A heartbeat counts from its sending, not from its acknowledgement. */
  countsFromSending: boolean;

  // Of the shim.
  /** Another term on the page than at its start: the tree is killed. */
  goesByTerm: boolean;
  /** The time of a start, and the page, are looked at once more before the program is started. */
  looksFirst: boolean;
}

export const PRODUCT: Rules = {
  startWithinMs,
  fenceEndsMs,
  judgeReport,
  judgeAbsence,
  renewsLeasesAtStart: true,
  storesFirst: true,
  keepsTombstones: true,
  Session,
  refusesPastGenerations: true,
  startsOnce: true,
  leavesTombstones: true,
  countsFromSending: true,
  goesByTerm: true,
  looksFirst: true,
};

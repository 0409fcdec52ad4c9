/**
 * The protocol without one of its rules each, and how little has to go wrong for that to show. Where a rule is the product's
 * own code, the code is what is changed here.
 */
import { Session, type SessionClaim } from '../../agent/session';
import { earliestVerdictMs } from '../../scheduler/core/healthPolicy';
import { judgeReport } from '../../scheduler/core/intake';
import { judgeAbsence } from '../../scheduler/core/loss';
import type { Plan } from './beginning';
import type { Rules } from './model/rules';

export interface LeftOut {
  rule: string;
  rules: Partial<Rules>;
  plan: Plan;
  /** What comes of it. */
  wrong: RegExp;
}

const LIVES_TWICE = /^generations \d and \d live at once$/;
const AFTER_THE_VERDICT = /^generation \d is started on A after the verdict$/;
const AFTER_ITS_STOP = /^generation 1 (is started after|lives though) its stop was confirmed$/;
const PAST = /^generation 1 is started when a later one has been placed$/;
const TWICE = /^run \d\.1 is executed twice$/;

export const NEVER_ENDS = /^though nothing more goes wrong, it stays/;

type Begin = Parameters<Session['begin']>;

/** A command counts as of the present session, whichever it names. */
class AnySessionCommands extends Session {
  private present: SessionClaim = {};

  override begin(...[message, epoch, ...rest]: Begin): void {
    this.present = { session: message.session, epoch };
    super.begin(message, epoch, ...rest);
  }

  override refusalOfStart(claim: SessionClaim) {
    return super.refusalOfStart({ ...claim, ...this.present });
  }

  override refusalOfStop() {
    return null;
  }
}

class AnySessionExecutes extends Session {
  override mayExecute(...[run, admission]: Parameters<Session['mayExecute']>): boolean {
    return super.mayExecute(run, { ...admission, session: this.admission.session });
  }
}

class AnyTermExecutes extends Session {
  override mayExecute(...[run, admission]: Parameters<Session['mayExecute']>): boolean {
    return super.mayExecute(run, { ...admission, leaseTerm: this.admission.leaseTerm });
  }
}

/** Whatever is said last counts. */
class AnyOrder extends Session {
  private order = 0;
  private readonly orders = new WeakMap<object, { order: number }>();

  override begin(...[message, epoch, sentAtMs, connection]: Begin): void {
    this.order += 1;
    super.begin(message, epoch, sentAtMs, this.renumbered(connection, this.order));
  }

  override acknowledge(sentAtMs: number, connection: Begin[3]): void {
    super.acknowledge(sentAtMs, this.renumbered(connection));
  }

  override end(connection: Begin[3]): void {
    super.end(this.renumbered(connection));
  }

  private renumbered(connection: Begin[3], order?: number): Begin[3] {
    const known = this.orders.get(connection);
    if (known !== undefined && order === undefined) return known;
    const renumbered = { order: order ?? 0 };
    this.orders.set(connection, renumbered);
    return renumbered;
  }
}

export const LEFT_OUT: LeftOut[] = [
  // Leases.
  {
    rule: 'the fence waits for the lease',
    rules: { fenceEndsMs: () => 0 },
    plan: { onDisconnect: 'stop', faults: ['cut'], times: 1 },
    wrong: LIVES_TWICE,
  },
  {
    rule: 'it waits for the kernel, too',
    rules: { fenceEndsMs: (leaseEndsMs, leaseMs) => leaseEndsMs + leaseMs * 0.01 },
    plan: { onDisconnect: 'stop', faults: ['cut'], times: 1 },
    wrong: LIVES_TWICE,
  },
  {
    rule: 'and one in a hundred for the clocks',
    rules: { fenceEndsMs: (leaseEndsMs) => leaseEndsMs + 1_000 },
    plan: { onDisconnect: 'stop', pace: 101, faults: ['cut'], times: 1 },
    wrong: LIVES_TWICE,
  },
  {
    rule: 'a heartbeat counts from its sending',
    rules: { countsFromSending: false },
    plan: { onDisconnect: 'stop', faults: ['cut', 'agentStall'], times: 2 },
    wrong: AFTER_THE_VERDICT,
  },
  {
    rule: 'every lease counts as renewed when the scheduler starts',
    rules: { renewsLeasesAtStart: false },
    plan: { onDisconnect: 'stop', faults: ['schedulerCrash', 'cut'], times: 2 },
    wrong: LIVES_TWICE,
  },
  {
    rule: 'a shim that sees another lease than its own kills its tree',
    rules: { goesByTerm: false },
    plan: { onDisconnect: 'stop', faults: ['freeze'], times: 1 },
    wrong: LIVES_TWICE,
  },
  {
    rule: 'no run is executed under another lease than that of its generation, by agent or shim',
    rules: { Session: AnyTermExecutes, goesByTerm: false },
    plan: { onDisconnect: 'stop', runs: 2, faults: ['exit', 'agentStall'], times: 2 },
    wrong: LIVES_TWICE,
  },
  {
    rule: 'a copy on a node that was forgotten and joins anew is taken in',
    rules: {
      judgeReport: (instance, node, report) =>
        instance?.node === null && instance.lingersOn !== node ? 'stale' : judgeReport(instance, node, report),
    },
    plan: { onDisconnect: 'stop', graceMs: 6_000, faults: ['forget'], times: 1 },
    wrong: LIVES_TWICE,
  },
  {
    rule: 'a copy that is to be stopped is taken in when its node is back, and its fence with it',
    rules: {
      judgeReport: (instance, node, report) =>
        instance?.status === 'stopping' && report.rev === instance.rev ? 'old' : judgeReport(instance, node, report),
    },
    plan: { onDisconnect: 'stop', graceMs: 6_000, faults: ['stop', 'agentCrash'], times: 2 },
    wrong: AFTER_ITS_STOP,
  },

  // Starts.
  {
    rule: 'starts are executed for a short time after the last acknowledged heartbeat only',
    rules: { startWithinMs: () => 60_000 },
    plan: { onDisconnect: 'replace', faults: ['agentStall'], times: 1 },
    wrong: AFTER_THE_VERDICT,
  },
  {
    rule: 'on a slow clock, too',
    rules: { startWithinMs: earliestVerdictMs },
    plan: { onDisconnect: 'replace', pace: 101, faults: ['agentStall', 'cut'], times: 2 },
    wrong: AFTER_THE_VERDICT,
  },
  {
    rule: 'the shim asks once more before it starts the program',
    rules: { looksFirst: false },
    plan: { onDisconnect: 'stop', faults: ['agentStall'], times: 1 },
    wrong: AFTER_THE_VERDICT,
  },
  {
    rule: 'commands of another session are refused',
    rules: { Session: AnySessionCommands },
    plan: { onDisconnect: 'replace', faults: ['late', 'cut'], times: 2 },
    wrong: AFTER_THE_VERDICT,
  },
  {
    rule: 'a first run is executed only in the session that it was let in under',
    rules: { Session: AnySessionExecutes },
    plan: { onDisconnect: 'replace', orders: 'all', faults: ['agentStall'], times: 1 },
    wrong: AFTER_THE_VERDICT,
  },
  {
    rule: 'a session that is told of late does not take the place of the present one',
    rules: { Session: AnyOrder },
    plan: { onDisconnect: 'stop', faults: ['late', 'break'], times: 3 },
    wrong: NEVER_ENDS,
  },
  {
    rule: 'the same generation again is answered, and not executed again',
    rules: { startsOnce: false },
    plan: { onDisconnect: 'replace', faults: ['abandon'], times: 1 },
    wrong: TWICE,
  },
  {
    rule: 'what is decided is durable before an agent is told',
    rules: { storesFirst: false },
    plan: { onDisconnect: 'replace', faults: ['schedulerCrash'], times: 1 },
    wrong: TWICE,
  },

  // Stops and inventories.
  {
    rule: 'a stop of a generation never heard of leaves a tombstone',
    rules: { leavesTombstones: false },
    plan: { onDisconnect: 'replace', faults: ['late', 'stop'], times: 2 },
    wrong: AFTER_ITS_STOP,
  },
  {
    rule: 'which stays as long as a start of it may still arrive',
    rules: { keepsTombstones: false },
    plan: { onDisconnect: 'replace', faults: ['late', 'stop'], times: 2 },
    wrong: AFTER_ITS_STOP,
  },
  {
    rule: 'an instance that was heard of since the inventory was asked for is not lost for lacking in it',
    rules: { judgeAbsence: (instance) => judgeAbsence(instance, false) },
    plan: { onDisconnect: 'stop', orders: 'all', faults: ['break'], times: 1 },
    wrong: LIVES_TWICE,
  },
  {
    rule: 'nor one whose start is under way',
    rules: { judgeAbsence: (_instance, isHeardSince) => (isHeardSince ? 'awaited' : 'gone') },
    plan: { onDisconnect: 'stop', orders: 'all', faults: ['break'], times: 1 },
    wrong: PAST,
  },
];

/**
 * A second line behind the session: without that, one node alone is still safe from generations that are past. The others
 * are not told of them.
 */
export const PAST_GENERATIONS = {
  plan: { onDisconnect: 'stop', alone: true, faults: ['late', 'cut'], times: 2 } satisfies Plan,
  first: { Session: AnySessionCommands } satisfies Partial<Rules>,
  second: { refusesPastGenerations: false } satisfies Partial<Rules>,
  wrong: PAST,
};

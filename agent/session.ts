/**
 * This agent's relation with its scheduler as time goes by: the present session, the lease on the page that shims watch,
 * and what may be started under them. docs/protocol.md tells what is defeated by it. events.ts tells of it, whoever
 * starts something asks it.
 *
 * All times are the clock of the lease page (CLOCK_BOOTTIME, ms). A heartbeat counts from when it was sent, so that what
 * the scheduler counts from its receipt ends no sooner.
 */
import type { SessionMessage } from '../contract/agentApi';
import { MorchError } from '../contract/errors';
import type { LeasePage, LeaseSaid } from './native/index';

/** What of a command says to which session it belongs. */
export interface SessionClaim {
  clusterId?: string | undefined;
  epoch?: number | undefined;
  session?: number | undefined;
}

/** A scheduler's connection; it holds at most one session. */
export interface SessionConnection {
  /** Rises with each that is let in. */
  readonly order: number;
}

interface Begun extends Pick<SessionMessage, 'session' | 'leaseMs' | 'startWithinMs'> {
  epoch: number;
  /** The connection it was begun on; ends with it. */
  connection: SessionConnection;
}

/** What a generation was let in under. */
export interface Admission {
  /** Null: by an agent before this one, or without a scheduler. */
  session: object | null;
  leaseTerm: number;
}

export class Session {
  #latest: Begun | null = null;
  /** The latest, until its connection is gone. */
  #present: Begun | null = null;
  #startUntilMs = 0;
  #lease: LeaseSaid;

  /** Takes over the lease that an earlier agent of this boot was given. */
  constructor(
    private readonly page: LeasePage,
    private readonly nowMs: () => number,
    private readonly hasScheduler: () => boolean,
  ) {
    this.#lease = page.read();
    this.refresh();
  }

  /** @param sentAtMs when the inventory was sent which the scheduler has taken in */
  begin(message: SessionMessage, epoch: number, sentAtMs: number, connection: SessionConnection): void {
    // Said on a connection that its scheduler has given up for a later one.
    if (this.#latest !== null && connection.order < this.#latest.connection.order) return;
    const { session, leaseMs, startWithinMs } = message;
    this.#latest = { epoch, session, leaseMs, startWithinMs, connection };
    this.#present = this.#latest;
    this.#renew(this.#latest, sentAtMs);
  }

  /** The scheduler has heard the heartbeat that was sent then. */
  acknowledge(sentAtMs: number, connection: SessionConnection): void {
    if (this.#present?.connection === connection) this.#renew(this.#present, sentAtMs);
  }

  /** The connection is gone. The lease stays in force up to its end. */
  end(connection: SessionConnection): void {
    if (this.#present?.connection === connection) this.#present = null;
  }

  get hasBegun(): boolean {
    return this.#present !== null;
  }

  /** Tells the shims that their agent is alive. */
  refresh(): void {
    this.page.refresh(this.#lease, this.hasScheduler());
  }

  /** Tells the present session from every other; null: there is none. */
  get name(): string | null {
    return this.#present === null ? null : `${this.#present.epoch}.${this.#present.session}`;
  }

  /** Whether the present session was begun on that connection. */
  isOn(connection: object): boolean {
    return this.#present?.connection === connection;
  }

  /** Of what is let in now, and executed when its turn comes. */
  get admission(): Admission {
    return { session: this.#latest, leaseTerm: this.#lease.term };
  }

  /**
   * Whether a run may be executed now; asked as late as can be, as it may have waited for its turn. The first run of a
   * generation is executed only in the session that it was let in under, and in its time: so no verdict has been given on
   * this node since. A fenced one never outside the lease that it was let in under: else its node may have been waited out.
   */
  mayExecute({ isFirst, isFenced }: { isFirst: boolean; isFenced: boolean }, admission: Admission): boolean {
    const isInTime = !isFirst || (this.#mayStart && admission.session === this.#latest);
    return isInTime && (!isFenced || this.#isUnderLease(admission.leaseTerm));
  }

  /**
   * Until then a start that was commanded may be executed: no verdict on this node is given before, so none is executed
   * here when its instance may have been placed elsewhere.
   */
  get startUntilMs(): number {
    return this.#startUntilMs;
  }

  /** Of a start that has arrived. @returns null, or the refusal: STALE_SESSION */
  refusalOfStart(claim: SessionClaim): MorchError | null {
    if (claim.clusterId === undefined) return null;
    if (!this.#isPresent(claim)) return stale(claim, this.#present);
    if (this.#mayStart) return null;
    const detail =
      'The scheduler has not been heard for so long that it may have given this node up; nothing is started until it is.';
    return new MorchError('STALE_SESSION', detail);
  }

  /** A stop of a generation does no harm whenever it comes; one that names another session was not meant for now. */
  refusalOfStop(claim: SessionClaim): MorchError | null {
    const isOther = claim.session !== undefined && !this.#isPresent(claim);
    return isOther ? stale(claim, this.#present) : null;
  }

  get #mayStart(): boolean {
    return this.nowMs() < this.#startUntilMs;
  }

  /** Without a gap since the lease of that term began. */
  #isUnderLease(term: number): boolean {
    return this.#lease.term === term && this.nowMs() < this.#lease.endsAtMs;
  }

  #isPresent({ epoch, session }: SessionClaim): boolean {
    const present = this.#present;
    return present !== null && session === present.session && (epoch === undefined || epoch === present.epoch);
  }

  #renew({ leaseMs, startWithinMs }: Begun, sentAtMs: number): void {
    const { endsAtMs, term } = this.#lease;
    const hasLapsed = this.nowMs() >= endsAtMs;
    this.#lease = { endsAtMs: sentAtMs + leaseMs, term: hasLapsed ? term + 1 : term };
    this.#startUntilMs = sentAtMs + startWithinMs;
    this.refresh();
  }
}

function stale({ session }: SessionClaim, present: Begun | null): MorchError {
  const named = session === undefined ? 'names no session' : `is of session ${session}`;
  const now = present === null ? 'none has begun' : `the present one is ${present.session}`;
  return new MorchError('STALE_SESSION', `The command ${named}; ${now}. Nothing was done.`);
}

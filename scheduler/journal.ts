/**
 * The one writer: takes all that changed in a tick, writes it as one durable batch, then tells the events.
 * Whoever changed something awaits `commit` before answering or acting.
 */
import type { Logger } from 'pino';
import { MorchError } from '../contract/errors';
import type { MorchEvent } from '../contract/events';
import { ownTurn } from './lane';
import type { State } from './state';
import type { Store, StoreOp } from './store/store';

const RETRY_MS = 1_000;
/** To make JSON of so many takes milliseconds of the event loop: more have a turn of their own for it. */
const TURN_RECORDS = 500;

export class Journal {
  private writing: Promise<void> | null = null;
  /** The write under way has taken its changes already. */
  private taken = false;
  private next: Promise<void> | null = null;
  /** Of changes that the next write takes. */
  private undos: (() => Promise<void>)[] = [];
  private retry: NodeJS.Timeout | null = null;
  private failure: string | null = null;
  private markProblem: string | null = null;
  private closed = false;

  constructor(
    private readonly store: Store,
    private readonly state: State,
    private readonly publish: (events: MorchEvent[]) => void,
    private readonly log: Logger,
    /** Called when the store takes writes again after a failure. */
    private readonly onWritable: () => void,
    /** Told of each write: how many records, and how long it took until it was durable. */
    private readonly onWritten: (records: number, ms: number) => void = () => {},
  ) {}

  /** Null while the store can be written, else the reason. */
  get unwritable(): string | null {
    return this.failure;
  }

  /** The write under way; null: there is none. What has changed since it began is taken by the next one. */
  get underWay(): Promise<void> | null {
    return this.writing;
  }

  /** @throws MorchError STORE_UNWRITABLE while the last write failed: nothing new is taken on */
  assertWritable(): void {
    if (this.closed)
      throw new MorchError('SHUTTING_DOWN', 'The scheduler is shutting down; try again when it is back.');
    if (this.failure !== null)
      throw new MorchError(
        'STORE_UNWRITABLE',
        `No change is taken until the store can be written again: ${this.failure}.`,
      );
  }

  /**
   * Makes everything that has changed so far durable. Calls within one write share the next.
   *
   * @param undo takes back what was changed in this turn; called if the write fails, before anything else is written
   * @throws MorchError STORE_UNWRITABLE; what has no undo stays in memory, and is tried again
   */
  commit(undo?: () => Promise<void>): Promise<void> {
    if (undo !== undefined) this.undos.push(undo);
    if (this.writing !== null && !this.taken) return this.writing;
    if (this.writing === null) {
      this.taken = false;
      this.writing = this.write().finally(() => {
        this.writing = null;
      });
      return this.writing;
    }
    if (this.next === null) {
      const after = this.writing.catch(() => undefined);
      this.next = after.then(() => {
        this.next = null;
        return this.commit();
      });
    }
    return this.next;
  }

  private async write(): Promise<void> {
    // One turn later, so that all changes of this tick are in the batch.
    await Promise.resolve();
    if (this.state.changeCount > TURN_RECORDS) await ownTurn();
    this.taken = true;
    const undos = this.undos.splice(0);
    if (this.state.changeCount === 0) return;
    const { ops, events, giveBack } = this.state.takeChanges();
    const startedMs = performance.now();
    try {
      await this.store.write(ops);
    } catch (error) {
      giveBack();
      await Promise.all(undos.map((undo) => this.tryUndo(undo)));
      this.failed(error);
      throw error instanceof MorchError ? error : new MorchError('STORE_UNWRITABLE', String(error), { cause: error });
    }
    this.onWritten(ops.length, performance.now() - startedMs);
    if (this.failure !== null) {
      this.log.info('the store takes writes again');
      this.failure = null;
      setImmediate(this.onWritable);
    }
    this.lookAtMark();
    for (const event of events) this.state.history.add(event);
    if (events.length > 0) this.publish(events);
  }

  private async tryUndo(undo: () => Promise<void>): Promise<void> {
    try {
      await undo();
    } catch (error) {
      this.log.error({ err: error }, 'a change that was refused could not be taken back: it may be carried out');
    }
  }

  private lookAtMark(): void {
    const { markProblem } = this.store;
    if (markProblem === this.markProblem) return;
    this.markProblem = markProblem;
    if (markProblem === null) this.log.info('the mark is written again');
    else
      this.log.warn(
        { reason: markProblem },
        'the mark cannot be written; damage to the end of the store would not be noticed',
      );
  }

  private failed(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    if (this.failure === null)
      this.log.error({ err: error }, 'the store cannot be written; nothing is acknowledged until it can');
    this.failure = message;
    if (this.retry !== null || this.closed) return;
    this.retry = setTimeout(() => {
      this.retry = null;
      this.commit().catch(() => undefined);
    }, RETRY_MS);
  }

  /** Writes of no record in State: removals computed from the store itself. */
  async writeOps(ops: readonly StoreOp[]): Promise<void> {
    await this.store.write(ops);
  }

  /** Last commit; nothing is accepted afterwards. */
  async close(): Promise<void> {
    this.closed = true;
    if (this.retry !== null) clearTimeout(this.retry);
    await this.commit().catch(() => undefined);
  }
}

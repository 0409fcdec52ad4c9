/**
 * The embedded store: LevelDB in the scheduler's data directory. Opened by open.ts, written by the journal alone.
 *
 * Values are turned into JSON when `write` is called, so that a caller may go on changing its objects. One synced
 * batch is in flight at a time; what is asked for meanwhile goes out together in the next one (group commit). Each
 * carries an entry with its number and the sum of all records after it; the mark is raised before it is acknowledged.
 *
 * A LevelDB handle that failed once fails for ever, so a failed one is closed and opened anew before the next
 * write. What the failed batch left in the log file may come back with that; it was refused, so the values from
 * before it are read from the old handle (which never applied it) and written first after the reopening.
 */
import { accessSync } from 'node:fs';
import { join } from 'node:path';
import { MorchError } from '../../contract/errors';
import { ownTurn } from '../lane';
import { type BatchEntries, batchOp, type NextBatch } from './batchEntries';
import type { Fingerprints } from './fingerprints';
import { END, type Handle, messageOf, openHandle, type TextOp, writeBatch } from './handle';
import { FIRST_KEY, numberOfBatch, prefixes } from './keys';
import { openSnapshot } from './levelSnapshot';
import type { MarkFile } from './markFile';
import { probeRoom, roomToReopen } from './reopeningRoom';
import type { RangeOptions, Store, StoreOp, StoreSnapshot } from './store';
import { checkOf, decodeValue, encodeValue } from './values';

interface Waiting {
  ops: TextOp[];
  /** Of the values of the puts, 0 for deletes. */
  checks: number[];
  resolve: () => void;
  reject: (error: Error) => void;
}

/** A batch is closed to further callers once it has this many operations. */
const BATCH_OPS = 20_000;
/** To hand so many to LevelDB takes as long on the event loop as to make JSON of them: more have a turn of their own for it. */
const TURN_OPS = 500;

export interface LevelParts {
  directory: string;
  /** Of a store that was read through and found sound. */
  db: Handle;
  entries: BatchEntries;
  fingerprints: Fingerprints;
  mark: MarkFile;
  lock: { release(): Promise<void> };
}

export class LevelStore implements Store {
  readonly kind = 'leveldb';
  readonly #directory: string;
  /** The file that LevelDB cannot be without. */
  readonly #current: string;
  readonly #entries: BatchEntries;
  readonly #fingerprints: Fingerprints;
  readonly #mark: MarkFile;
  readonly #lock: LevelParts['lock'];
  #db: Handle;
  #queue: Waiting[] = [];
  #pump: Promise<void> | undefined;
  #closed = false;
  /** Set by a failed write: the values to restore before the next one. */
  #undo: Map<string, string | undefined> | undefined;
  /** Settles once the handle has been exchanged, or could not be. */
  #reopening: Promise<void> | undefined;

  constructor({ directory, db, entries, fingerprints, mark, lock }: LevelParts) {
    this.#directory = directory;
    this.#current = join(directory, 'CURRENT');
    this.#db = db;
    this.#entries = entries;
    this.#fingerprints = fingerprints;
    this.#mark = mark;
    this.#lock = lock;
  }

  get mark(): number {
    return this.#entries.last;
  }

  get markProblem(): string | null {
    return this.#mark.problem;
  }

  skipAhead(): void {
    this.#entries.skipAhead();
  }

  async write(ops: readonly StoreOp[]): Promise<void> {
    if (this.#closed) throw new MorchError('STORE_UNWRITABLE', `The store in ${this.#directory} is closed`);
    if (ops.length === 0) return;
    const { texts, checks } = textsOf(ops);
    const done = new Promise<void>((resolve, reject) => this.#queue.push({ ops: texts, checks, resolve, reject }));
    this.#pump ??= this.#run();
    await done;
  }

  async get(key: string): Promise<unknown> {
    await this.#reopening?.catch(() => {});
    const text = await this.#db.get(key);
    return text === undefined ? undefined : JSON.parse(decodeValue(key, text));
  }

  async *range(prefix: string, options: RangeOptions = {}): AsyncGenerator<[key: string, value: unknown]> {
    const { reverse = false } = options;
    let after = options.after;
    let left = options.limit ?? Number.POSITIVE_INFINITY;
    while (left > 0) {
      await this.#reopening?.catch(() => {});
      const db = this.#db;
      try {
        const bounds = boundsOf(prefix, after, reverse);
        for await (const [key, text] of db.iterator({ ...bounds, reverse, limit: Number.isFinite(left) ? left : -1 })) {
          after = key;
          left -= 1;
          yield [key, JSON.parse(decodeValue(key, text))];
        }
        return;
      } catch (cause) {
        // The handle was exchanged under the iterator: go on behind the last key on the new one.
        await this.#reopening?.catch(() => {});
        if (db === this.#db || this.#closed) throw cause;
      }
    }
  }

  async snapshot(): Promise<StoreSnapshot> {
    await this.#reopening?.catch(() => {});
    return openSnapshot(this.#db);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#pump;
    await this.#db.close();
    await this.#mark.close();
    await this.#lock.release();
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      const group = this.#takeGroup();
      if (group.reduce((count, { ops }) => count + ops.length, 0) > TURN_OPS) await ownTurn();
      const { ops, batch } = this.#compose(group);
      try {
        // Files that were removed under an open store take writes that nobody will ever read. To ask costs some
        // microseconds, as the kernel has the name in its cache; waiting for another thread costs many times that.
        accessSync(this.#current);
        if (this.#undo !== undefined) {
          await probeRoom(this.#directory, await this.#roomToReopen(ops));
          this.#reopening = this.#reopen(this.#undo);
          await this.#reopening;
        }
        await writeBatch(this.#db, ops);
        this.#fingerprints.commit();
        batch.commit();
        this.#mark.raise(batch.number);
        for (const waiting of group) waiting.resolve();
      } catch (cause) {
        this.#fingerprints.rollback();
        await this.#rememberValues(ops);
        this.#reopening = undefined;
        const error = await this.#unwritable(cause, ops);
        for (const waiting of group) waiting.reject(error);
      }
    }
    this.#pump = undefined;
  }

  async #unwritable(cause: unknown, ops: TextOp[]): Promise<MorchError> {
    const room = await this.#roomToReopen(ops).then(
      (bytes) => ` once ${(Math.ceil((bytes * 10) / 2 ** 20) / 10).toFixed(1)} MiB can be written there`,
      () => '',
    );
    const detail = `The store in ${this.#directory} cannot be written: ${messageOf(cause)}; free space or mend the disk: it goes on by itself${room}`;
    return new MorchError('STORE_UNWRITABLE', detail, { cause });
  }

  /** In bytes, with what would be written first. @throws Error of the system */
  #roomToReopen(ops: readonly TextOp[]): Promise<number> {
    const undo = [...(this.#undo ?? [])].map(([key, value]) => key.length + (value?.length ?? 0));
    const written = ops.map((op) => op.key.length + (op.type === 'put' ? op.value.length : 0));
    return roomToReopen(
      this.#directory,
      [...undo, ...written].reduce((sum, bytes) => sum + bytes, 0),
    );
  }

  /** One batch of a group of writes, with the store's own entry; the fingerprints are those after it. */
  #compose(group: readonly Waiting[]): { ops: TextOp[]; batch: NextBatch } {
    const ops: TextOp[] = [];
    let bytes = 0;
    this.#fingerprints.begin();
    for (const waiting of group) {
      for (const [i, op] of waiting.ops.entries()) {
        ops.push(op);
        bytes += op.key.length + (op.type === 'put' ? op.value.length : 0);
        if (op.type === 'put') this.#fingerprints.put(op.key, waiting.checks[i]!);
        else this.#fingerprints.delete(op.key);
      }
    }
    const batch = this.#entries.next(bytes, this.#fingerprints.digest);
    ops.push(...batch.trims, batchOp(batch.number, batch.entry));
    return { ops, batch };
  }

  #takeGroup(): Waiting[] {
    let count = 0;
    let end = 0;
    while (end < this.#queue.length && (end === 0 || count + this.#queue[end]!.ops.length <= BATCH_OPS)) {
      count += this.#queue[end]!.ops.length;
      end += 1;
    }
    return this.#queue.splice(0, end);
  }

  async #rememberValues(ops: TextOp[]): Promise<void> {
    this.#undo ??= new Map();
    const missing = [...new Set(ops.map((op) => op.key))].filter((key) => !this.#undo!.has(key));
    try {
      const values = await this.#db.getMany(missing);
      for (const [i, key] of missing.entries()) this.#undo.set(key, values[i]);
    } catch {
      // A handle that cannot be read either is closed: its batch never reached the log file.
    }
  }

  async #reopen(undo: ReadonlyMap<string, string | undefined>): Promise<void> {
    await this.#db.close();
    this.#db = await openHandle(this.#directory);
    const ops = [...undo].map(
      ([key, value]): TextOp => (value === undefined ? { type: 'del', key } : { type: 'put', key, value }),
    );
    await writeBatch(this.#db, ops);
    await this.#assertNothingLost();
    this.#undo = undefined;
    this.#reopening = undefined;
  }

  /** LevelDB does not say what it could not read again. @throws Error */
  async #assertNothingLost(): Promise<void> {
    const [key] = await this.#db.keys({ ...boundsOf(prefixes.batch, undefined, true), reverse: true, limit: 1 }).all();
    const last = key === undefined ? 0 : numberOfBatch(key);
    if (last !== this.mark)
      throw new Error(
        `it ends with batch ${last} where ${this.mark} had been acknowledged; start the scheduler anew, which mends it`,
      );
  }
}

function textsOf(ops: readonly StoreOp[]): { texts: TextOp[]; checks: number[] } {
  const checks: number[] = [];
  const texts = ops.map((op): TextOp => {
    if (op.type === 'del') {
      checks.push(0);
      return { type: 'del', key: op.key };
    }
    const json = JSON.stringify(op.value) as string | undefined;
    if (json === undefined) throw new TypeError(`The value of ${op.key} has no JSON form`);
    const check = checkOf(op.key, json);
    checks.push(check);
    return { type: 'put', key: op.key, value: encodeValue(check, json) };
  });
  return { texts, checks };
}

function boundsOf(prefix: string, after: string | undefined, reverse: boolean) {
  const first = prefix === '' ? FIRST_KEY : prefix;
  const end = prefix + END;
  if (reverse) return { gte: first, lt: after !== undefined && after < end ? after : end };
  return after !== undefined && after >= first ? { gt: after, lt: end } : { gte: first, lt: end };
}

/**
 * The embedded store: LevelDB in the scheduler's data directory. Opened by main.ts, written by the journal alone.
 *
 * Values are turned into JSON when `write` is called, so that a caller may go on changing its objects. One synced
 * batch is in flight at a time; what is asked for meanwhile goes out together in the next one (group commit).
 *
 * A LevelDB handle that failed once fails for ever, so a failed one is closed and opened anew before the next
 * write. What the failed batch left in the log file may come back with that; it was refused, so the values from
 * before it are read from the old handle (which never applied it) and written first after the reopening.
 */
import { access, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { MorchError } from '../../contract/errors';
import type { RangeOptions, Store, StoreOp } from './store';

type Handle = Level<string, string>;
type TextOp = { type: 'put'; key: string; value: string } | { type: 'del'; key: string };

interface Waiting {
  ops: TextOp[];
  resolve: () => void;
  reject: (error: Error) => void;
}

/** Keys beyond every key that begins with the prefix; keys are ASCII. */
const END = '\uffff';
/** A batch is closed to further callers once it has this many operations. */
const BATCH_OPS = 20_000;
/** LevelDB writes out up to one write buffer (4 MiB) when it opens after a failure. */
const REOPEN_NEEDS_BYTES = 8 * 1024 * 1024;

/**
 * @param directory created if missing; locked by the open store
 * @throws Error naming the directory and `--data-dir` when it is locked, damaged or not accessible
 */
export async function openLevelStore(directory: string): Promise<Store> {
  return new LevelStore(directory, await openHandle(directory));
}

class LevelStore implements Store {
  readonly kind = 'leveldb';
  readonly #directory: string;
  #db: Handle;
  #queue: Waiting[] = [];
  #pump: Promise<void> | undefined;
  #closed = false;
  /** Set by a failed write: the values to restore before the next one. */
  #undo: Map<string, string | undefined> | undefined;
  /** Settles once the handle has been exchanged, or could not be. */
  #reopening: Promise<void> | undefined;

  constructor(directory: string, db: Handle) {
    this.#directory = directory;
    this.#db = db;
  }

  async write(ops: readonly StoreOp[]): Promise<void> {
    if (this.#closed) throw new MorchError('STORE_UNWRITABLE', `The store in ${this.#directory} is closed`);
    const texts = ops.map(textOf);
    if (texts.length === 0) return;
    const done = new Promise<void>((resolve, reject) => this.#queue.push({ ops: texts, resolve, reject }));
    this.#pump ??= this.#run();
    await done;
  }

  async get(key: string): Promise<unknown> {
    await this.#reopening?.catch(() => {});
    const text = await this.#db.get(key);
    return text === undefined ? undefined : parseValue(key, text);
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
          yield [key, parseValue(key, text)];
        }
        return;
      } catch (cause) {
        // The handle was exchanged under the iterator: go on behind the last key on the new one.
        await this.#reopening?.catch(() => {});
        if (db === this.#db || this.#closed) throw cause;
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#pump;
    await this.#db.close();
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      const group = this.#takeGroup();
      const ops = group.flatMap((waiting) => waiting.ops);
      try {
        // Files that were removed under an open store take writes that nobody will ever read.
        await access(join(this.#directory, 'CURRENT'));
        if (this.#undo !== undefined) {
          // Until the disk takes a few MiB again the old handle stays, because it can still be read.
          await probeDisk(this.#directory);
          this.#reopening = this.#reopen(this.#undo);
          await this.#reopening;
        }
        await this.#db.batch(ops, { sync: true });
        for (const waiting of group) waiting.resolve();
      } catch (cause) {
        await this.#rememberValues(ops);
        this.#reopening = undefined;
        const error = new MorchError(
          'STORE_UNWRITABLE',
          `The store in ${this.#directory} cannot be written: ${messageOf(cause)}; free space or mend the disk, then try again`,
          { cause },
        );
        for (const waiting of group) waiting.reject(error);
      }
    }
    this.#pump = undefined;
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
    await this.#db.batch(ops, { sync: true });
    this.#undo = undefined;
    this.#reopening = undefined;
  }
}

function textOf(op: StoreOp): TextOp {
  if (op.type === 'del') return { type: 'del', key: op.key };
  const value = JSON.stringify(op.value) as string | undefined;
  if (value === undefined) throw new TypeError(`The value of ${op.key} has no JSON form`);
  return { type: 'put', key: op.key, value };
}

function parseValue(key: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Error(`The store's value of ${key} is damaged: ${messageOf(cause)}`, { cause });
  }
}

function boundsOf(prefix: string, after: string | undefined, reverse: boolean) {
  if (reverse) return { gte: prefix, lt: after !== undefined && after < prefix + END ? after : prefix + END };
  return after !== undefined && after >= prefix ? { gt: after, lt: prefix + END } : { gte: prefix, lt: prefix + END };
}

async function openHandle(directory: string): Promise<Handle> {
  const db: Handle = new Level<string, string>(directory, { keyEncoding: 'utf8', valueEncoding: 'utf8' });
  try {
    await db.open();
    return db;
  } catch (error) {
    const cause = (error as { cause?: unknown }).cause ?? error;
    throw new Error(`Cannot open the data directory ${directory}: ${reasonOf(cause)}`, { cause });
  }
}

function reasonOf(cause: unknown): string {
  const code = (cause as { code?: unknown }).code;
  if (code === 'LEVEL_LOCKED') {
    return 'another process holds its lock, most likely a scheduler that is still running; stop it, or give another directory with --data-dir';
  }
  if (code === 'LEVEL_CORRUPTION') {
    return `it is damaged (${messageOf(cause)}); restore a copy of it, or begin anew with another --data-dir`;
  }
  return `${messageOf(cause)}; check that it can be written and has free space, or give another with --data-dir`;
}

/** LevelDB leaves files alone whose names are not its own. */
async function probeDisk(directory: string): Promise<void> {
  const path = join(directory, 'write-probe');
  const file = await open(path, 'w');
  try {
    await file.writeFile(Buffer.alloc(REOPEN_NEEDS_BYTES));
    await file.sync();
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}

function messageOf(error: unknown): string {
  return String((error as { message?: unknown } | null)?.message ?? error);
}

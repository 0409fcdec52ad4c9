/**
 * Tells the scheduler the last lines of instances of which more has been written, so that they can be read when this node
 * is gone. Made and started by main.ts.
 *
 * Log files are written by shims; whether one has grown only a look at it tells. So few are looked at each second: first
 * instances whose status has changed or that used the CPU, then the others in turn. What is looked at, and what is told,
 * is bounded by second, so that an idle agent stays idle and a chatty one leaves the connection to others.
 */
import type { Logger } from 'pino';
import { LOG_STREAMS, LogDirectory, type LogNumbers, type LookAt, logPath } from './logs/directory';
import { type LogOwner, logOwnerKey } from './logs/files';
import { readLastLines } from './logs/lastLines';

const LOOK_EVERY_MS = 1_000;
/** Calls of `stat` at a look, a directory or a file each. */
const STATS_PER_LOOK = 40;
/** Of these, left to those whose turn it is. */
const STATS_IN_TURN = 10;
/** Bytes of messages at a look. */
const BYTES_PER_LOOK = 64 * 1024;
/** The use of the CPU is measured every 2 s. */
const LOOKS_PER_SAMPLE = 2;
/** So often what is remembered of instances that are forgotten goes. */
const LOOKS_PER_SWEEP = 10;

/** An instance by its latest generation. */
export interface TailSubject extends LogOwner {
  generation: number;
  run: number;
}

export interface TailsMeans {
  /** Names the present session; null: there is none, and nothing is told. */
  sessionName(): string | null;
  /** All whose output the scheduler may want to know; goes on while instances come and go. */
  subjects(): Iterator<TailSubject>;
  /** Those of `subjects` whose run has one of these nonces. */
  subjectsOf(nonces: ReadonlySet<string>): Iterable<TailSubject>;
  /** @param key `logOwnerKey` */
  isKnown(key: string): boolean;
  /** Of runs that have used the CPU lately. */
  busyNonces(): readonly string[];
  directoryOf(owner: LogOwner): string;
  lookAt: LookAt;
  /** @returns false when it could not be told now */
  send(text: string): boolean;
  log: Logger;
}

interface Seen {
  directory: LogDirectory;
  /** What the scheduler knows: generation, newest files and their sizes. */
  told: string;
  /** Of the last look. */
  stats: number;
  isUnreadable: boolean;
}

interface Grown {
  key: string;
  subject: TailSubject;
  seen: Seen;
  numbers: LogNumbers;
  now: string;
}

export class Tails {
  /** By `logOwnerKey`, as are the others. */
  readonly #seen = new Map<string, Seen>();
  /** To be looked at before others, in this order; also what has ended and been forgotten meanwhile. */
  readonly #due = new Map<string, TailSubject>();
  /** Whose turn comes next. */
  #inTurn: Iterator<TailSubject> | null = null;
  #session: string | null = null;
  #looks = 0;
  #timer: NodeJS.Timeout | null = null;
  #stopped = false;

  constructor(private readonly means: TailsMeans) {}

  start(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.look()
        .catch((error) => this.means.log.error({ err: error }, 'cannot tell the last lines of instances'))
        .finally(() => this.start());
    }, LOOK_EVERY_MS);
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** Its status has changed: what it wrote last may be its last. */
  changed({ uid, slot, generation, run }: TailSubject): void {
    if (this.means.sessionName() === null) return;
    const subject = { uid, slot, generation, run };
    this.#due.set(logOwnerKey(subject), subject);
  }

  /** One look; not to be called while another is under way. */
  async look(): Promise<void> {
    const session = this.means.sessionName();
    if (session !== this.#session) this.#forgetAll(session);
    if (session === null) {
      this.#due.clear();
      return;
    }
    if (this.#looks % LOOKS_PER_SWEEP === 0) this.#sweep();
    if (this.#looks % LOOKS_PER_SAMPLE === 0) this.#noteBusy();
    this.#looks += 1;
    const looked = await Promise.all(this.#choose().map((subject) => this.#findGrown(subject)));
    await this.#tell(looked.filter((grown) => grown !== null));
  }

  /** What a scheduler has been told counts within its session. */
  #forgetAll(session: string | null): void {
    this.#session = session;
    this.#seen.clear();
    this.#inTurn = null;
    this.#looks = 0;
  }

  #sweep(): void {
    for (const key of this.#seen.keys()) {
      if (!this.means.isKnown(key) && !this.#due.has(key)) this.#seen.delete(key);
    }
  }

  #noteBusy(): void {
    const nonces = new Set(this.means.busyNonces());
    if (nonces.size === 0) return;
    for (const subject of this.means.subjectsOf(nonces)) {
      const key = logOwnerKey(subject);
      if (!this.#due.has(key)) this.#due.set(key, subject);
    }
  }

  #choose(): TailSubject[] {
    const chosen = new Map<string, TailSubject>();
    let left = STATS_PER_LOOK;
    const take = (key: string, subject: TailSubject) => {
      chosen.set(key, subject);
      left -= this.#seen.get(key)?.stats ?? 1 + LOG_STREAMS.length;
    };
    for (const [key, subject] of this.#due) {
      if (left <= STATS_IN_TURN) break;
      this.#due.delete(key);
      take(key, subject);
    }
    // Around and around, but not twice in one look.
    for (let rounds = 0; left > 0 && rounds < 2; ) {
      this.#inTurn ??= this.means.subjects();
      const next = this.#inTurn.next();
      if (next.done) {
        this.#inTurn = null;
        rounds += 1;
        continue;
      }
      const key = logOwnerKey(next.value);
      // One that is due is looked at as it is known there.
      if (!chosen.has(key) && !this.#due.has(key)) take(key, next.value);
    }
    return [...chosen.values()];
  }

  async #findGrown(subject: TailSubject): Promise<Grown | null> {
    const key = logOwnerKey(subject);
    const seen = this.#seenOf(key, subject);
    try {
      const numbers = await seen.directory.numbers();
      seen.isUnreadable = false;
      seen.stats = 1 + LOG_STREAMS.filter((stream) => numbers[stream].length > 0).length;
      if (seen.stats === 1) return null; // nothing is written
      const sizes = await Promise.all(
        LOG_STREAMS.map(async (stream) => {
          const number = numbers[stream].at(-1);
          if (number === undefined) return '0:0';
          const file = await this.means.lookAt(logPath(seen.directory.path, stream, number));
          return `${number}:${file?.size ?? 0}`;
        }),
      );
      const now = `${subject.generation} ${sizes.join(' ')}`;
      if (now === seen.told) return null;
      return { key, subject, seen, numbers, now };
    } catch (error) {
      if (!seen.isUnreadable) this.means.log.warn({ err: error, instance: key }, 'the output cannot be read');
      seen.isUnreadable = true;
      return null;
    }
  }

  #seenOf(key: string, subject: TailSubject): Seen {
    let seen = this.#seen.get(key);
    if (seen === undefined) {
      const directory = new LogDirectory(this.means.directoryOf(subject), this.means.lookAt);
      seen = { directory, told: '', stats: 1 + LOG_STREAMS.length, isUnreadable: false };
      this.#seen.set(key, seen);
    }
    return seen;
  }

  /** As many as may be told at once; the others are due at the next look. */
  async #tell(grown: readonly Grown[]): Promise<void> {
    const texts: string[] = [];
    let bytes = 0;
    for (const { subject, seen, numbers } of grown) {
      const [stdout, stderr] = await Promise.all(
        LOG_STREAMS.map((stream) => readLastLines(seen.directory.path, stream, numbers[stream])),
      );
      const { uid, slot, generation, run } = subject;
      const text = JSON.stringify([uid, slot, generation, run, stdout, stderr]);
      bytes += Buffer.byteLength(text) + 1;
      if (texts.length > 0 && bytes > BYTES_PER_LOOK) break;
      texts.push(text);
    }
    const isTold = texts.length > 0 && this.means.send(`{"type":"tails","instances":[${texts.join(',')}]}`);
    for (const [i, { key, subject, seen, now }] of grown.entries()) {
      if (isTold && i < texts.length) seen.told = now;
      else if (!this.#due.has(key)) this.#due.set(key, subject);
    }
  }
}

/**
 * A file that is only added to, of lines that count once they are on the disk: `journal.<n>` in a directory of its owner. Many
 * who write at once share one synchronized write (O_DSYNC, open(2)), which is what a record costs. When more has been added than counts any more, what
 * counts is written anew under the next number, and the files before it go.
 *
 * A line is `<crc32 in hex> <text>\n`. What was cut short by the end of the machine was never told to be written; its checksum
 * tells. After a failed write nothing is added before what counts has been written anew: what the disk has of a file of which
 * it has refused something is not known (fsync(2), errors). The file is opened for each write, so that its
 * file system can be mounted read-only, and that one which is gone is noticed.
 */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { readOwnFile, writeDurably } from './files';
import { type Deferred, deferred } from './timers';

const ADDING = constants.O_WRONLY | constants.O_NOFOLLOW;
const NAME = /^journal\.([1-9]\d{0,14})$/;
const CHECK_DIGITS = 8;
/** Refused as a whole or in part; of any other failure it is not known what has reached the disk. */
const NO_ROOM: ReadonlySet<string | undefined> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
/** So much may be added, beside as much as there was, before what counts is written anew. */
const SPARE_BYTES = 4 * 1024 ** 2;

export interface Line {
  /** Without a newline. */
  text: string;
  /** Whether it has to survive the machine; else only this process. */
  isDurable: boolean;
  /** Called when it is written, in the order of the lines: from then on `counting` includes it. */
  apply(): void;
}

interface Waiting extends Line {
  written: Deferred<void>;
}

export class Journal {
  #waiting: Waiting[] = [];
  #isWriting = false;
  /** Of the newest file. */
  #number = 0;
  /** Of it, what is known to be right; null: it has to be written anew before anything is added. */
  #bytes: number | null = null;
  #rewriteAtBytes = 0;
  readonly #damaged = new Set<number>();

  /** @param counting the lines that count, which any others may be left out for */
  constructor(
    private readonly directory: string,
    private readonly counting: () => Iterable<string>,
  ) {}

  /**
   * All lines there are, oldest first. Called once, before anything is added.
   *
   * @param onDamage told of a file that cannot be read, or in which lines are no longer what was written; they are left out
   */
  async *load(onDamage: (path: string, what: Error) => void): AsyncGenerator<string> {
    const numbers = await this.#numbers();
    this.#number = numbers.at(-1) ?? 0;
    for (const number of numbers) {
      const path = this.#pathOf(number);
      const isDamaged = (what: Error) => {
        this.#damaged.add(number);
        onDamage(path, what);
        return '';
      };
      const lines = (await readOwnFile(path).catch(isDamaged)).split('\n');
      lines.pop(); // empty, or cut short
      const texts = lines.map(textOf).filter((text) => text !== null);
      yield* texts;
      const others = lines.length - texts.length;
      if (others > 0) isDamaged(new Error(`${others} of ${lines.length} lines are not what was written`));
    }
  }

  /** Resolves when the line is written. @throws NodeJS.ErrnoException; then it does not count */
  add(line: Line): Promise<void> {
    const written = deferred<void>();
    this.#waiting.push({ ...line, written });
    if (!this.#isWriting) void this.#write();
    return written.promise;
  }

  /** Writes anew what counts. @throws NodeJS.ErrnoException; it is tried again before anything is added */
  async rewrite(): Promise<void> {
    const number = this.#number + 1;
    const text = [...this.counting()].map(lineOf).join('');
    try {
      await mkdir(this.directory, { recursive: true, mode: 0o700 });
      await writeDurably(this.#pathOf(number), text);
    } catch (error) {
      // It must not be read after what is added to the one before.
      await unlink(this.#pathOf(number)).catch(({ code }) => {
        if (code !== 'ENOENT') this.#bytes = null;
      });
      throw error;
    }
    this.#number = number;
    this.#bytes = Buffer.byteLength(text);
    this.#rewriteAtBytes = 2 * this.#bytes + SPARE_BYTES;
    for (const older of await this.#numbers()) if (older < number) await this.#discard(older);
  }

  async #write(): Promise<void> {
    this.#isWriting = true;
    await turn(); // whoever has something to write in this one joins
    while (this.#waiting.length > 0) {
      const lines = this.#waiting;
      this.#waiting = [];
      try {
        await this.#addAll(lines);
      } catch (error) {
        for (const { written } of lines) written.reject(error);
        continue;
      }
      for (const { apply, written } of lines) {
        apply();
        written.resolve();
      }
      if (this.#bytes !== null && this.#bytes >= this.#rewriteAtBytes) {
        await this.rewrite().catch(() => {
          this.#rewriteAtBytes += SPARE_BYTES;
        });
      }
    }
    this.#isWriting = false;
  }

  async #addAll(lines: readonly Line[]): Promise<void> {
    const bytes = Buffer.from(lines.map(({ text }) => lineOf(text)).join(''));
    const isDurable = lines.some((line) => line.isDurable);
    const file = await this.#open(isDurable ? ADDING | constants.O_DSYNC : ADDING);
    try {
      await this.#addTo(file, bytes);
    } finally {
      file.close().catch(() => {}); // what was written is told already
    }
    this.#bytes! += bytes.length;
  }

  async #open(flags: number): Promise<FileHandle> {
    if (this.#bytes !== null) {
      try {
        return await open(this.#pathOf(this.#number), flags);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
    await this.rewrite();
    return open(this.#pathOf(this.#number), flags);
  }

  async #addTo(file: FileHandle, bytes: Buffer): Promise<void> {
    const end = this.#bytes!;
    try {
      for (let at = 0; at < bytes.length; ) {
        at += (await file.write(bytes, at, bytes.length - at, end + at)).bytesWritten;
      }
    } catch (error) {
      const isRefused = NO_ROOM.has((error as NodeJS.ErrnoException).code);
      const isAsBefore =
        isRefused &&
        (await file.truncate(end).then(
          () => true,
          () => false,
        ));
      if (!isAsBefore) this.#bytes = null;
      throw error;
    }
  }

  async #numbers(): Promise<number[]> {
    const found = (await readdir(this.directory)).map((name) => Number(NAME.exec(name)?.[1] ?? 0));
    return found.filter((number) => number > 0).sort((a, b) => a - b);
  }

  /** A damaged one is kept for whoever wants to know what was in it. */
  async #discard(number: number): Promise<void> {
    const path = this.#pathOf(number);
    await (this.#damaged.has(number) ? rename(path, `${path}.damaged`) : unlink(path)).catch(() => {}); // read, and gone, next time
  }

  #pathOf(number: number): string {
    return join(this.directory, `journal.${number}`);
  }
}

function lineOf(text: string): string {
  return `${checkOf(text)} ${text}\n`;
}

/** Null: it is not what was written. */
function textOf(line: string): string | null {
  const text = line.slice(CHECK_DIGITS + 1);
  return line.slice(0, CHECK_DIGITS + 1) === `${checkOf(text)} ` ? text : null;
}

function checkOf(text: string): string {
  return crc32(text).toString(16).padStart(CHECK_DIGITS, '0');
}

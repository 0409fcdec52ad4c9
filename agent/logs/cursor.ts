/**
 * Reads one stream of an instance forwards, file after file. Told by time: a line has the time at which its first byte
 * was read from the program, and a line ends at its newline or with its run.
 *
 * Files that vanish before it comes to them are passed over.
 */
import type { StreamPosition } from '../../contract/logFrames';
import type { LogStream } from './directory';
import { OpenLog } from './openLog';

const NEWLINE = 0x0a;

export class LogCursor {
  #log: OpenLog | null = null;
  #position: StreamPosition;
  /** Numbers of the files after the present one, rising. */
  #ahead: number[] = [];
  /** Where to stop for now; there is nothing of it in files beyond. */
  #end: StreamPosition = { number: 0, offset: 0 };
  /** The entry that covers the next byte; -1: none does. */
  #entry = -1;
  #run = '';
  #midLine = false;

  constructor(
    private readonly directory: string,
    private readonly stream: LogStream,
    from: StreamPosition,
  ) {
    this.#position = from;
  }

  /** Of the byte that comes next. */
  get position(): StreamPosition {
    return this.#position;
  }

  /** What it gave last was no whole line, nor the end of a run. */
  get midLine(): boolean {
    return this.#midLine;
  }

  /** The line it is in counts as ended: what follows has a time of its own. */
  breakLine(): void {
    this.#midLine = false;
  }

  /**
   * Takes in what there is to read.
   *
   * @param numbers the stream's files, listed before `end` was looked up
   * @param end where to stop; null: at the end the newest of them has now
   */
  async extend(numbers: readonly number[], end: StreamPosition | null): Promise<void> {
    this.#ahead = numbers.filter((number) => number > this.#position.number);
    if (this.#log === null && numbers.includes(this.#position.number)) this.#ahead.unshift(this.#position.number);
    // Once a later file is there, the present one does not grow any more.
    await this.#log?.refresh();
    this.#end = end ?? { number: numbers.at(-1) ?? 0, offset: Number.POSITIVE_INFINITY };
  }

  /** @returns the time of the next byte in microseconds; null: there is none for now */
  async peek(): Promise<number | null> {
    for (;;) {
      if (this.#log !== null && this.#position.offset < this.#limit(this.#log)) return this.#enter(this.#log);
      if (!(await this.#next())) return null;
    }
  }

  /** Gives the lines whose time is before `untilUs`, or also those of just then; the last one to its end, as far as it is there. */
  async *take(untilUs: number, inclusive: boolean): AsyncGenerator<Buffer> {
    for (;;) {
      const timeUs = await this.peek();
      if (timeUs === null) return;
      const isDue = timeUs < untilUs || (inclusive && timeUs === untilUs);
      if (!isDue && !this.#midLine) return;
      const log = this.#log!;
      const { number, offset } = this.#position;
      const end = Math.min(this.#limit(log), (await log.index.at(this.#entry + 1))?.offset ?? Number.POSITIVE_INFINITY);
      let bytes = await log.read(offset, end);
      if (!isDue) bytes = bytes.subarray(0, bytes.indexOf(NEWLINE) + 1 || bytes.length);
      // Nothing where there should be something: somebody has cut the file off.
      this.#position = { number, offset: bytes.length === 0 ? this.#limit(log) : offset + bytes.length };
      if (bytes.length === 0) continue;
      this.#midLine = bytes.at(-1) !== NEWLINE;
      yield bytes;
    }
  }

  async close(): Promise<void> {
    const log = this.#log;
    this.#log = null;
    this.#ahead = [];
    await log?.close();
  }

  #limit({ number, size }: OpenLog): number {
    return number === this.#end.number ? Math.min(size, this.#end.offset) : size;
  }

  /** Brings `#entry` to the position. @returns the time of the byte there */
  async #enter(log: OpenLog): Promise<number> {
    for (;;) {
      const next = await log.index.at(this.#entry + 1);
      if (next === undefined || next.offset > this.#position.offset) break;
      this.#entry += 1;
    }
    const entry = await log.index.at(this.#entry);
    if (entry === undefined) return log.mtimeUs;
    const run = `${entry.generation}.${entry.run}`;
    if (run !== this.#run) this.#midLine = false;
    this.#run = run;
    return entry.timeUs;
  }

  /** @returns false when there is no further file */
  async #next(): Promise<boolean> {
    while (this.#ahead.length > 0 && this.#ahead[0]! <= this.#end.number) {
      const log = await OpenLog.open(this.directory, this.stream, this.#ahead.shift()!);
      if (log === null) continue;
      await this.#log?.close();
      this.#log = log;
      const offset = log.number === this.#position.number ? Math.min(this.#position.offset, log.size) : 0;
      this.#position = { number: log.number, offset };
      this.#entry = await log.index.findOffset(offset);
      return true;
    }
    return false;
  }
}

/**
 * Finds the last lines of an instance's output: one or both of its streams are walked backwards, line by line, as far as
 * needed, and the later line is taken each time, by the times that logCursor.ts goes by.
 */
import type { StreamPosition } from '../../contract/logFrames';
import { OpenLog } from './openLog';
import type { StreamFiles } from './start';

const NEWLINE = 0x0a;

/** Part of a stream to find lines in. */
export interface StreamRange extends StreamFiles {
  begin: StreamPosition;
  end: StreamPosition;
}

/**
 * @param ranges stdout first: of two lines of the same time its is the earlier
 * @param lines how many; those of the whole answer count, so one that its run has not ended counts with what follows it
 * @returns where to begin in each
 */
export async function findTail(ranges: readonly StreamRange[], lines: number): Promise<StreamPosition[]> {
  const walks = ranges.map((range) => new BackwardWalk(range));
  try {
    let wanted = lines;
    let isLast = true;
    while (wanted > 0) {
      const latest = await latestOf(walks);
      if (latest === null) break;
      // The newline at the very end closes the last line; every other one is the end of the line before.
      if (latest.line.isClosed && !isLast) wanted -= 1;
      if (wanted > 0) latest.walk.pass(latest.line);
      isLast = false;
    }
    return walks.map(({ position }) => position);
  } finally {
    for (const walk of walks) await walk.close();
  }
}

async function latestOf(walks: readonly BackwardWalk[]): Promise<{ walk: BackwardWalk; line: Line } | null> {
  let latest: { walk: BackwardWalk; line: Line } | null = null;
  for (const walk of walks) {
    const line = await walk.peek();
    if (line !== null && (latest === null || line.timeUs >= latest.line.timeUs)) latest = { walk, line };
  }
  return latest;
}

interface Line {
  begin: StreamPosition;
  timeUs: number;
  /** It ends with a newline. */
  isClosed: boolean;
}

class BackwardWalk {
  #log: OpenLog | null = null;
  /** The entry that covers the byte before the position; -1: none does. */
  #entry = -1;
  #line: Line | null = null;
  #position: StreamPosition;
  /** Numbers of the files before the present one, rising. */
  readonly #behind: number[];

  constructor(private readonly range: StreamRange) {
    this.#position = range.end;
    this.#behind = range.numbers.filter((number) => number >= range.begin.number && number <= range.end.number);
  }

  get position(): StreamPosition {
    return this.#position;
  }

  /** @returns the line before the position, or what of it is in the same file; null at the beginning */
  async peek(): Promise<Line | null> {
    if (this.#line !== null) return this.#line;
    for (;;) {
      if (this.#log !== null && this.#position.offset > this.#least(this.#log)) {
        this.#line = await this.#find(this.#log);
        return this.#line;
      }
      if (!(await this.#previous())) return null;
    }
  }

  /** @param line as `peek` gave it */
  pass(line: Line): void {
    this.#position = line.begin;
    this.#line = null;
  }

  async close(): Promise<void> {
    await this.#log?.close();
  }

  #least({ number }: OpenLog): number {
    return number === this.range.begin.number ? this.range.begin.offset : 0;
  }

  async #find(log: OpenLog): Promise<Line> {
    const end = this.#position.offset;
    const least = this.#least(log);
    let begin = least;
    let isClosed = false;
    for (let at = end; at > least; ) {
      const bytes = await log.readBefore(at);
      if (bytes.length === 0) break; // cut off by somebody else
      if (at === end) isClosed = bytes.at(-1) === NEWLINE;
      const newline = at === end && isClosed ? bytes.subarray(0, -1).lastIndexOf(NEWLINE) : bytes.lastIndexOf(NEWLINE);
      at -= bytes.length;
      if (newline === -1) continue;
      begin = Math.max(least, at + newline + 1);
      break;
    }
    const { offset, timeUs } = await this.#findRun(log, begin);
    return { begin: { number: log.number, offset }, timeUs, isClosed };
  }

  /** Goes back through the entries to the one that covers `begin`, or to the first of a run that begins after it. */
  async #findRun(log: OpenLog, begin: number): Promise<{ offset: number; timeUs: number }> {
    let entry = await log.index.at(this.#entry);
    for (;;) {
      // Of entries without a byte between them the last one counts.
      while (entry !== undefined && entry.offset >= this.#position.offset) {
        this.#entry -= 1;
        entry = await log.index.at(this.#entry);
      }
      if (entry === undefined) return { offset: begin, timeUs: log.mtimeUs };
      if (entry.offset <= begin) return { offset: begin, timeUs: entry.timeUs };
      const before = await log.index.at(this.#entry - 1);
      if (before === undefined) return { offset: begin, timeUs: entry.timeUs };
      if (before.run !== entry.run || before.generation !== entry.generation) {
        return { offset: entry.offset, timeUs: entry.timeUs };
      }
      this.#entry -= 1;
      entry = before;
    }
  }

  async #previous(): Promise<boolean> {
    for (let number = this.#behind.pop(); number !== undefined; number = this.#behind.pop()) {
      const log = await OpenLog.open(this.range.directory, this.range.stream, number);
      if (log === null) continue;
      await this.#log?.close();
      this.#log = log;
      const offset = number === this.range.end.number ? Math.min(this.range.end.offset, log.size) : log.size;
      this.#position = { number, offset };
      this.#entry = await log.index.findOffset(offset - 1);
      return true;
    }
    return false;
  }
}

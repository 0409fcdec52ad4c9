/**
 * Reads an instance's output for the log route: one stream, or both merged by the times of their indexes; all of it, what
 * was written since a time, the last lines, what follows a position; and while following what comes.
 *
 * Merged, lines are in the order of their times, stdout first of two of the same time, and whole: what the other
 * stream wrote while a line was under way comes after that line. While following, this order holds among what is there at each
 * look. A line that is not ended is given out at once and the other stream held back for it, but not for long.
 */
import type { LogPosition, StreamPosition } from '../../contract/logFrames';
import { LogCursor } from './cursor';
import { LOG_STREAMS, LogDirectory, type LogNumbers, type LogStream } from './directory';
import { BLOCK_BYTES } from './openLog';
import { findEnd, findSince, type StreamFiles } from './start';
import { findTail } from './tail';

const POLL_MS = 100;
/** How long a line not ended holds back the other stream. */
const HOLD_MS = 250;
const BEGINNING: StreamPosition = { number: 0, offset: 0 };

export interface LogRequest {
  /** The instance's; it need not be there. */
  directory: string;
  stream: LogStream | 'all';
  /** Nothing written before, in ms since 1970; absent: all that is kept. */
  sinceMs?: number | undefined;
  /** The last lines only, of what `sinceMs` leaves. */
  tail?: number | undefined;
  /** Go on from there; then `sinceMs` and `tail` do not count. */
  from?: LogPosition | undefined;
  follow: boolean;
  /** False once nothing more can be written; asked before a last look. */
  mayGrow(): boolean;
  /** The reader has left. */
  signal: AbortSignal;
}

export interface LogBlock {
  /** At most 64 KiB. The first block is empty. */
  bytes: Buffer;
  /** After them; where to begin, with the first block. */
  position: LogPosition;
}

/** Bytes as written. Files that are removed before they are reached are left out. */
export async function* readLogs(request: LogRequest): AsyncGenerator<LogBlock> {
  const { follow, signal } = request;
  const directory = new LogDirectory(request.directory);
  const isLast = !follow || !request.mayGrow();
  const files = filesOf(request, await directory.numbers());
  const ends = await Promise.all(files.map(findEnd));
  const begins = await findBegins(request, files, ends);
  const cursors = files.map(({ stream }, i) => new LogCursor(request.directory, stream, begins[i]!));
  const position = (): LogPosition => {
    const at = Object.fromEntries(files.map(({ stream }, i) => [stream, cursors[i]!.position]));
    return { stdout: BEGINNING, stderr: BEGINNING, ...request.from, ...at };
  };
  try {
    yield { bytes: Buffer.alloc(0), position: position() };
    for (const [i, { numbers }] of files.entries()) await cursors[i]!.extend(numbers, ends[i]!);
    yield* gather(merge(cursors, isLast), position);
    if (isLast) return;
    for (let heldSinceMs: number | null = null; !signal.aborted; ) {
      await pause(signal);
      const isLastLook = !request.mayGrow();
      const numbers = await directory.numbers();
      for (const [i, { stream }] of files.entries()) await cursors[i]!.extend(numbers[stream], null);
      const holds = heldSinceMs === null || performance.now() - heldSinceMs < HOLD_MS;
      yield* gather(merge(cursors, isLastLook || !holds), position);
      if (isLastLook) return;
      heldSinceMs = (await isHeld(cursors)) ? (heldSinceMs ?? performance.now()) : null;
    }
  } finally {
    for (const cursor of cursors) await cursor.close();
  }
}

function filesOf({ directory, stream }: LogRequest, numbers: LogNumbers): StreamFiles[] {
  const wanted = LOG_STREAMS.filter((one) => stream === 'all' || one === stream);
  return wanted.map((one) => ({ directory, stream: one, numbers: numbers[one] }));
}

/** Leaves `tail` aside. */
async function findBegin(files: StreamFiles, { from, sinceMs }: LogRequest): Promise<StreamPosition> {
  if (from !== undefined) {
    const position = from[files.stream];
    // A number not reached yet is of files that have been removed with all the others: what is there is new.
    return position.number > (files.numbers.at(-1) ?? 0) ? BEGINNING : position;
  }
  return sinceMs === undefined ? BEGINNING : findSince(files, sinceMs * 1_000);
}

async function findBegins(
  request: LogRequest,
  files: readonly StreamFiles[],
  ends: readonly StreamPosition[],
): Promise<StreamPosition[]> {
  const begins = await Promise.all(files.map((one) => findBegin(one, request)));
  if (request.from !== undefined || request.tail === undefined) return begins;
  const ranges = files.map((one, i) => ({ ...one, begin: begins[i]!, end: ends[i]! }));
  return findTail(ranges, request.tail);
}

/** @param breakLines whether a line not ended at the end there is now may be followed by what the other stream has */
async function* merge(cursors: readonly LogCursor[], breakLines: boolean): AsyncGenerator<Buffer> {
  const [first, second] = cursors as [LogCursor, LogCursor | undefined];
  if (second === undefined) {
    yield* first.take(Number.POSITIVE_INFINITY, true);
    return;
  }
  for (;;) {
    const [firstUs, secondUs] = [await first.peek(), await second.peek()];
    if (firstUs === null && secondUs === null) return;
    const stuck = firstUs === null ? first : secondUs === null ? second : null;
    if (stuck?.midLine) {
      if (!breakLines) return;
      stuck.breakLine();
    }
    const isFirst =
      secondUs === null || (firstUs !== null && (first.midLine || (!second.midLine && firstUs <= secondUs)));
    if (isFirst) yield* first.take(secondUs ?? Number.POSITIVE_INFINITY, true);
    else yield* second.take(firstUs ?? Number.POSITIVE_INFINITY, false);
  }
}

async function isHeld(cursors: readonly LogCursor[]): Promise<boolean> {
  for (const cursor of cursors) if ((await cursor.peek()) !== null) return true;
  return false;
}

/** Makes blocks of many small pieces. */
async function* gather(pieces: AsyncIterable<Buffer>, position: () => LogPosition): AsyncGenerator<LogBlock> {
  let gathered: Buffer[] = [];
  let length = 0;
  let after = position();
  for await (const piece of pieces) {
    if (length > 0 && length + piece.length > BLOCK_BYTES) {
      yield { bytes: Buffer.concat(gathered), position: after };
      [gathered, length] = [[], 0];
    }
    gathered.push(piece);
    length += piece.length;
    after = position();
  }
  if (length > 0) yield { bytes: gathered.length === 1 ? gathered[0]! : Buffer.concat(gathered), position: after };
}

function pause(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, POLL_MS);
    signal.addEventListener('abort', done);
  });
}

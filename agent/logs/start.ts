/** Where in one stream's files the output since a time begins, by their times and indexes, and where it ends. */
import type { StreamPosition } from '../../contract/logFrames';
import { type LogStream, logPath, lstat, unlessGone } from './directory';
import { OpenLog } from './openLog';
import { ENTRY_SPAN_US } from './timeIndex';

const NEWLINE = 0x0a;
/** The file system's clock ticks with the timer interrupt: a file's time may lie so much before its last write. */
const FILE_CLOCK_US = 10_000;

/** One stream of an instance, as it was listed. */
export interface StreamFiles {
  directory: string;
  stream: LogStream;
  /** Rising. */
  numbers: readonly number[];
}

/** The end there is now. */
export async function findEnd({ directory, stream, numbers }: StreamFiles): Promise<StreamPosition> {
  const number = numbers.at(-1) ?? 0;
  const file = await unlessGone(lstat(logPath(directory, stream, number)));
  return { number, offset: file?.size ?? 0 };
}

/**
 * The first line that begins at `sinceUs` or, as the index is no finer, up to 100 ms before; it looks into no file that is
 * older than the one it finds. Files without an index are told by the time of their last change.
 */
export async function findSince(files: StreamFiles, sinceUs: number): Promise<StreamPosition> {
  let begin: StreamPosition | null = null;
  for (const number of files.numbers.toReversed()) {
    const log = await OpenLog.open(files.directory, files.stream, number);
    if (log === null) continue;
    try {
      const offset = await findOffset(log, sinceUs);
      if (offset > 0) return offset < log.size || begin === null ? { number, offset } : begin;
      begin = { number, offset: 0 };
    } finally {
      await log.close();
    }
  }
  return begin ?? { number: 0, offset: 0 };
}

/** @returns 0: all of it, and perhaps more before it; the size: nothing of it */
async function findOffset(log: OpenLog, sinceUs: number): Promise<number> {
  const { index } = log;
  const found = await index.findTime(sinceUs - ENTRY_SPAN_US);
  // The last entry covers later bytes than it should where the index could not be written or is damaged.
  const entry = found === index.count && log.mtimeUs + FILE_CLOCK_US >= sinceUs ? found - 1 : found;
  if (entry <= 0) return entry < index.count ? 0 : log.size;
  return entry === index.count ? log.size : findLineStart(log, entry);
}

/** The first line that begins in what the entry covers or after it. */
async function findLineStart(log: OpenLog, entry: number): Promise<number> {
  let before = await log.index.at(entry - 1);
  for (let i = entry; ; i += 1) {
    const here = await log.index.at(i);
    if (here === undefined) return log.size;
    if (here.offset === 0) return 0;
    if (here.run !== before?.run || here.generation !== before.generation) return here.offset;
    const end = (await log.index.at(i + 1))?.offset ?? log.size;
    // From the byte before on: a newline there is the end of the line before.
    for (let at = here.offset - 1; at < end - 1; ) {
      const bytes = await log.read(at, end - 1);
      if (bytes.length === 0) return log.size;
      const newline = bytes.indexOf(NEWLINE);
      if (newline !== -1) return at + newline + 1;
      at += bytes.length;
    }
    before = here;
  }
}

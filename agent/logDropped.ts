/** How much of an instance's output could not be written, as its indexes and the end of its last run tell. */
import { LOG_STREAMS, LogDirectory, type LogStream } from './logs/directory';
import { OpenLog } from './logs/openLog';
import type { StreamFiles } from './logs/start';
import { ENTRY_SPAN_US, type IndexEntry } from './logs/timeIndex';

/** Of a run whose main process has ended. */
export interface RunDrops {
  generation: number;
  run: number;
  endedAtMs: number;
  /** Of both streams, from the beginning of the run. */
  droppedBytes: number;
}

/**
 * @param directory the instance's
 * @param sinceMs in ms since 1970; absent: all that is kept
 * @param lastRun what it dropped at its very end is in no index
 */
export async function countDropped(
  { directory, stream, sinceMs }: { directory: string; stream: LogStream | 'all'; sinceMs?: number | undefined },
  lastRun: RunDrops | null,
): Promise<number> {
  const sinceUs = sinceMs === undefined ? 0 : sinceMs * 1_000 - ENTRY_SPAN_US;
  const numbers = await new LogDirectory(directory).numbers();
  const sum = async (streams: readonly LogStream[], fromUs: number, counts: (entry: IndexEntry) => boolean) => {
    const sums = streams.map((one) => sumDropped({ directory, stream: one, numbers: numbers[one] }, fromUs, counts));
    return (await Promise.all(sums)).reduce((total, bytes) => total + bytes, 0);
  };
  const indexed = await sum(stream === 'all' ? LOG_STREAMS : [stream], sinceUs, () => true);
  if (lastRun === null || lastRun.droppedBytes === 0 || lastRun.endedAtMs * 1_000 < sinceUs) return indexed;
  const isOfLastRun = ({ generation, run }: IndexEntry) => generation === lastRun.generation && run === lastRun.run;
  return indexed + Math.max(0, lastRun.droppedBytes - (await sum(LOG_STREAMS, 0, isOfLastRun)));
}

/** Looks into no file that is older than the first entry that counts. */
async function sumDropped(
  { directory, stream, numbers }: StreamFiles,
  sinceUs: number,
  counts: (entry: IndexEntry) => boolean,
): Promise<number> {
  let sum = 0;
  for (const number of numbers.toReversed()) {
    const log = await OpenLog.open(directory, stream, number);
    if (log === null) continue;
    try {
      const first = await log.index.findTime(sinceUs);
      for (let i = first; i < log.index.count; i += 1) {
        const entry = await log.index.at(i);
        if (entry !== undefined && counts(entry)) sum += entry.droppedBytes;
      }
      if (first > 0) break;
    } finally {
      await log.close();
    }
  }
  return sum;
}

/** How much of an instance's output could not be written, as its indexes and the ends of its runs tell. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { readOwnFile, writeDurably } from './files';
import { LOG_STREAMS, LogDirectory, type LogStream, lstat } from './logs/directory';
import { OpenLog } from './logs/openLog';
import type { StreamFiles } from './logs/start';
import { ENTRY_SPAN_US, type IndexEntry } from './logs/timeIndex';

export const runDropsSchema = z.object({
  generation: z.int(),
  run: z.int(),
  endedAtMs: z.number(),
  droppedBytes: z.number(),
});
/** Of a run whose main process has ended; `droppedBytes` is of both streams, from the beginning of the run. */
export type RunDrops = z.infer<typeof runDropsSchema>;

/** Beside the logs, since it outlives the records as they do. */
const fileIn = (directory: string): string => join(directory, 'dropped.json');
const NOTED_AT_MOST = 100;

/** What runs dropped at their ends is in no index: it is noted. @throws when the disk is still full */
export async function noteDropped(directory: string, runs: readonly RunDrops[]): Promise<void> {
  await mkdir(directory, { mode: 0o700 }).catch((error) => {
    if (error.code !== 'EEXIST') throw error;
  });
  // Beside logs that are elsewhere, by a link, nothing is noted.
  if ((await lstat(directory)).isSymbolicLink()) return;
  const noted = merge(await readNoted(directory), runs);
  await writeDurably(fileIn(directory), JSON.stringify(noted.slice(-NOTED_AT_MOST)));
}

/** Of a run that is in both, what was told later. */
function merge(earlier: readonly RunDrops[], later: readonly RunDrops[]): RunDrops[] {
  const isIn = ({ generation, run }: RunDrops) => later.some((one) => one.generation === generation && one.run === run);
  return [...earlier.filter((one) => !isIn(one)), ...later];
}

async function readNoted(directory: string): Promise<RunDrops[]> {
  const text = await readOwnFile(fileIn(directory)).catch(() => '[]');
  return z.array(runDropsSchema).catch([]).parse(parseJson(text));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * @param directory the instance's
 * @param sinceMs in ms since 1970; absent: all that is kept
 * @param latest what is not noted yet
 */
export async function countDropped(
  { directory, stream, sinceMs }: { directory: string; stream: LogStream | 'all'; sinceMs?: number | undefined },
  latest: readonly RunDrops[],
): Promise<number> {
  const sinceUs = sinceMs === undefined ? 0 : sinceMs * 1_000 - ENTRY_SPAN_US;
  const numbers = await new LogDirectory(directory).numbers();
  const sum = async (streams: readonly LogStream[], fromUs: number, counts: (entry: IndexEntry) => boolean) => {
    const sums = streams.map((one) => sumDropped({ directory, stream: one, numbers: numbers[one] }, fromUs, counts));
    return (await Promise.all(sums)).reduce((total, bytes) => total + bytes, 0);
  };
  const indexed = await sum(stream === 'all' ? LOG_STREAMS : [stream], sinceUs, () => true);
  let total = indexed;
  for (const one of merge(await readNoted(directory), latest)) {
    if (one.endedAtMs * 1_000 < sinceUs) continue;
    const isOfIt = ({ generation, run }: IndexEntry) => generation === one.generation && run === one.run;
    total += Math.max(0, one.droppedBytes - (await sum(LOG_STREAMS, 0, isOfIt)));
  }
  return total;
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

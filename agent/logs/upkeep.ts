/** Keeps the output on a node within its bounds: the cap of all of it together, and an end for what nobody knows any more. */
import type { Logger } from 'pino';
import type { LogFiles, StoredLog } from './files';

const CAP_EVERY_MS = 60_000;
const REMOVE_FORGOTTEN_EVERY_MS = 3_600_000;

export interface UpkeepMeans {
  logFiles: LogFiles;
  /** Keys (`logOwnerKey`) of the instances the agent has records of. */
  known(): ReadonlySet<string>;
  /** 0: no cap. */
  maxLogBytes: number;
  log: Logger;
}

/** Begins at once; returns what ends it. A failure is logged, and the next pass tries again. */
export function startLogUpkeep({ logFiles, known, maxLogBytes, log }: UpkeepMeans): () => void {
  const removeForgotten = repeat(REMOVE_FORGOTTEN_EVERY_MS, async () => {
    await logFiles.removeForgotten(known(), Date.now());
  });
  const holdCap = repeat(CAP_EVERY_MS, async () => {
    if (maxLogBytes === 0) return;
    const { removed, bytes } = await enforceCap(logFiles, known(), maxLogBytes);
    if (removed > 0)
      log.info({ removed, bytes, maxLogBytes }, 'removed the oldest output to stay below --max-log-bytes');
    if (bytes > maxLogBytes) log.warn({ bytes, maxLogBytes }, 'more output than --max-log-bytes, and none that may go');
  });
  return () => {
    removeForgotten();
    holdCap();
  };

  function repeat(everyMs: number, act: () => Promise<void>): () => void {
    let acting = false;
    const once = () => {
      if (acting) return;
      acting = true;
      act()
        .catch((error) => log.error({ err: error }, 'cannot remove old output'))
        .finally(() => {
          acting = false;
        });
    };
    once();
    const timer = setInterval(once, everyMs);
    return () => clearInterval(timer);
  }
}

/** @returns how many logs were removed, and the bytes of those that are left */
export async function enforceCap(
  logFiles: LogFiles,
  known: ReadonlySet<string>,
  maxLogBytes: number,
): Promise<{ removed: number; bytes: number }> {
  const stored: StoredLog[] = [];
  for await (const one of logFiles.all()) stored.push(one);
  const excess = chooseExcess(stored, known, maxLogBytes);
  for (const one of excess) await logFiles.remove(one);
  return { removed: excess.length, bytes: bytesOf(stored) - bytesOf(excess) };
}

/**
 * What has to go for all output to be within the cap: first the oldest that are not the newest of their stream, then the
 * oldest of instances that are not known. The newest of known instances stay, whatever their size: they are being written.
 */
export function chooseExcess(
  stored: readonly StoredLog[],
  known: ReadonlySet<string>,
  maxLogBytes: number,
): StoredLog[] {
  let bytes = bytesOf(stored);
  if (bytes <= maxLogBytes) return [];
  const older = stored.filter(({ isNewest }) => !isNewest).sort(byAge);
  const forgotten = stored.filter(({ isNewest, owner }) => isNewest && !known.has(owner)).sort(byAge);
  const excess: StoredLog[] = [];
  for (const one of [...older, ...forgotten]) {
    if (bytes <= maxLogBytes) break;
    excess.push(one);
    bytes -= one.bytes;
  }
  return excess;
}

function byAge(a: StoredLog, b: StoredLog): number {
  return a.changedAtMs - b.changedAtMs || a.number - b.number;
}

function bytesOf(stored: readonly StoredLog[]): number {
  return stored.reduce((sum, { bytes }) => sum + bytes, 0);
}

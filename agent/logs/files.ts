/**
 * Where output lies: `<dataDir>/logs/<uid>.<slot>/`, apart from the records, so that it outlives them. What is in there is
 * written by shims (docs/shim.md, "Log files") and goes on over runs and generations, so that the limit holds for the instance.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type LogLimits, logLimitsWithDefaults, type ProcessSpec } from '../../contract/workload';
import { storing } from '../files';
import type { PathWork } from '../pathWork';
import type { LogPlan } from '../processHost';
import { indexPath, LOG_STREAMS, type LogStream, logNumbersOf, logPath, lstat, namesIn, unlessGone } from './directory';

const UNKNOWN_KEPT_MS = 7 * 24 * 3_600_000;

export interface LogOwner {
  uid: string;
  slot: string;
}

/** A log and its index. */
export interface StoredLog {
  /** `logOwnerKey`. */
  owner: string;
  stream: LogStream;
  number: number;
  isNewest: boolean;
  bytes: number;
  changedAtMs: number;
}

export function logOwnerKey({ uid, slot }: LogOwner): string {
  return `${uid}.${slot}`;
}

export class LogFiles {
  readonly #root: string;

  constructor(
    dataDir: string,
    private readonly paths: PathWork,
  ) {
    this.#root = join(dataDir, 'logs');
  }

  /**
   * Makes room for a run about to start, and tells where its output goes: into a directory that its shim makes when there is
   * any. Files beyond the limits are removed, except the newest of each stream. Not to be called while a run of the instance lives.
   *
   * @throws MorchError STORE_UNWRITABLE
   */
  async provide(owner: LogOwner & { logs?: ProcessSpec['logs'] }): Promise<LogPlan> {
    const directory = this.directoryOf(owner);
    const limits = logLimitsWithDefaults(owner.logs);
    return storing(`make room for the output of ${logOwnerKey(owner)}`, this.#root, async () => {
      const [found] = await Promise.all([this.paths.lookAt(directory), this.paths.makeDirectory(this.#root)]);
      const stored = found === null ? [] : await this.#stored(logOwnerKey(owner));
      const newest = (stream: LogStream) => stored.filter((log) => log.stream === stream).at(-1)?.number ?? 1;
      for (const stream of LOG_STREAMS) {
        const surplus = chooseSurplus(
          stored.filter((log) => log.stream === stream),
          limits,
        );
        for (const log of surplus) await this.remove(log);
      }
      return { directory, firstStdout: newest('stdout'), firstStderr: newest('stderr'), ...limits };
    });
  }

  async exists(owner: LogOwner): Promise<boolean> {
    return (await unlessGone(lstat(this.directoryOf(owner))))?.isDirectory() ?? false;
  }

  /** All there are, by owner and stream, oldest first. */
  async *all(): AsyncGenerator<StoredLog> {
    for (const owner of await this.#owners()) yield* await this.#stored(owner);
  }

  async remove({ owner, stream, number }: StoredLog): Promise<void> {
    const directory = join(this.#root, owner);
    // The log first: an index left alone is found and removed again, a log left alone would have lost its times.
    await rm(logPath(directory, stream, number), { force: true });
    await rm(indexPath(directory, stream, number), { force: true });
  }

  /**
   * Removes the output of instances that has not been written for 7 days.
   *
   * @param known keys (`logOwnerKey`) of the instances the agent still has records of, which are passed over
   */
  async removeForgotten(known: ReadonlySet<string>, nowMs: number): Promise<void> {
    for (const name of await this.#owners()) {
      if (known.has(name)) continue;
      const directory = join(this.#root, name);
      let newestMs = 0;
      for (const file of ['', ...(await namesIn(directory))]) {
        const found = await unlessGone(lstat(join(directory, file)));
        newestMs = Math.max(newestMs, found?.mtimeMs ?? 0);
      }
      if (newestMs < nowMs - UNKNOWN_KEPT_MS) await rm(directory, { recursive: true, force: true });
    }
  }

  /** Of an instance that has written nothing there is nothing to keep. */
  async removeEmpty(owner: LogOwner): Promise<void> {
    await this.paths.removeDirectory(this.directoryOf(owner)).catch(() => {}); // there is a next time
  }

  directoryOf(owner: LogOwner): string {
    return join(this.#root, logOwnerKey(owner));
  }

  /** Whatever else somebody has put there is left alone. */
  async #owners(): Promise<string[]> {
    const entries = (await unlessGone(readdir(this.#root, { withFileTypes: true }))) ?? [];
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  }

  async #stored(owner: string): Promise<StoredLog[]> {
    const directory = join(this.#root, owner);
    const numbers = logNumbersOf(await namesIn(directory));
    const stored = LOG_STREAMS.flatMap((stream) =>
      numbers[stream].map(async (number): Promise<StoredLog | null> => {
        const log = await unlessGone(lstat(logPath(directory, stream, number)));
        const index = await unlessGone(lstat(indexPath(directory, stream, number)));
        if (log === null && index === null) return null;
        const bytes = (log?.size ?? 0) + (index?.size ?? 0);
        const isNewest = number === numbers[stream].at(-1);
        return { owner, stream, number, isNewest, bytes, changedAtMs: (log ?? index!).mtimeMs };
      }),
    );
    return (await Promise.all(stored)).filter((log) => log !== null);
  }
}

/**
 * What has to go for a stream to be within its limits: the oldest files, as many as are beyond the number, and as many
 * as were allowed to be larger before. Never the newest.
 *
 * @param stored of one stream, oldest first
 */
export function chooseSurplus(stored: readonly StoredLog[], { files, maxBytes }: LogLimits): StoredLog[] {
  let bytes = stored.reduce((sum, log) => sum + log.bytes, 0);
  let surplus = 0;
  while (surplus < stored.length - 1 && (stored.length - surplus > files || bytes > files * maxBytes)) {
    bytes -= stored[surplus]!.bytes;
    surplus += 1;
  }
  return stored.slice(0, surplus);
}

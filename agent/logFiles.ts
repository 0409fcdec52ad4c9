/**
 * Where output lies: `<dataDir>/logs/<uid>.<slot>/<generation>.<run>.stdout|stderr`, apart from the records, so that
 * it outlives them. The newest 10 runs of an instance are kept; what belongs to no known instance and has not been
 * written for 7 days goes (looked for at the agent's start and every hour).
 */
import { mkdir, readdir, rm, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { storing } from './files';

const RUNS_KEPT = 10;
const UNKNOWN_KEPT_MS = 7 * 24 * 3_600_000;

export type LogStream = 'stdout' | 'stderr';

export interface LogOwner {
  uid: string;
  slot: string;
}

export interface LogFile {
  path: string;
  generation: number;
  run: number;
  stream: LogStream;
}

export function logOwnerKey({ uid, slot }: LogOwner): string {
  return `${uid}.${slot}`;
}

export class LogFiles {
  readonly #root: string;

  constructor(dataDir: string) {
    this.#root = join(dataDir, 'logs');
  }

  /**
   * Makes room for a run about to start, and tells where its output goes.
   *
   * @throws MorchError STORE_UNWRITABLE
   */
  async provide(owner: LogOwner, generation: number, run: number): Promise<{ stdoutPath: string; stderrPath: string }> {
    const directory = this.directoryOf(owner);
    await storing(`make room for the output of ${logOwnerKey(owner)}`, this.#root, async () => {
      const made = await mkdir(directory, { recursive: true, mode: 0o750 });
      if (made === undefined) await this.#prune(owner);
    });
    const path = join(directory, `${generation}.${run}`);
    return { stdoutPath: `${path}.stdout`, stderrPath: `${path}.stderr` };
  }

  /** Oldest run first, stdout before stderr; empty when there is nothing. */
  async list(owner: LogOwner): Promise<LogFile[]> {
    const directory = this.directoryOf(owner);
    const files: LogFile[] = [];
    for (const name of await namesIn(directory)) {
      const match = /^(\d+)\.(\d+)\.(stdout|stderr)$/.exec(name);
      if (match === null) continue;
      const stream = match[3] as LogStream;
      files.push({ path: join(directory, name), generation: Number(match[1]), run: Number(match[2]), stream });
    }
    return files.sort((a, b) => a.generation - b.generation || a.run - b.run || (a.stream < b.stream ? 1 : -1));
  }

  async exists(owner: LogOwner): Promise<boolean> {
    return stat(this.directoryOf(owner)).then(
      () => true,
      () => false,
    );
  }

  /** @param known keys (`logOwnerKey`) of the instances the agent still has records of */
  async removeForgotten(known: ReadonlySet<string>, nowMs: number): Promise<void> {
    for (const name of await namesIn(this.#root)) {
      if (known.has(name)) continue;
      const directory = join(this.#root, name);
      let newestMs = 0;
      for (const file of ['', ...(await namesIn(directory))]) {
        const found = await stat(join(directory, file)).catch(() => null);
        newestMs = Math.max(newestMs, found?.mtimeMs ?? 0);
      }
      if (newestMs < nowMs - UNKNOWN_KEPT_MS) await rm(directory, { recursive: true, force: true });
    }
  }

  directoryOf(owner: LogOwner): string {
    return join(this.#root, logOwnerKey(owner));
  }

  /** Leaves room for one run more. */
  async #prune(owner: LogOwner): Promise<void> {
    const files = await this.list(owner);
    const runs = [...new Set(files.map(({ generation, run }) => `${generation}.${run}`))];
    const excess = new Set(runs.slice(0, Math.max(0, runs.length - (RUNS_KEPT - 1))));
    for (const { path, generation, run } of files) {
      if (excess.has(`${generation}.${run}`)) await unlink(path);
    }
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

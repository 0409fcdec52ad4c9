/**
 * `<dataDir>/workloads.json`: what the scheduler has told last of the workloads of which something runs here (labels,
 * replicas, …), where that is later than what their starts said. It is told back to a scheduler that has lost its records.
 */
import { join } from 'node:path';
import type { Logger } from 'pino';
import { z } from 'zod';
import { type WorkloadOrigin, workloadOriginSchema } from '../contract/workload';
import { readOwnFile, storing, writeDurably } from './files';

const storedSchema = z.record(z.string(), workloadOriginSchema);

export class Origins {
  #told: ReadonlyMap<string, WorkloadOrigin>;
  #saving: Promise<void> = Promise.resolve();

  private constructor(
    private readonly path: string,
    told: ReadonlyMap<string, WorkloadOrigin>,
    /** Of these something runs here; of others nothing is kept. */
    private readonly uids: () => ReadonlySet<string>,
  ) {
    this.#told = told;
  }

  /** A file that cannot be understood is passed over: what the starts said is there all the same. */
  static async open(dataDir: string, uids: () => ReadonlySet<string>, log: Logger): Promise<Origins> {
    const path = join(dataDir, 'workloads.json');
    try {
      const stored = storedSchema.parse(JSON.parse(await readOwnFile(path)));
      return new Origins(path, new Map(Object.entries(stored)), uids);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        log.warn({ err: error, path }, 'what was told of workloads later than their starts is not readable');
      return new Origins(path, new Map(), uids);
    }
  }

  /** @throws MorchError STORE_UNWRITABLE; it counts until the agent ends all the same */
  async note(workloads: readonly { uid: string; workload: WorkloadOrigin }[]): Promise<void> {
    const uids = this.uids();
    const told = new Map([...this.#told].filter(([uid]) => uids.has(uid)));
    let isNew = false;
    for (const { uid, workload } of workloads) {
      if (!uids.has(uid) || workload.version <= (told.get(uid)?.version ?? 0)) continue;
      told.set(uid, workload);
      isNew = true;
    }
    if (!isNew) return;
    this.#told = told;
    const write = (): Promise<void> =>
      storing('record what was told of workloads', this.path, () =>
        writeDurably(this.path, JSON.stringify(Object.fromEntries(this.#told))),
      );
    this.#saving = this.#saving.then(write, write);
    await this.#saving;
  }

  /** Of both, the later, as long as it is of the program that was started. */
  latest(uid: string, started: WorkloadOrigin | undefined): WorkloadOrigin | undefined {
    const told = this.#told.get(uid);
    const isLater = told !== undefined && told.revision === started?.revision && told.version > started.version;
    return isLater ? told : started;
  }
}

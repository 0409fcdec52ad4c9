/**
 * The state directory: one directory per instance generation, `<dataDir>/instances/<uid>.<slot>.<generation>/`.
 *
 *   intent.json    what is to run and which run it is; durable before the clone
 *   run.<n>.open   what came of it: written by its shim (docs/shim.md), `run.<n>.ended` once its main process has ended
 *   stop.json      that the run was told to stop, and why
 *   end.json       how the last run ended, or the generation; also the tombstone of a stop that came before the start
 *
 * and, apart from it, `<dataDir>/work/<uid>.<slot>.<generation>/`: the workload's, where a `command` runs; the home of a
 * user of its own. Nobody but the agent's user gets into the former; through the latter's parent others may go.
 *
 * Of intent and end, the one with the higher run is the later; of the same run, the end.
 */
import { chmod, lchown, lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { z } from 'zod';
import { AGENT_INSTANCE_STATUSES, startErrorSchema, startedSchema } from '../contract/agentApi';
import { slotSchema, uidSchema } from '../contract/fields';
import {
  exitSchema,
  kindSchema,
  processFields,
  restartSchema,
  stopSchema,
  workloadOriginSchema,
} from '../contract/workload';
import { readOwnFile, replaceFile, storing, syncDirectory, writeDurably } from './files';
import { runDropsSchema } from './logDropped';
import { removeTree } from './removeTree';
import { STOP_CAUSES } from './runEnd';

const idFields = { uid: uidSchema, slot: slotSchema, instanceId: z.string(), generation: z.int() };

/** A start command with every default filled in. */
export const resolvedStartSchema = z.object({
  ...idFields,
  kind: kindSchema,
  ...processFields,
  restart: restartSchema,
  stop: stopSchema,
  attemptsUsed: z.int(),
  node: z.string(),
  /** Whose instance it is; null when it was started without a scheduler. */
  clusterId: z.string().nullable(),
  workload: workloadOriginSchema.optional(),
});
export type ResolvedStart = z.infer<typeof resolvedStartSchema>;

const intentSchema = z.object({
  spec: resolvedStartSchema,
  run: z.int(),
  attempts: z.int(),
  nonce: z.string(),
  bootId: z.string(),
  /** The answer that the start command got; null until its run runs. */
  started: startedSchema.nullable(),
  /** Of the lease under which its generation was started; 0: none. */
  leaseTerm: z.int().default(0),
});
export type Intent = z.infer<typeof intentSchema>;

const stopRecordSchema = z.object({
  run: z.int(),
  /** Null: it ran too long, see `overranMs`; what follows is the policy's. */
  cause: z.enum(STOP_CAUSES).nullable(),
  overranMs: z.number().nullable(),
});
export type StopRecord = z.infer<typeof stopRecordSchema>;

const endSchema = z.object({
  ...idFields,
  clusterId: z.string().nullable(),
  run: z.int(),
  status: z.enum(AGENT_INSTANCE_STATUSES),
  statusReason: z.string().nullable(),
  pid: z.int().nullable(),
  shimPid: z.int().nullable(),
  startedAt: z.string().nullable(),
  exit: exitSchema.nullable(),
  /** How long the run lasted. */
  ranMs: z.number(),
  /** What runs dropped that could not be noted beside the logs yet. */
  drops: z.array(runDropsSchema).default([]),
  overranMs: z.number().nullable(),
  /** When the next run is due, in backoff. */
  nextRunAt: z.string().nullable(),
  attempts: z.int(),
  lost: z.boolean(),
  startError: startErrorSchema.nullable(),
  started: startedSchema.nullable(),
});
export type EndRecord = z.infer<typeof endSchema>;

export interface GenerationId {
  uid: string;
  slot: string;
  generation: number;
}

/** At least one of `intent` and `end` is there. */
export interface StoredGeneration {
  intent: Intent | null;
  stop: StopRecord | null;
  end: EndRecord | null;
}

export function keyOf({ uid, slot, generation }: GenerationId): string {
  return `${uid}.${slot}.${generation}`;
}

export class Records {
  readonly #root: string;

  readonly #work: string;

  private constructor(
    dataDir: string,
    private readonly log: Logger,
  ) {
    this.#root = join(dataDir, 'instances');
    this.#work = join(dataDir, 'work');
  }

  static async open(dataDir: string, log: Logger): Promise<Records> {
    const records = new Records(dataDir, log);
    await mkdir(records.#root, { recursive: true, mode: 0o700 });
    await mkdir(records.#work, { recursive: true });
    await chmod(records.#work, 0o711);
    return records;
  }

  directoryOf(id: GenerationId): string {
    return join(this.#root, keyOf(id));
  }

  workDirectoryOf(id: GenerationId): string {
    return join(this.#work, keyOf(id));
  }

  /** @param user whose it is to be; null: the agent's own */
  async provideWorkDirectory(id: GenerationId, user: { uid: number; gid: number } | null): Promise<void> {
    const directory = this.workDirectoryOf(id);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    if (user !== null) await lchown(directory, user.uid, user.gid);
  }

  /** By `logOwnerKey`: whose the work directories are, by their inodes. */
  async ownersOfWork(): Promise<Map<string, number>> {
    const owners = new Map<string, number>();
    for (const name of await readdir(this.#work)) {
      const { uid } = await lstat(join(this.#work, name));
      owners.set(name.slice(0, name.lastIndexOf('.')), uid);
    }
    return owners;
  }

  /** @throws MorchError STORE_UNWRITABLE; then nothing may be started on it */
  async saveIntent(intent: Intent): Promise<void> {
    await storing(`record the start of ${intent.spec.instanceId}`, this.#root, () =>
      this.#inDirectory(intent.spec, async (directory) => {
        await writeDurably(join(directory, 'intent.json'), JSON.stringify(intent));
        if (intent.run > 1) await this.#removeRun(directory, intent.run - 1);
      }),
    );
  }

  /** Needs no fsync: it tells what an exit came of, and no process outlives the machine. */
  async saveStop(id: GenerationId, stop: StopRecord): Promise<void> {
    await replaceFile(join(this.directoryOf(id), 'stop.json'), JSON.stringify(stop));
  }

  /** @throws MorchError STORE_UNWRITABLE */
  async saveEnd(end: EndRecord): Promise<void> {
    await storing(`record the end of ${end.instanceId}`, this.#root, () =>
      this.#inDirectory(end, (directory) => writeDurably(join(directory, 'end.json'), JSON.stringify(end))),
    );
  }

  /** The work directory first: without a record nobody would know of it. */
  async remove(id: GenerationId): Promise<void> {
    await removeTree(this.workDirectoryOf(id));
    await rm(this.directoryOf(id), { recursive: true, force: true });
  }

  /** Everything stored. What cannot be read is said and left where it is. */
  async load(): Promise<StoredGeneration[]> {
    const found: StoredGeneration[] = [];
    for (const name of await readdir(this.#root)) {
      const directory = join(this.#root, name);
      const intent = await this.#read(join(directory, 'intent.json'), intentSchema);
      const stop = await this.#read(join(directory, 'stop.json'), stopRecordSchema);
      const end = await this.#read(join(directory, 'end.json'), endSchema);
      if (intent !== null || end !== null) found.push({ intent, stop, end });
      else await removeIfBegun(directory);
    }
    return found;
  }

  async #removeRun(directory: string, run: number): Promise<void> {
    await Promise.all(['ended', 'open'].map((state) => rm(join(directory, `run.${run}.${state}`), { force: true })));
  }

  /** The directory of a generation, its name as durable as what `write` puts into it. */
  async #inDirectory(id: GenerationId, write: (directory: string) => Promise<void>): Promise<void> {
    const directory = this.directoryOf(id);
    const made = await mkdir(directory, { recursive: true, mode: 0o700 });
    await Promise.all([made === undefined ? null : syncDirectory(this.#root), write(directory)]);
  }

  async #read<T>(path: string, schema: z.ZodType<T>): Promise<T | null> {
    try {
      return schema.parse(JSON.parse(await readOwnFile(path)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        this.log.error({ err: error, path }, 'a record cannot be read; it is left out');
      }
      return null;
    }
  }
}

/** An agent was killed before the intent of a first run was there, or while it removed the records. */
async function removeIfBegun(directory: string): Promise<void> {
  const names = await readdir(directory);
  const isUnreadable = names.some((name) => name === 'intent.json' || name === 'end.json');
  if (!isUnreadable) await rm(directory, { recursive: true, force: true });
}

/**
 * What is on record of each instance generation, in the journal of `<dataDir>/instances` (journal.ts); each line has a key and
 * one of
 *
 *   intent   what is to run and which run it is; durable before the clone
 *   stop     that the run was told to stop, and why
 *   end      how the last run ended, or the generation; also the tombstone of a stop that came before the start
 *   gone     nothing of it counts any more
 *
 * Beside it, `<uid>.<slot>.<generation>/run.<n>.open`: what came of the intent, written by its shim (docs/shim.md),
 * `run.<n>.ended` once it has recorded the end of the main process. And, apart from it, `<dataDir>/work/<uid>.<slot>.<generation>/`:
 * the workload's, where a `command` runs; the home of a user of its own. Nobody but the agent's user gets into the former;
 * through the latter's parent others may go.
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
import { storing } from './files';
import { Journal } from './journal';
import { runDropsSchema } from './logDropped';
import type { PathWork } from './pathWork';
import { removeTree } from './removeTree';
import { STOP_CAUSES } from './runEnd';
import { SharedSpecs } from './sharedSpecs';
import { SpareDirectories } from './spareDirectories';

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

/** As read; each of them is looked at by its schema only once all have been. */
interface StoredLine extends Partial<Record<keyof StoredGeneration, unknown>> {
  key: string;
  gone?: true;
}

export class Records {
  readonly #root: string;
  readonly #work: string;
  readonly #journal: Journal;
  /** By `keyOf`: what counts. */
  readonly #stored = new Map<string, StoredGeneration>();

  private constructor(
    dataDir: string,
    private readonly paths: PathWork,
    private readonly spare: SpareDirectories,
    private readonly log: Logger,
  ) {
    this.#root = join(dataDir, 'instances');
    this.#work = join(dataDir, 'work');
    this.#journal = new Journal(this.#root, () => this.#lines());
  }

  static async open(dataDir: string, paths: PathWork, log: Logger): Promise<Records> {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    const spare = await SpareDirectories.open(join(dataDir, 'spare'), paths);
    const records = new Records(dataDir, paths, spare, log);
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
    await this.spare.make(directory);
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
    const directory = this.directoryOf(intent.spec);
    await storing(`record the start of ${intent.spec.instanceId}`, this.#root, async () => {
      await Promise.all([this.#save(intent.spec, { intent }), this.spare.make(directory)]);
    });
    // What is left goes with the directory.
    if (intent.run > 1) this.#removeRun(directory, intent.run - 1).catch(() => {});
  }

  /** Not on the disk when it resolves: it tells what an exit came of, and no process outlives the machine. */
  async saveStop(id: GenerationId, stop: StopRecord): Promise<void> {
    await this.#save(id, { stop }, false);
  }

  /** @throws MorchError STORE_UNWRITABLE */
  async saveEnd(end: EndRecord): Promise<void> {
    await storing(`record the end of ${end.instanceId}`, this.#root, () => this.#save(end, { end }));
  }

  /** The work directory first: without a record nobody would know of it. */
  async remove(id: GenerationId): Promise<void> {
    const key = keyOf(id);
    const directory = this.directoryOf(id);
    const run = this.#stored.get(key)?.intent?.run ?? 0;
    const [isWorkGone, isGone] = await Promise.all([
      this.spare.remove(this.workDirectoryOf(id)),
      (run > 0 ? this.#removeRun(directory, run) : Promise.resolve()).then(() => this.spare.remove(directory)),
    ]);
    if (!isWorkGone) await removeTree(this.workDirectoryOf(id));
    if (!isGone) await rm(directory, { recursive: true, force: true });
    if (!this.#stored.has(key)) return;
    const text = JSON.stringify({ key, gone: true } satisfies StoredLine);
    await this.#journal.add({ text, isDurable: false, apply: () => {} }).finally(() => this.#stored.delete(key));
  }

  /** Everything stored. What cannot be read is said and left out. Called once, before anything is saved. */
  async load(): Promise<StoredGeneration[]> {
    const found = new Map<string, StoredLine>();
    const onDamage = (path: string, err: Error) =>
      this.log.error({ err, path }, 'records that cannot be read are left out');
    for await (const text of this.#journal.load(onDamage)) {
      const line: StoredLine = JSON.parse(text);
      if (line.gone) found.delete(line.key);
      else found.set(line.key, { ...found.get(line.key), ...line });
    }
    const specs = new SharedSpecs();
    for (const [key, line] of found) {
      const intent = this.#check(key, intentSchema, line.intent);
      if (intent !== null) intent.spec = specs.share(intent.spec);
      const stop = this.#check(key, stopRecordSchema, line.stop);
      const end = this.#check(key, endSchema, line.end);
      if (intent !== null || end !== null) this.#stored.set(key, { intent, stop, end });
    }
    await this.#removeUnknown();
    await this.#journal.rewrite().catch((error) => this.log.error({ err: error }, 'the records cannot be written'));
    return [...this.#stored.values()];
  }

  async #save(id: GenerationId, change: Partial<StoredGeneration>, isDurable = true): Promise<void> {
    const key = keyOf(id);
    const apply = () => {
      const { intent = null, stop = null, end = null } = this.#stored.get(key) ?? {};
      this.#stored.set(key, {
        intent: change.intent ?? intent,
        stop: change.stop ?? stop,
        end: change.end ?? end,
      });
    };
    await this.#journal.add({ text: JSON.stringify({ key, ...change }), isDurable, apply });
  }

  *#lines(): Generator<string> {
    for (const [key, stored] of this.#stored) yield JSON.stringify({ key, ...stored });
  }

  async #removeRun(directory: string, run: number): Promise<void> {
    await Promise.all(['ended', 'open'].map((state) => this.paths.unlink(join(directory, `run.${run}.${state}`))));
  }

  /** An agent was killed before the intent of a first run was there, or while it removed the records. */
  async #removeUnknown(): Promise<void> {
    for (const entry of await readdir(this.#root, { withFileTypes: true })) {
      if (!entry.isDirectory() || this.#stored.has(entry.name)) continue;
      await rm(join(this.#root, entry.name), { recursive: true, force: true });
    }
  }

  #check<T>(key: string, schema: z.ZodType<T>, value: unknown): T | null {
    if (value === undefined || value === null) return null;
    const { data, error } = schema.safeParse(value);
    if (error !== undefined) this.log.error({ err: error, key }, 'a record cannot be read; it is left out');
    return data ?? null;
  }
}

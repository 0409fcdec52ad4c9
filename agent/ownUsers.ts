/**
 * Which uid each instance has of its own: `<dataDir>/uids.json`, durable before anything runs as it. An instance keeps it
 * over generations, until its last one is forgotten. Given out in turn, so that what a program has left elsewhere (in /tmp)
 * is not soon another's.
 *
 * Agents of one machine may have the same range: each uid is claimed by a symbolic link in a directory that all of them
 * have, which tells whose it is. That directory does not outlive the machine, nor does any process.
 */
import { mkdir, readlink, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { z } from 'zod';
import { MorchError } from '../contract/errors';
import { readOwnFile, storing, writeDurably } from './files';
import { type LogOwner, logOwnerKey } from './logs/files';

export interface UidRange {
  from: number;
  /** Inclusive. */
  to: number;
}

/** For all agents of a machine. */
export const CLAIMS_DIRECTORY = '/run/morch/uids';

const storedSchema = z.object({ next: z.int(), uids: z.record(z.string(), z.int()) });

interface Place {
  dataDir: string;
  claims: string;
  range: UidRange;
}

export class OwnUsers {
  /** By `logOwnerKey`. */
  readonly #uids: Map<string, number>;
  #next: number;
  /** One after the other: each takes what the one before has left. */
  #turn: Promise<unknown> = Promise.resolve();
  #changes = 0;
  #durableChanges = 0;
  #writing: Promise<void> | null = null;

  private constructor(
    private readonly place: Place,
    stored: z.output<typeof storedSchema>,
    private readonly log: Logger,
  ) {
    this.#uids = new Map(Object.entries(stored.uids));
    this.#next = stored.next;
  }

  /**
   * @param ownersOfWork uids by `logOwnerKey` as the work directories have them, for a file that cannot be read
   * @throws MorchError INVALID_INPUT when the claims cannot be kept
   */
  static async open(
    place: Place,
    ownersOfWork: () => Promise<ReadonlyMap<string, number>>,
    log: Logger,
  ): Promise<OwnUsers> {
    try {
      await mkdir(place.claims, { recursive: true, mode: 0o755 });
    } catch (cause) {
      const detail = `Instances cannot have users of their own: ${(cause as Error).message}. Mend it, or run them as the agent does: --run-as agent.`;
      throw new MorchError('INVALID_INPUT', detail, { cause });
    }
    const users = new OwnUsers(place, await load(place, ownersOfWork, log), log);
    for (const [key, uid] of users.#uids) {
      if (await users.#claim(uid, key)) continue;
      log.warn({ instance: key, uid }, "the user of an instance is another agent's now; it gets another one");
      users.#uids.delete(key);
    }
    return users;
  }

  /**
   * Sees to it that the instance has a user.
   *
   * @throws MorchError STORE_UNWRITABLE; then nothing may run as it
   */
  async assign(owner: LogOwner): Promise<void> {
    await this.#inTurn(() => storing('claim a user', this.place.claims, () => this.#assignOne(logOwnerKey(owner))));
    await this.#save();
  }

  /** Null: it has none, as none was left. */
  of(owner: LogOwner): number | null {
    return this.#uids.get(logOwnerKey(owner)) ?? null;
  }

  /**
   * Nothing of these instances lives, and nothing of them is left in the data directory. Never rejects: what cannot be
   * recorded is released when the agent starts again.
   */
  async release(owners: readonly LogOwner[]): Promise<void> {
    await this.#release(owners.map(logOwnerKey));
  }

  /** @param known keys (`logOwnerKey`) of the instances the agent has records of */
  async releaseUnknown(known: ReadonlySet<string>): Promise<void> {
    await this.#release([...this.#uids.keys()].filter((key) => !known.has(key)));
  }

  /** The claims last: until it is recorded, nobody else is to have the uids. */
  async #release(keys: readonly string[]): Promise<void> {
    try {
      await this.#inTurn(async () => {
        const uids = keys.flatMap((key) => this.#uids.get(key) ?? []);
        if (uids.length === 0) return;
        for (const key of keys) this.#uids.delete(key);
        this.#changes += 1;
        await this.#save();
        await Promise.all(uids.map((uid) => rm(this.#claimPath(uid), { force: true })));
      });
    } catch (error) {
      this.log.warn({ err: error }, 'cannot record that users of instances are free again');
    }
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(act);
    this.#turn = done.catch(() => {});
    return done;
  }

  async #assignOne(key: string): Promise<void> {
    if (this.#uids.has(key)) return;
    const { from, to } = this.place.range;
    const taken = new Set(this.#uids.values());
    for (let tries = from; tries <= to; tries += 1) {
      const uid = this.#next >= from && this.#next <= to ? this.#next : from;
      this.#next = uid + 1;
      if (taken.has(uid) || !(await this.#claim(uid, key))) continue;
      this.#uids.set(key, uid);
      this.#changes += 1;
      return;
    }
  }

  /** @returns false when it is somebody else's */
  async #claim(uid: number, key: string): Promise<boolean> {
    const path = this.#claimPath(uid);
    const claim = `${pathIn(this.place.dataDir)}#${key}`;
    try {
      await symlink(claim, path);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      return (await readlink(path).catch(() => null)) === claim;
    }
  }

  #claimPath(uid: number): string {
    return join(this.place.claims, String(uid));
  }

  /** Resolves when all that has been changed so far is durable; many at once share a write. */
  async #save(): Promise<void> {
    const wanted = this.#changes;
    while (this.#durableChanges < wanted) {
      this.#writing ??= this.#write().finally(() => {
        this.#writing = null;
      });
      await this.#writing;
    }
  }

  async #write(): Promise<void> {
    const covered = this.#changes;
    const path = pathIn(this.place.dataDir);
    const text = JSON.stringify({ next: this.#next, uids: Object.fromEntries(this.#uids) });
    await storing('record the users of instances', path, () => writeDurably(path, text));
    this.#durableChanges = covered;
  }
}

function pathIn(dataDir: string): string {
  return join(dataDir, 'uids.json');
}

async function load(
  { dataDir, range }: Place,
  ownersOfWork: () => Promise<ReadonlyMap<string, number>>,
  log: Logger,
): Promise<z.output<typeof storedSchema>> {
  const path = pathIn(dataDir);
  try {
    return storedSchema.parse(JSON.parse(await readOwnFile(path)));
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (!isMissing)
      log.warn({ err: error, path }, 'the users of instances are not readable; told by their directories');
    const uids = Object.fromEntries(
      [...(await ownersOfWork())].filter(([, uid]) => uid >= range.from && uid <= range.to),
    );
    // Anywhere: what was given out before is not known, and is not to be given out again soon.
    return { next: range.from + Math.floor(Math.random() * (range.to - range.from + 1)), uids };
  }
}

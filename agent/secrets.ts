/**
 * Secret values on this node: one directory per instance generation on the machine's tmpfs, never on a disk,
 * `/dev/shm/morch-<hash of the data directory>/<uid>.<slot>.<generation>/`:
 *
 *   env.json   variables, for the agent only: a restart in place needs them, also when no scheduler is heard
 *   files/     what the workload is given as files; told to it as MORCH_SECRETS
 *
 * Everything is there before the first run and never written to again, because the files become the workload's own.
 *
 * Anybody may make names in /dev/shm, workloads too. So the agent has its directory from its start on, and looks before each
 * use whether it is still its own: what somebody else has put in its place is neither followed, changed nor removed.
 */
import { createHash } from 'node:crypto';
import { chmod, chown, lstat, mkdir, readdir, readFile, rm, rmdir, statfs, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { MorchError } from '../contract/errors';
import type { SecretReference, SecretValues } from '../contract/secrets';
import { storing } from './files';
import { type GenerationId, keyOf } from './records';

const SHARED_MEMORY = '/dev/shm';
/** linux/magic.h */
const TMPFS_MAGIC = 0x01021994;
/** Names can be looked up by whoever knows them; what may be read is said by the files. */
const PASSABLE = 0o711;

type Owned = GenerationId & { secrets?: readonly SecretReference[] | undefined };

export interface GivenSecrets {
  env: Record<string, string>;
  /** Of its files; null: there are none. */
  directory: string | null;
}

export class SecretFiles {
  private constructor(private readonly root: string) {}

  /** @returns null where secrets cannot be kept in memory; the log says why */
  static async open(dataDir: string, log: Logger): Promise<SecretFiles | null> {
    const name = createHash('sha256').update(dataDir).digest('hex').slice(0, 16);
    const root = join(SHARED_MEMORY, `morch-${name}`);
    try {
      if ((await statfs(SHARED_MEMORY)).type !== TMPFS_MAGIC) throw new Error(`${SHARED_MEMORY} is not a tmpfs`);
      await makePassable(root);
      return new SecretFiles(root);
    } catch (error) {
      log.warn({ path: root }, `this node takes no workloads with secrets: ${(error as Error).message}`);
      return null;
    }
  }

  /**
   * @param values in base64, checked by `checkValues`
   * @throws MorchError STORE_UNWRITABLE; then nothing is left of it
   */
  async save(generation: Owned, values: SecretValues): Promise<void> {
    const { secrets = [] } = generation;
    if (secrets.length === 0) return;
    const directory = this.#directoryOf(generation);
    const bytesOf = ({ name }: SecretReference) => Buffer.from(values[name]!, 'base64');
    try {
      await assertOwn(this.root).catch(unlessMissing).catch(refuseForeign);
      await storing('keep the secrets of an instance', SHARED_MEMORY, async () => {
        await rm(directory, { recursive: true, force: true });
        await makePassable(this.root);
        await makePassable(directory);
        const env = Object.fromEntries(
          secrets.flatMap((s) => (s.env === undefined ? [] : [[s.env, bytesOf(s).toString()]])),
        );
        await writeFile(join(directory, 'env.json'), JSON.stringify(env), { mode: 0o600, flag: 'wx' });
        await mkdir(join(directory, 'files'), { mode: 0o700 });
        for (const s of secrets) {
          if (s.file !== undefined)
            await writeFile(join(directory, 'files', s.file), bytesOf(s), { mode: 0o400, flag: 'wx' });
        }
      });
    } catch (error) {
      await this.remove(generation);
      throw error;
    }
  }

  /**
   * Before each run, so that the files are of whoever it runs as now.
   *
   * @param user null: the agent's own
   * @returns null when they are gone
   */
  async give(generation: Owned, user: { uid: number; gid: number } | null): Promise<GivenSecrets | null> {
    const { secrets = [] } = generation;
    if (secrets.length === 0) return { env: {}, directory: null };
    const directory = this.#directoryOf(generation);
    const files = join(directory, 'files');
    const names = secrets.flatMap(({ file }) => (file === undefined ? [] : [file]));
    try {
      await assertOwn(this.root);
      const env = JSON.parse(await readFile(join(directory, 'env.json'), 'utf8')) as Record<string, string>;
      // Its group may look into the directory, which stays the agent's: nobody else can change what it holds.
      if (user !== null) {
        await chown(files, process.geteuid!(), user.gid);
        await chmod(files, 0o750);
        for (const name of names) await chown(join(files, name), user.uid, user.gid);
      }
      for (const name of names) await lstat(join(files, name));
      return { env, directory: names.length === 0 ? null : files };
    } catch (error) {
      if (error instanceof ForeignDirectory || (error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  }

  async remove(generation: Owned): Promise<void> {
    if ((generation.secrets ?? []).length === 0 || !(await this.#isOwn())) return;
    await rm(this.#directoryOf(generation), { recursive: true, force: true });
  }

  /** At the start: what an earlier agent has left of generations that have ended. @param keys that have not */
  async removeUnknown(keys: readonly string[]): Promise<void> {
    const known = new Set(keys);
    for (const name of await readdir(this.root)) {
      if (!known.has(name)) await rm(join(this.root, name), { recursive: true, force: true });
    }
  }

  /** Leaves nothing behind of an agent whose instances have ended; not to be called while one lives, which could take the name. */
  async close(): Promise<void> {
    if (await this.#isOwn()) await rmdir(this.root).catch(() => {}); // it is not empty
  }

  #isOwn(): Promise<boolean> {
    return assertOwn(this.root).then(
      () => true,
      () => false,
    );
  }

  #directoryOf(generation: GenerationId): string {
    return join(this.root, keyOf(generation));
  }
}

/** What is there in place of the agent's directory; `message` says what, and whose. */
class ForeignDirectory extends Error {}

/**
 * One that is there is taken only if nobody else can have put anything in it.
 * @throws ForeignDirectory
 */
async function makePassable(path: string): Promise<void> {
  await mkdir(path, { mode: PASSABLE }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  await assertOwn(path);
  await chmod(path, PASSABLE);
}

async function assertOwn(path: string): Promise<void> {
  const found = await lstat(path);
  if (found.isDirectory() && found.uid === process.geteuid!() && (found.mode & 0o022) === 0) return;
  const kind = found.isDirectory() ? 'a directory' : found.isSymbolicLink() ? 'a symbolic link' : 'a file';
  const mode = (found.mode & 0o7777).toString(8);
  throw new ForeignDirectory(
    `${path} is not a directory of this agent's alone, but ${kind} of uid ${found.uid}, mode ${mode}. Remove it, and see who made it`,
  );
}

/** @throws MorchError STORE_UNWRITABLE for what is not the agent's, else `error` */
function refuseForeign(error: Error): never {
  if (!(error instanceof ForeignDirectory)) throw error;
  const system = { syscall: 'mkdir', errno: constants.errno.EEXIST, errnoCode: 'EEXIST' };
  throw new MorchError('STORE_UNWRITABLE', `Cannot keep the secrets of an instance: ${error.message}.`, {
    system,
    cause: error,
  });
}

function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

/** @throws MorchError INVALID_INPUT when a start command lacks a value, or one cannot be a variable */
export function checkValues(secrets: readonly SecretReference[] = [], values: SecretValues = {}): void {
  for (const { name, env } of secrets) {
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (value === undefined) throw invalid(`has no value for the secret ${name}`);
    if (env !== undefined && Buffer.from(value, 'base64').includes(0)) {
      throw invalid(`has a NUL in the secret ${name}, which cannot be the variable ${env}`);
    }
  }
}

function invalid(what: string): MorchError {
  return new MorchError('INVALID_INPUT', `The command ${what}.`, {
    errors: [{ pointer: '/secretValues', message: what }],
  });
}

/**
 * The groups (cgroup v2) of this agent's instances, one per generation: hard limits on CPU, memory and processes, and
 * a kill that nothing in the group escapes. Made and removed by the agent; a workload's main process is cloned into its
 * group by its shim, which itself stays outside. Groups are kept over restarts of the agent: live instances are in them.
 *
 *     <parent>/morch-<id of the data directory>/<key>
 */
import { createHash } from 'node:crypto';
import { existsSync, realpathSync } from 'node:fs';
import { readdir, readFile, rmdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { MorchError } from '../contract/errors';
import {
  calling,
  chooseParent,
  emptyGroup,
  enableControllers,
  enabledControllers,
  findMount,
  findOwnGroup,
  provideGroup,
  setGroupFile,
} from './cgroupRoot';
import type { PathWork } from './pathWork';

const CPU_PERIOD_US = 100_000;
/** The kernel's least cpu.max. */
const LEAST_QUOTA_US = 1_000;
const FIRST_LOOK_MS = 1;
const LONGEST_LOOK_MS = 50;
const KILL_WITHIN_MS = 10_000;
const REMOVE_WITHIN_MS = 2_000;
/** What is left of a tree whose end is under way. */
const EMPTY_WITHIN_MS = 100;

export interface GroupLimits {
  /** 1000 = one core; at least 10. */
  cpuMillis?: number | undefined;
  memoryBytes?: number | undefined;
  /** Processes and threads. */
  pids?: number | undefined;
}

export interface CgroupsOptions {
  /** `auto`, `none`, or the absolute path of a group below which this agent's are made. */
  option: string;
  /** Tells the agents of one machine apart. */
  dataDir: string;
  paths: PathWork;
  log: Logger;
}

export class Cgroups {
  /** @param directory holds the groups of instances and nothing else */
  private constructor(
    readonly directory: string,
    private readonly controllers: ReadonlySet<string>,
    private readonly paths: PathWork,
    private readonly log: Logger,
  ) {}

  /**
   * Finds or makes the place for this agent's groups. Groups of an earlier agent of this data directory are kept.
   *
   * @returns null with `none`, and where `auto` finds no place; the log tells why
   * @throws MorchError INVALID_INPUT naming `--cgroup` when a path cannot be used
   */
  static async open(options: CgroupsOptions): Promise<Cgroups | null> {
    const { option, log } = options;
    if (option === 'none') return null;
    try {
      const cgroups = await Cgroups.#openBelow(await findParent(option), options);
      log.info({ directory: cgroups.directory, features: cgroups.features() }, 'instances run in groups of their own');
      return cgroups;
    } catch (error) {
      if (option !== 'auto') throw unusable(option, error);
      log.info({ reason: reasonOf(error) }, 'no groups for instances: hard limits are not available (--cgroup)');
      return null;
    }
  }

  /** Where a group was named, a controller that is there and cannot be enabled is an error, not a missing feature. */
  static async #openBelow(parent: string, { option, dataDir, paths, log }: CgroupsOptions): Promise<Cgroups> {
    await provideGroup(parent);
    try {
      if (await isOwn(parent)) await emptyGroup(parent);
      await enableControllers(parent);
    } catch (error) {
      if (option !== 'auto') throw error;
      log.info({ group: parent, reason: reasonOf(error) }, 'not all limits can be had in this group');
    }
    const directory = join(parent, `morch-${idOf(dataDir)}`);
    await provideGroup(directory);
    if (!existsSync(join(directory, 'cgroup.kill'))) throw new Error('the kernel has no cgroup.kill (Linux 5.14)');
    await enableControllers(directory);
    return new Cgroups(directory, await enabledControllers(directory), paths, log);
  }

  /** What this node can hold instances to: `limits.cpu`, `limits.memory`, `limits.pids`; `cgroup`: none escapes a stop. */
  features(): string[] {
    const limits = ['cpu', 'memory', 'pids'].filter((name) => this.controllers.has(name));
    return ['cgroup', ...limits.map((name) => `limits.${name}`)];
  }

  /**
   * Makes a group, anew where an empty one is there, and sets its limits; a limit not given is none.
   *
   * With `memoryBytes`, the kernel that has to kill for want of memory kills the whole group (memory.oom.group), and none
   * of its memory is swapped out.
   *
   * @param key unique among instances and generations; one word of a path
   * @returns its directory
   * @throws NativeError of the failing call; then a group that was not there before is not there either
   */
  async create(key: string, limits: GroupLimits = {}): Promise<string> {
    const directory = this.directoryOf(key);
    // Most likely it is not there, or can go; both in one call.
    const removing = this.paths.removeDirectory(directory).catch(() => false);
    let isNew = await this.#makeGroup(directory);
    await removing;
    // One that was killed once kills whatever is cloned into it later: Linux 6.14 and newer compare its count of kills
    // with that of the group the cloning process is in (kill_seq in cgroup_css_set_fork and cgroup_post_fork).
    if (!isNew && (await removeTree(directory).catch(ignoringGone))) isNew = await this.#makeGroup(directory);
    try {
      for (const [file, value] of this.#settings(limits, isNew)) await setGroupFile(directory, file, value);
    } catch (error) {
      if (isNew) await rmdir(directory);
      throw error;
    }
    return directory;
  }

  /** Empty groups are anybody's to clean away, this agent's own directory included. */
  async #makeGroup(directory: string): Promise<boolean> {
    const make = () => calling(directory, () => this.paths.makeGroup(directory));
    try {
      return await make();
    } catch (error) {
      if ((error as { code?: string }).code !== 'ENOENT') throw error;
      await provideGroup(this.directory);
      await enableControllers(this.directory);
      return make();
    }
  }

  /** Whatever is not given is at the kernel's default in a new group, and put back to it in an old one. */
  #settings({ cpuMillis, memoryBytes, pids }: GroupLimits, isNew: boolean): [file: string, value: string][] {
    const settings: [string, string][] = [];
    const needed = (limit: number | undefined, controller: string) =>
      limit !== undefined || (!isNew && this.controllers.has(controller));
    if (needed(cpuMillis, 'cpu')) {
      const quota = cpuMillis === undefined ? 'max' : Math.max(LEAST_QUOTA_US, (cpuMillis * CPU_PERIOD_US) / 1_000);
      settings.push(['cpu.max', `${quota} ${CPU_PERIOD_US}`]);
    }
    if (needed(memoryBytes, 'memory')) {
      // Where the kernel has no accounting of swap, the file is not there, and neither is a limit that swap would evade.
      const hasSwap = existsSync(join(this.directory, 'memory.swap.max'));
      if (hasSwap) settings.push(['memory.swap.max', memoryBytes === undefined ? 'max' : '0']);
      settings.push(['memory.oom.group', memoryBytes === undefined ? '0' : '1']);
      settings.push(['memory.max', `${memoryBytes ?? 'max'}`]);
    }
    if (needed(pids, 'pids')) settings.push(['pids.max', `${pids ?? 'max'}`]);
    return settings;
  }

  /** Where the group of this key is or would be. */
  directoryOf(key: string): string {
    if (key === '' || key.startsWith('.') || key.includes('/')) throw new Error(`"${key}" cannot name a group`);
    return join(this.directory, key);
  }

  /**
   * Kills all processes of a group, zombies left to their parents.
   *
   * @returns true when it is empty or not there; false when the kernel has not let go of a process in time
   */
  async kill(key: string, withinMs = KILL_WITHIN_MS): Promise<boolean> {
    const directory = this.directoryOf(key);
    return poll(directory, withinMs, async () => {
      // Repeated: a clone into the group that is under way can be missed.
      await setGroupFile(directory, 'cgroup.kill', '1');
      return !(await isPopulated(directory));
    });
  }

  /**
   * Removes an empty group. One that does not become empty in time stays, is logged, and goes at the agent's next
   * start at the latest. One that is not there is no error.
   */
  async remove(key: string, withinMs = REMOVE_WITHIN_MS): Promise<void> {
    const directory = this.directoryOf(key);
    if (await this.paths.removeDirectory(directory).catch(() => false)) return; // what is wrong shows again
    const removed = await poll(directory, withinMs, () => removeTree(directory));
    if (!removed) this.log.warn({ group: directory }, 'the group is still in use and stays');
  }

  /**
   * Removes groups that nobody is in, and this agent's directory unless others are left in it; a later agent makes it again.
   *
   * @param inUse keys of groups that stay: a process may be on its way into them
   */
  async close(inUse: ReadonlySet<string>): Promise<void> {
    const idle = (await this.list()).filter((key) => !inUse.has(key)).map((key) => this.directoryOf(key));
    const isGone = async (group: string) => !(await isPopulated(group)) && (await removeTree(group));
    await Promise.all(idle.map((group) => poll(group, EMPTY_WITHIN_MS, () => isGone(group))));
    await poll(this.directory, 0, () => tryToRemove(this.directory));
  }

  /** How many processes of the group the kernel has killed for want of memory, in all its runs. */
  async oomKills(key: string): Promise<number> {
    const path = join(this.directoryOf(key), 'memory.events');
    const events = await readFile(path, 'utf8').catch(ignoring('ENOENT', ''));
    return Number(/^oom_kill (\d+)$/m.exec(events)?.[1] ?? 0);
  }

  /** Keys of the groups that are there. */
  async list(): Promise<string[]> {
    const entries = await readdir(this.directory, { withFileTypes: true }).catch(ignoring('ENOENT', []));
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  }

  /**
   * Kills and removes the groups of no known instance.
   *
   * @returns their keys
   */
  async removeUnknown(known: Iterable<string>): Promise<string[]> {
    const keys = new Set(known);
    const unknown = (await this.list()).filter((key) => !keys.has(key));
    await Promise.all(
      unknown.map(async (key) => {
        if (await this.kill(key)) await this.remove(key);
        else this.log.error({ group: key }, 'the kernel does not let go of a group of no known instance');
      }),
    );
    return unknown;
  }
}

async function findParent(option: string): Promise<string> {
  if (option === 'auto') {
    const mount = await findMount();
    if (mount === null) throw new Error('no cgroup v2 file system is mounted');
    const parent = chooseParent(mount, await findOwnGroup(mount), process.getuid!());
    if (parent === null) throw new Error(`the agent's own group is not to be seen in ${mount.path}`);
    return parent;
  }
  const path = resolve(option);
  if ((await findMount(path)) === null) throw new Error('it does not lie in a cgroup v2 file system');
  return path;
}

async function isOwn(group: string): Promise<boolean> {
  const mount = await findMount(group);
  return mount !== null && (await findOwnGroup(mount)) === group;
}

/** The same after every restart, also when the directory was emptied meanwhile. */
function idOf(dataDir: string): string {
  return createHash('sha256').update(realpathSync(dataDir)).digest('hex').slice(0, 10);
}

async function isPopulated(group: string): Promise<boolean> {
  return /^populated 1$/m.test(await readFile(join(group, 'cgroup.events'), 'utf8'));
}

/**
 * Removes a group with those that its processes may have made in it, as root or when it was given to them.
 * @returns false when it is still in use
 */
async function removeTree(group: string): Promise<boolean> {
  if (await tryToRemove(group)) return true;
  const entries = await readdir(group, { withFileTypes: true });
  for (const entry of entries.filter((each) => each.isDirectory())) await removeTree(join(group, entry.name));
  return tryToRemove(group);
}

async function tryToRemove(group: string): Promise<boolean> {
  return rmdir(group).then(() => true, ignoring('EBUSY', false));
}

/** Looks again, less and less often, until it is so or the time is up; a group that is gone makes it so. */
async function poll(group: string, withinMs: number, isSo: () => Promise<boolean>): Promise<boolean> {
  const deadlineMs = performance.now() + withinMs;
  for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_LOOK_MS)) {
    if (await calling(group, () => isSo().catch(ignoringGone))) return true;
    if (performance.now() >= deadlineMs) return false;
    await delay(pauseMs);
  }
}

function ignoring<T>(code: string, instead: T): (error: NodeJS.ErrnoException) => T {
  return (error) => {
    if (error.code !== code) throw error;
    return instead;
  };
}

/** ENODEV: it was removed while its file was open. */
function ignoringGone(error: { code?: string }): boolean {
  if (error.code !== 'ENOENT' && error.code !== 'ENODEV') throw error;
  return true;
}

function unusable(path: string, error: unknown): MorchError {
  const detail =
    `Cannot use --cgroup ${path}: ${reasonOf(error)}. ` +
    'Name a group that this user may write and that holds no processes itself, such as /sys/fs/cgroup/morch, or use --cgroup auto.';
  return new MorchError('INVALID_INPUT', detail, { cause: error });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Directories made and moved, files and empty directories removed, files looked at: what comes in one turn of the event loop is done in
 * one call off it. For names that only this process changes; of a directory that others may write to see removeTree.ts.
 */
import { mkdir } from 'node:fs/promises';
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import type { Native, PathChange } from './native/index';
import { type Deferred, deferred } from './timers';

const { EEXIST, ENOENT, ENOTEMPTY, EPERM } = constants.errno;
const SYSCALLS: Record<PathChange['what'], string> = {
  makeDirectory: 'mkdir',
  makeGroup: 'mkdir',
  unlink: 'unlink',
  removeDirectory: 'rmdir',
  moveDirectory: 'renameat2',
  setAside: 'renameat2',
};

export interface Look {
  size: number;
  /** Of the last change. */
  mtimeMs: number;
}

/** Layout: path_work.h. */
const LOOK_FIELDS = 3;

export class PathWork {
  readonly #changes: Batch<PathChange, number>;
  readonly #looks: Batch<string, [errno: number, size: number, mtimeMs: number]>;

  constructor(native: Pick<Native, 'changePaths' | 'lookAtPaths'>) {
    this.#changes = new Batch(async (changes) => [...(await native.changePaths(changes))]);
    this.#looks = new Batch(async (paths) => {
      const flat = await native.lookAtPaths(paths);
      return paths.map((_, i) => {
        const at = i * LOOK_FIELDS;
        return [flat[at]!, flat[at + 1]!, flat[at + 2]!];
      });
    });
  }

  /** With what it is to be in. @returns false when something of that name is there */
  async makeDirectory(path: string): Promise<boolean> {
    try {
      return await this.#change({ what: 'makeDirectory', path }, EEXIST);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      return (await mkdir(path, { recursive: true, mode: 0o700 })) !== undefined;
    }
  }

  /**
   * Of a control group: its directory is for others to look into.
   *
   * @returns false when it is there
   * @throws NodeJS.ErrnoException ENOENT: what it is to be in is not there
   */
  async makeGroup(path: string): Promise<boolean> {
    return this.#change({ what: 'makeGroup', path }, EEXIST);
  }

  /** @returns false when there is no such file */
  async unlink(path: string): Promise<boolean> {
    return this.#change({ what: 'unlink', path }, ENOENT);
  }

  /** @returns false when something is in it; one that is not there is as good as removed */
  async removeDirectory(path: string): Promise<boolean> {
    return this.#change({ what: 'removeDirectory', path }, ENOTEMPTY, ENOENT);
  }

  /** @returns false when something of the name `to` is there */
  async moveDirectory(path: string, to: string): Promise<boolean> {
    return this.#change({ what: 'moveDirectory', path, to }, EEXIST);
  }

  /**
   * The same of a directory that is empty, for its owner alone, and without attributes. It is as makeDirectory makes them then:
   * of this process's user, whoever it was given to.
   *
   * @returns false when it is otherwise
   */
  async setAside(path: string, to: string): Promise<boolean> {
    return this.#change({ what: 'setAside', path, to }, EPERM);
  }

  /** Not through a symbolic link. @returns null when it is not there */
  async lookAt(path: string): Promise<Look | null> {
    const [errno, size, mtimeMs] = await this.#looks.add(path);
    if (errno === ENOENT) return null;
    if (errno !== 0) throw failure('lstat', path, errno);
    return { size, mtimeMs };
  }

  /** @returns true for success, and for `right`; false for `wrong` */
  async #change(change: PathChange, wrong: number, right = 0): Promise<boolean> {
    const errno = await this.#changes.add(change);
    if (errno === 0 || errno === right) return true;
    if (errno === wrong) return false;
    throw failure(SYSCALLS[change.what], change.path, errno);
  }
}

function failure(syscall: string, path: string, errno: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(-errno);
  return Object.assign(new Error(`${code}: ${syscall} ${path}`), { code, errno: -errno, syscall, path });
}

/** What is added in one turn of the event loop is done together. */
class Batch<Item, Result> {
  #waiting: { item: Item; done: Deferred<Result> }[] = [];

  /** @param act gives the results in the order of the items */
  constructor(private readonly act: (items: Item[]) => Promise<Result[]>) {}

  add(item: Item): Promise<Result> {
    const done = deferred<Result>();
    if (this.#waiting.length === 0) setImmediate(() => this.#actOnAll());
    this.#waiting.push({ item, done });
    return done.promise;
  }

  #actOnAll(): void {
    const all = this.#waiting;
    this.#waiting = [];
    this.act(all.map(({ item }) => item)).then(
      (results) => {
        for (const [i, { done }] of all.entries()) done.resolve(results[i]!);
      },
      (error) => {
        for (const { done } of all) done.reject(error);
      },
    );
  }
}

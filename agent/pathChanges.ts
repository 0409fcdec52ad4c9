/**
 * Directories made, files and empty directories removed: what comes in one turn of the event loop is done in one call off it.
 * For names that only this process changes; of a directory that others may write to see removeTree.ts.
 */
import { mkdir } from 'node:fs/promises';
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import type { Native, PathChange } from './native/index';
import { type Deferred, deferred } from './timers';

const { EEXIST, ENOENT, ENOTEMPTY } = constants.errno;

type Waiting = PathChange & { done: Deferred<number> };

export class PathChanges {
  #waiting: Waiting[] = [];

  constructor(private readonly native: Pick<Native, 'changePaths'>) {}

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

  /** @returns true for success, and for `right`; false for `wrong` */
  async #change(change: PathChange, wrong: number, right = 0): Promise<boolean> {
    const done = deferred<number>();
    if (this.#waiting.length === 0) setImmediate(() => this.#doAll());
    this.#waiting.push({ ...change, done });
    const errno = await done.promise;
    if (errno === 0 || errno === right) return true;
    if (errno === wrong) return false;
    const code = getSystemErrorName(-errno);
    const syscall = SYSCALLS[change.what];
    const { path } = change;
    throw Object.assign(new Error(`${code}: ${syscall} ${path}`), { code, errno: -errno, syscall, path });
  }

  #doAll(): void {
    const all = this.#waiting;
    this.#waiting = [];
    this.native.changePaths(all).then(
      (errnos) => all.forEach(({ done }, at) => void done.resolve(errnos[at]!)),
      (error) => all.forEach(({ done }) => void done.reject(error)),
    );
  }
}

const SYSCALLS: Record<PathChange['what'], string> = {
  makeDirectory: 'mkdir',
  makeGroup: 'mkdir',
  unlink: 'unlink',
  removeDirectory: 'rmdir',
};

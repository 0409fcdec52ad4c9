/**
 * Empty directories that are used again instead of being removed and made. ext4 does not give out an inode within some seconds
 * of its removal, and looks through all of those whenever it needs another: at some hundred ends a second that took half the time of
 * the thread which works on the disk.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { PathWork } from './pathWork';

/** Hundreds may end before hundreds are started. */
const MOST = 256;

export class SpareDirectories {
  readonly #root: string;
  /** Paths. */
  readonly #spare: string[] = [];
  #named = 0;
  #coming = 0;

  private constructor(
    root: string,
    private readonly paths: PathWork,
  ) {
    this.#root = root;
  }

  /** @param root of a file system with those that are made; what is in it is removed */
  static async open(root: string, paths: PathWork): Promise<SpareDirectories> {
    await rm(root, { recursive: true, force: true });
    await mkdir(root, { mode: 0o700 });
    return new SpareDirectories(root, paths);
  }

  /** As PathWork.makeDirectory. @returns false when something of that name is there */
  async make(path: string): Promise<boolean> {
    const spare = this.#spare.pop();
    if (spare === undefined) return this.paths.makeDirectory(path);
    try {
      if (await this.paths.moveDirectory(spare, path)) return true;
      this.#spare.push(spare);
      return false;
    } catch (error) {
      // To another file system, perhaps, it cannot be moved; whatever else stands in the way is told by mkdir.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.#spare.push(spare);
      return this.paths.makeDirectory(path);
    }
  }

  /** As PathWork.removeDirectory. @returns false when something is in it */
  async remove(path: string): Promise<boolean> {
    if (this.#spare.length + this.#coming >= MOST) return this.paths.removeDirectory(path);
    this.#coming += 1;
    const spare = join(this.#root, `${this.#named++}`);
    const isSpare = await this.paths.setAside(path, spare).catch(() => false);
    this.#coming -= 1;
    if (!isSpare) return this.paths.removeDirectory(path);
    this.#spare.push(spare);
    return true;
  }
}

/** Small disks that can be filled and made read-only. They are mounted in this run's own mount namespace, and end with it. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const BLOCK = Buffer.alloc(4_096);

export interface DiskOptions {
  /** In memory; or a file system whose disk can fail (ext4 in a file beside the directory). */
  kind: 'tmpfs' | 'ext4';
  mebibytes: number;
}

export function mountDisk(directory: string, { kind, mebibytes }: DiskOptions): void {
  mkdirSync(directory, { recursive: true });
  if (kind === 'tmpfs') {
    run('mount', '-t', 'tmpfs', '-o', `size=${mebibytes}m,mode=0700`, 'morch-faults', directory);
    return;
  }
  run('truncate', '--size', `${mebibytes}M`, imageOf(directory));
  run('mkfs.ext4', '-q', imageOf(directory));
  run('mount', '-o', 'loop', imageOf(directory), directory);
}

/** Whoever still uses it goes on with what it has open. */
export function unmountDisk(directory: string): void {
  run('umount', '--lazy', directory);
}

/** Not one block is left. @returns frees what it took */
export function fillDisk(directory: string): () => void {
  const path = join(directory, 'filling');
  const file = openSync(path, 'a');
  try {
    for (;;) writeSync(file, BLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    closeSync(file);
  }
  return () => rmSync(path, { force: true });
}

/** Of an ext4: it refuses all writes from now on, as after an error of its disk, also to files that are open. */
export function breakDisk(directory: string): void {
  run('mount', '-o', 'remount,abort', directory);
}

/** What was broken is checked and mounted anew. Nobody may use it. */
export function mendDisk(directory: string): void {
  run('umount', directory);
  spawnSync('fsck.ext4', ['-p', imageOf(directory)]);
  run('mount', '-o', 'loop', imageOf(directory), directory);
}

function imageOf(directory: string): string {
  return `${directory}.ext4`;
}

function run(command: string, ...args: string[]): void {
  const { status, error, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr}`);
}

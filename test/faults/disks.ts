/** Small disks that can be filled and made read-only. They are mounted in this run's own mount namespace, and end with it. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const BLOCK = Buffer.alloc(4_096);

/** @param size as tmpfs(5) takes it */
export function mountDisk(directory: string, size: string): void {
  mkdirSync(directory, { recursive: true });
  run('mount', '-t', 'tmpfs', '-o', `size=${size},mode=0700`, 'morch-faults', directory);
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

/** Fails while something on it is open for writing (EBUSY), as it does on any file system. */
export function remount(directory: string, how: 'ro' | 'rw'): void {
  run('mount', '-o', `remount,${how}`, directory);
}

function run(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

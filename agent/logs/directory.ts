/**
 * The names of an instance's log files (docs/shim.md, "Log files") and which of them there are. Its shims write
 * and remove them while others read: whatever is listed may be gone a moment later. Symbolic links count as gone, whether
 * in the place of a file or of the directory: nobody reads by way of a log what is elsewhere.
 */
import { lstat as lstatWithCallback } from 'node:fs';
import { type FileHandle, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { openOwnFile } from '../files';

export const LOG_STREAMS = ['stdout', 'stderr'] as const;
export type LogStream = (typeof LOG_STREAMS)[number];
/** Numbers of the files of each stream, rising; a number counts when its log or its index is there. */
export type LogNumbers = Record<LogStream, number[]>;

/** As in fs/promises, for a third less of CPU time: for those who look at many files again and again. */
export const lstat = promisify(lstatWithCallback);

/** A directory changed more recently than this is listed again: a second change may bear the same time. */
const SETTLED_MS = 1_000;

export function logPath(directory: string, stream: LogStream, number: number): string {
  return join(directory, `${stream}.${number}.log`);
}

export function indexPath(directory: string, stream: LogStream, number: number): string {
  return join(directory, `${stream}.${number}.idx`);
}

/** @returns null for what is no name of a log file or index */
export function parseLogName(name: string): { stream: LogStream; number: number } | null {
  const match = /^(stdout|stderr)\.([1-9]\d{0,14})\.(?:log|idx)$/.exec(name);
  return match === null ? null : { stream: match[1] as LogStream, number: Number(match[2]) };
}

/** Of names in any order. */
export function logNumbersOf(names: readonly string[]): LogNumbers {
  const found = { stdout: new Set<number>(), stderr: new Set<number>() };
  for (const name of names) {
    const parsed = parseLogName(name);
    if (parsed !== null) found[parsed.stream].add(parsed.number);
  }
  const rising = (numbers: Set<number>) => [...numbers].sort((a, b) => a - b);
  return { stdout: rising(found.stdout), stderr: rising(found.stderr) };
}

/** Names in a directory; none when it is not there. */
export async function namesIn(directory: string): Promise<string[]> {
  const isThere = (await unlessGone(lstat(directory)))?.isDirectory() ?? false;
  return isThere ? ((await unlessGone(readdir(directory))) ?? []) : [];
}

/** Null for a file or directory that is not there, or not any more. */
export async function unlessGone<T>(result: Promise<T>): Promise<T | null> {
  try {
    return await result;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** Null for what is no file, too. */
export async function openIfThere(path: string): Promise<FileHandle | null> {
  try {
    return await openOwnFile(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ELOOP') return null;
    throw error;
  }
}

/** What is told of a file or directory; null when it is not there. */
export type LookAt = (path: string) => Promise<{ size: number; mtimeMs: number } | null>;

const lookByItself: LookAt = (path) => unlessGone(lstat(path));

const NO_NUMBERS: LogNumbers = { stdout: [], stderr: [] };
const NOT_LISTED = { changedAtMs: -1, atMs: 0 };

/** Lists a directory again and again, and reads it only when something was added or removed. */
export class LogDirectory {
  #numbers = NO_NUMBERS;
  #listed = NOT_LISTED;

  constructor(
    readonly path: string,
    private readonly lookAt: LookAt = lookByItself,
  ) {}

  async numbers(): Promise<LogNumbers> {
    const atMs = Date.now();
    const found = await this.lookAt(this.path);
    if (found === null) {
      this.#numbers = NO_NUMBERS;
      this.#listed = NOT_LISTED;
      return this.#numbers;
    }
    const changedAtMs = found.mtimeMs;
    if (changedAtMs !== this.#listed.changedAtMs || this.#listed.atMs - changedAtMs < SETTLED_MS) {
      this.#numbers = logNumbersOf(await namesIn(this.path));
      this.#listed = { changedAtMs, atMs };
    }
    return this.#numbers;
  }
}

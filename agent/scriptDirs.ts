/**
 * The allow-list of programs (--script-dir): what lies, by its real path, in one of some directories, and is started by
 * that path, so that what was looked at is what runs; with no other variables than the node allows (--script-env), since
 * many have a program load or run what they name. It bounds what is started, not what that does with its arguments.
 */
import { constants } from 'node:fs';
import { access, realpath, stat } from 'node:fs/promises';
import { constants as osConstants } from 'node:os';
import { isAbsolute, relative, resolve } from 'node:path';
import { StartFailure } from './processHost';

/**
 * Variables that any spec may set: by these nothing is loaded or run. There is no list of those by which something is; it
 * would never be complete. A `*` at the end is for any rest.
 */
const HARMLESS = ['LANG', 'LC_*', 'TZ', 'APP_*'];

export interface ProgramRules {
  directories: readonly string[];
  /** That specs may set beside the harmless ones; a `*` at the end is for any rest. */
  variables: readonly string[];
}

export interface Program {
  /** A path, or a name to be looked for in `searchPath`. */
  file: string;
  cwd: string;
  searchPath: string;
  /** Of the spec, with its secrets. */
  env: Record<string, string>;
}

/**
 * @returns the path to start it by: its real one
 * @throws StartFailure `script-dir` EACCES: it is in none of the directories; `script-env` EPERM: it sets a variable, the
 *   subject, that is not allowed; `execve` as the kernel would, when there is no such program
 */
export async function findAllowed(program: Program, { directories, variables }: ProgramRules): Promise<string> {
  const allowed = [...HARMLESS, ...variables];
  const foreign = Object.keys(program.env).find((name) => !allowed.some((pattern) => isMeant(name, pattern)));
  if (foreign !== undefined) throw refused('script-env', 'EPERM', foreign);
  const file = await find(program);
  if (file === null) throw refused('execve', 'ENOENT');
  for (const directory of directories) {
    if (isWithin(file, await realpath(directory).catch(() => null))) return file;
  }
  throw refused('script-dir', 'EACCES');
}

function isMeant(name: string, pattern: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

/** As execvp(3) does, save that what this process may not execute is passed over. */
async function find({ file, cwd, searchPath }: Program): Promise<string | null> {
  if (file.includes('/')) return realPathOf(resolve(cwd, file));
  for (const entry of searchPath.split(':')) {
    const candidate = resolve(cwd, entry, file);
    const isProgram = await stat(candidate).then(
      (found) => found.isFile(),
      () => false,
    );
    if (isProgram && (await mayExecute(candidate))) return realPathOf(candidate);
  }
  return null;
}

function realPathOf(path: string): Promise<string | null> {
  return realpath(path).catch(() => null);
}

function mayExecute(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** @param directory null: it is not there */
function isWithin(file: string, directory: string | null): boolean {
  if (directory === null) return false;
  const inside = relative(directory, file);
  return inside !== '' && inside !== '..' && !inside.startsWith('../') && !isAbsolute(inside);
}

function refused(step: string, code: 'EPERM' | 'EACCES' | 'ENOENT', subject?: string): StartFailure {
  return new StartFailure(step, osConstants.errno[code], code, { subject });
}

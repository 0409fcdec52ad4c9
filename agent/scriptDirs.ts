/**
 * The allow-list of programs (--script-dir): what lies, by its real path, in one of some directories, and is started by
 * that path, so that what was looked at is what runs. It bounds what is started, not what that does with its arguments.
 */
import { constants } from 'node:fs';
import { access, realpath, stat } from 'node:fs/promises';
import { constants as osConstants } from 'node:os';
import { isAbsolute, relative, resolve } from 'node:path';
import { StartFailure } from './processHost';

/** Variables that have a program load or run what is named in them: with these anything could be started by it. */
const LOADS_CODE =
  /^(PATH|IFS|ENV|BASH_ENV|BASHOPTS|SHELLOPTS|PS4|PROMPT_COMMAND|PERL5?(LIB|OPT|DB)|PYTHON[A-Z]+|RUBY(LIB|OPT)|NODE_(OPTIONS|PATH)|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|JDK_JAVA_OPTIONS|CLASSPATH|LUA_(PATH|CPATH|INIT)\w*|PHP(RC|_INI_SCAN_DIR)|GIO_\w+|GCONV_PATH|LD_\w+|DYLD_\w+)$/;

export interface Program {
  /** A path, or a name to be looked for in `searchPath`. */
  file: string;
  cwd: string;
  searchPath: string;
  /** Of the spec. */
  env: Record<string, string>;
}

/**
 * @returns the path to start it by: its real one
 * @throws StartFailure `script-dir` EACCES: it is in none of them; `script-dir` EPERM: its environment could start
 *   something else; `execve` as the kernel would, when there is no such program
 */
export async function findAllowed(program: Program, directories: readonly string[]): Promise<string> {
  if (Object.keys(program.env).some((name) => LOADS_CODE.test(name))) throw refused('script-dir', 'EPERM');
  const file = await find(program);
  if (file === null) throw refused('execve', 'ENOENT');
  for (const directory of directories) {
    if (isWithin(file, await realpath(directory).catch(() => null))) return file;
  }
  throw refused('script-dir', 'EACCES');
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

function refused(step: string, code: 'EPERM' | 'EACCES' | 'ENOENT'): StartFailure {
  return new StartFailure(step, osConstants.errno[code], code);
}

/** Makes of a start command what the kernel is given: program, arguments, environment, directory; and words for its refusals. */
import { open, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname } from 'node:path';
import { MorchError } from '../contract/errors';
import type { StartFailure } from './processHost';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface Program {
  script?: string | undefined;
  command?: string[] | undefined;
  args?: string[] | undefined;
  cwd?: string | undefined;
  env?: Record<string, string> | undefined;
}

export function fileOf({ script, command }: Program): string {
  return script ?? command![0]!;
}

export function argvOf({ script, command, args = [] }: Program): string[] {
  return script === undefined ? [...command!, ...args] : [script, ...args];
}

/** @param ownDirectory the instance's own, where a `command` runs unless told otherwise */
export function cwdOf({ script, cwd }: Program, ownDirectory: string): string {
  return cwd ?? (script === undefined ? ownDirectory : dirname(script));
}

export interface RunNames {
  instanceId: string;
  generation: number;
  run: number;
  node: string;
  nonce: string;
}

/** Nothing of the agent's environment but PATH is passed on, so that its interpreters are found. */
export function environmentOf(program: Program, names: RunNames): Record<string, string> {
  const { user, home } = currentUser();
  return {
    PATH: process.env.PATH ?? DEFAULT_PATH,
    HOME: home,
    USER: user,
    LANG: 'C.UTF-8',
    ...program.env,
    MORCH_WORKLOAD: names.instanceId.slice(0, names.instanceId.indexOf('.')),
    MORCH_INSTANCE: names.instanceId,
    MORCH_GENERATION: String(names.generation),
    MORCH_RUN: String(names.run),
    MORCH_NODE: names.node,
    MORCH_NONCE: names.nonce,
  };
}

let cachedUser: { user: string; home: string } | undefined;
function currentUser(): { user: string; home: string } {
  cachedUser ??= lookUpUser();
  return cachedUser;
}

function lookUpUser(): { user: string; home: string } {
  try {
    const { username, homedir } = userInfo();
    return { user: username, home: homedir };
  } catch {
    return { user: String(process.getuid?.() ?? 0), home: '/' }; // a uid without a passwd entry
  }
}

/** @returns the answer to a start that the kernel refused, naming program and node, and what to do */
export async function startFailed(
  failure: StartFailure,
  program: Program,
  cwd: string,
  node: string,
): Promise<MorchError> {
  const { errno, errnoCode } = failure;
  // The script's own directory cannot be entered: execve of the script would have failed on its way for the same reason.
  const ofScript = failure.syscall === 'chdir' && program.cwd === undefined && program.script !== undefined;
  const syscall = ofScript ? 'execve' : failure.syscall;
  const file = fileOf(program);
  const detail =
    syscall === 'chdir'
      ? `Cannot start ${file} on node ${node}: the working directory ${cwd} cannot be entered (${errnoCode}). Create it there, or give another "cwd".`
      : `Cannot start ${file} on node ${node}: ${await explain(file, syscall, errnoCode)}`;
  return new MorchError('START_FAILED', detail, { system: { syscall, errno, errnoCode }, cause: failure });
}

async function explain(file: string, syscall: string, errnoCode: string): Promise<string> {
  if (!syscall.startsWith('exec')) return `${syscall} was refused (${errnoCode}).`;
  const inPath = !file.includes('/');
  if (errnoCode === 'ENOENT' && inPath) {
    return 'it is in no directory of the PATH (ENOENT). Install it there, or give its absolute path.';
  }
  const isDirectory = await stat(file).then(
    (found) => found.isDirectory(),
    () => null,
  );
  if (errnoCode === 'ENOENT') {
    if (isDirectory === null) return 'there is no such file (ENOENT). Check the path, or copy the file to that node.';
    const interpreter = await interpreterOf(file);
    if (interpreter === null) {
      return 'the file is there, but its loader is not (ENOENT). Install the libraries it was built for.';
    }
    const remedy = interpreter.endsWith('\r')
      ? 'Its lines end in carriage returns: write the file with Unix line ends.'
      : 'Install it, or mend the line.';
    const shown = interpreter.replace('\r', '\\r');
    return `the file is there, but the interpreter ${shown} of its #! line is not (ENOENT). ${remedy}`;
  }
  if (errnoCode === 'EACCES') {
    if (isDirectory === true) return 'it is a directory (EACCES). Give the path of a program.';
    return `it may not be executed (EACCES). Make it executable: chmod +x ${file}; its directories must be searchable and the file system not mounted noexec.`;
  }
  if (errnoCode === 'ENOEXEC') return 'it is not in a format this machine runs (ENOEXEC).';
  return `execve was refused (${errnoCode}).`;
}

async function interpreterOf(file: string): Promise<string | null> {
  try {
    const handle = await open(file, 'r');
    try {
      const { buffer, bytesRead } = await handle.read({ buffer: Buffer.alloc(256), position: 0 });
      return /^#![ \t]*([^ \t\n]+)/.exec(buffer.toString('latin1', 0, bytesRead))?.[1] ?? null;
    } finally {
      await handle.close();
    }
  } catch {
    return null;
  }
}

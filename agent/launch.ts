/** Makes of a start command what the kernel is given: program, arguments, environment, directory; and words for its refusals. */
import { open, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname } from 'node:path';
import { MorchError } from '../contract/errors';
import type { ProcessSpec } from '../contract/workload';
import type { StartFailure } from './processHost';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export function fileOf({ script, command }: ProcessSpec): string {
  return script ?? command![0]!;
}

export function argvOf({ script, command, args = [] }: ProcessSpec): string[] {
  return script === undefined ? [...command!, ...args] : [script, ...args];
}

/** @param ownDirectory the instance's own, where a `command` runs unless told otherwise */
export function cwdOf({ script, cwd }: ProcessSpec, ownDirectory: string): string {
  return cwd ?? (script === undefined ? ownDirectory : dirname(script));
}

export interface RunNames {
  instanceId: string;
  generation: number;
  run: number;
  node: string;
  nonce: string;
}

/**
 * Nothing of the agent's environment but PATH is passed on, so that its interpreters are found.
 *
 * @param user who it runs as, as this node knows them
 */
export function environmentOf(
  program: ProcessSpec,
  names: RunNames,
  user: { name: string; home: string } = ownUser(),
): Record<string, string> {
  return {
    PATH: process.env.PATH ?? DEFAULT_PATH,
    HOME: user.home,
    USER: user.name,
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

let cachedUser: { name: string; home: string } | undefined;
function ownUser(): { name: string; home: string } {
  cachedUser ??= lookUpOwnUser();
  return cachedUser;
}

function lookUpOwnUser(): { name: string; home: string } {
  try {
    const { username, homedir } = userInfo();
    return { name: username, home: homedir };
  } catch {
    return { name: String(process.getuid?.() ?? 0), home: '/' }; // a uid without a passwd entry
  }
}

export interface StartPlace {
  node: string;
  cwd: string;
  /** Of the instance's own user; null: it runs as another. */
  ownUid: number | null;
}

/** @returns the answer to a start that was refused, by the kernel or by the node's rules, naming program and node, and what to do */
export async function startFailed(failure: StartFailure, program: ProcessSpec, place: StartPlace): Promise<MorchError> {
  const { errno, errnoCode } = failure;
  // The script's own directory cannot be entered: execve of the script would have failed on its way for the same reason.
  const ofScript = failure.syscall === 'chdir' && program.cwd === undefined && program.script !== undefined;
  const syscall = ofScript ? 'execve' : failure.syscall;
  const why = syscall.startsWith('exec')
    ? await explainExec(program, errnoCode, place)
    : explainStep(program, place, syscall, failure);
  const detail = `Cannot start ${fileOf(program)} on node ${place.node}: ${why}`;
  return new MorchError('START_FAILED', detail, { system: { syscall, errno, errnoCode }, cause: failure });
}

/** What comes before the program's own execution, done by the agent, by the shim, and by its child. */
function explainStep(
  program: ProcessSpec,
  place: StartPlace,
  step: string,
  { errnoCode, subject }: StartFailure,
): string {
  const { user, nice = 0, limits = {} } = program;
  const { cwd } = place;
  switch (step) {
    case 'chdir': {
      const runner = nameUser(program, place);
      const who = runner === null || errnoCode !== 'EACCES' ? '' : ` by ${runner}`;
      const remedy = errnoCode === 'EACCES' ? 'Make it searchable' : 'Create it there';
      return `the working directory ${cwd} cannot be entered${who} (${errnoCode}). ${remedy}, or give another "cwd".`;
    }
    case 'getpwnam':
      return errnoCode === 'ENOENT'
        ? `that node has no user ${user} (${errnoCode}). Create it there, or give another "user".`
        : `its user ${user} cannot be looked up there (${errnoCode}). See to the name service of that node.`;
    case 'user':
      return `that node does not allow user ${user}. Start its agent with --allow-user ${user} (root: --allow-root), or leave "user" out.`;
    case 'user-range':
      return 'every user of that node for instances is in use. Give its agent a larger --user-range, or let it forget ended instances.';
    case 'script-dir':
      return 'it lies, by its real path, in none of the directories from which that node starts programs. Put it into one, or start the agent with another --script-dir.';
    case 'script-env':
      return `it is given the variable ${subject}, and that node, which starts only what lies in its directories for programs (--script-dir), lets specs set LANG, LC_*, TZ, APP_* and what its --script-env names. Leave ${subject} out, call it APP_${subject}, or start the agent with --script-env ${subject}.`;
    case 'capbset':
    case 'setgroups':
    case 'setgid':
    case 'setuid':
    case 'chown':
    case 'fchown':
      if (errnoCode !== 'EPERM') break;
      return `its agent may not run programs as ${nameUser(program, place) ?? 'another user'} (${errnoCode}). Run that agent as root, with all of root's capabilities, or leave "user" out.`;
    case 'setrlimit':
    case 'prlimit64': {
      const asked = (['openFiles', 'fileBytes', 'coreBytes'] as const).filter((name) => limits[name] !== undefined);
      return `a limit cannot be set (${errnoCode}). Lower ${asked.map((name) => `"limits.${name}"`).join(', ')}, or raise the hard limit of that node's agent (of open files also sysctl fs.nr_open).`;
    }
    case 'setpriority':
      return `its agent may not give it the nice value ${nice} (${errnoCode}). Run that agent as root, or give a higher "nice".`;
    case 'shim':
      return 'its shim was killed before it could tell that the program runs; what there was of the program was killed too. See on that node what kills morch-shim.';
    case 'cgroup':
      return `it cannot have a cgroup of its own (${errnoCode}). See the log of that node's agent.`;
    case 'clone':
    case 'clone3':
      if (errnoCode !== 'EAGAIN') break;
      return `no more processes are allowed there (${errnoCode}). End some, or raise "limits.pids", or the limits of that node's agent.`;
  }
  const remedy = REMEDIES[errnoCode];
  return `${step} was refused (${errnoCode}).${remedy === undefined ? '' : ` ${remedy}`}`;
}

/** Where the failing call says less than its error. */
const REMEDIES: Record<string, string> = {
  EAGAIN: 'Too much runs there: end something, or raise the limits of that node.',
  EDQUOT: "The quota of the agent's --data-dir is used up there.",
  EMFILE: 'Raise the limit of open files of the agent there (ulimit -n, LimitNOFILE=).',
  ENFILE: 'That node has too many files open (sysctl fs.file-max).',
  ENOMEM: 'That node has no memory left for it.',
  ENOSPC: "No space is left there for the agent's --data-dir, or for another cgroup.",
  EROFS: "The agent's --data-dir cannot be written there.",
};

/** Null: the agent's own. */
function nameUser({ user }: ProcessSpec, { ownUid }: StartPlace): string | null {
  if (user !== undefined) return `user ${user}`;
  return ownUid === null ? null : `user ${ownUid}, which the node has given it (see --run-as)`;
}

async function explainExec(program: ProcessSpec, errnoCode: string, place: StartPlace): Promise<string> {
  const file = fileOf(program);
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
    const runner = nameUser(program, place);
    if (runner !== null) {
      return `${runner} may not execute it (EACCES). Let that user read and execute it, and search its directories (namei -l ${file}); its file system must not be mounted noexec.`;
    }
    return `it may not be executed (EACCES). Make it executable: chmod +x ${file}; its directories must be searchable and the file system not mounted noexec.`;
  }
  if (errnoCode === 'ENOEXEC') return 'it is not in a format this machine runs (ENOEXEC).';
  if (errnoCode === 'E2BIG') return 'its arguments and environment are longer than the kernel takes (E2BIG).';
  const remedy = REMEDIES[errnoCode];
  return `execve was refused (${errnoCode}).${remedy === undefined ? '' : ` ${remedy}`}`;
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

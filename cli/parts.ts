/**
 * The parts, run in this process: what `morch scheduler`, `morch agent` and (for its children) `morch dev` share, and
 * `morch restore`, which works on a scheduler's files. The one place where the CLI loads the scheduler or the agent, by a
 * path computed at run time, so that a daemon is one process; everything else about them goes over HTTP.
 */
import { homedir } from 'node:os';
import path from 'node:path';
import { type Command, CommanderError } from 'commander';
import { MorchError } from '../contract/errors';
import { isLoopbackHost } from './context';
import { say } from './output';

export type PartName = 'scheduler' | 'agent';

/** Set by `morch dev` for its children: they end when the channel to their parent closes. */
export const PARENT_WATCH_VARIABLE = 'MORCH_PARENT_WATCH';

/**
 * Variables behind the flags of the parts; `dev` keeps its own from its children, which get flags. MORCH_CGROUP is not
 * one of them: it holds for all agents of a machine.
 */
export const PART_VARIABLES = [
  'MORCH_HOST',
  'MORCH_PORT',
  'MORCH_DATA_DIR',
  'MORCH_ADVERTISE',
  'MORCH_SCHEDULER',
  'MORCH_NAME',
  'MORCH_LABEL',
  'MORCH_CPU_MILLIS',
  'MORCH_MEMORY_BYTES',
  'MORCH_MAX_LOG_BYTES',
  'MORCH_ON_EXIT',
  'MORCH_ORPHAN_AFTER',
  'MORCH_ALLOW_NEW_PRIVILEGES',
  'MORCH_RUN_AS',
  'MORCH_USER_RANGE',
  'MORCH_ALLOW_USER',
  'MORCH_ALLOW_ROOT',
  'MORCH_SCRIPT_DIR',
] as const;

/** By the name of its verb: the module below dist/, and its function. */
const RUNNERS = {
  scheduler: ['scheduler/main.js', 'runScheduler'],
  agent: ['agent/main.js', 'runAgent'],
  restore: ['scheduler/restore.js', 'runRestore'],
} as const;

/**
 * Runs a part until it ends, then ends this process: 0; 4 when its options are not valid; else 1. Never returns.
 *
 * @param options checked by the part itself
 */
export async function runPart(part: keyof typeof RUNNERS, options: unknown): Promise<never> {
  // A log reader that went away must not take the daemon with it.
  process.stdout.removeAllListeners('error').on('error', () => undefined);
  endWithParent();
  try {
    const [file, name] = RUNNERS[part];
    const module = require(path.join(__dirname, '..', file)) as Record<string, unknown>;
    const run = module[name] as (options: unknown) => Promise<void>;
    await run(options);
  } catch (error) {
    say(`morch ${part}: ${error instanceof Error ? error.message : String(error)}`);
    if (error instanceof MorchError) for (const e of error.errors ?? []) say(`  ${e.pointer}: ${e.message}`);
    process.exit(error instanceof MorchError && error.code === 'INVALID_INPUT' ? 4 : 1);
  }
  process.exit(0);
}

/**
 * A child of `morch dev` shuts down gracefully when its parent is gone, however that died: the kernel closes the
 * parent's end of the channel even on SIGKILL.
 */
function endWithParent(): void {
  const watched = process.env[PARENT_WATCH_VARIABLE] !== undefined;
  delete process.env[PARENT_WATCH_VARIABLE];
  if (!watched) return;
  if (process.channel === undefined || !process.connected) process.exit(1);
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
  process.channel.unref();
}

/** For help and documentation, the same for every user. */
export function describeDataDir(part: PartName | 'dev'): string {
  return `/var/lib/morch/${part} as root, else ~/.local/share/morch/${part}`;
}

/** As root /var/lib/morch/<part>, else below XDG_DATA_HOME. */
export function defaultDataDir(part: PartName | 'dev', env: NodeJS.ProcessEnv = process.env): string {
  if (process.getuid?.() === 0) return path.join('/var/lib/morch', part);
  const base = env.XDG_DATA_HOME;
  // The XDG specification: a relative path in the variable is to be ignored.
  const folder = base !== undefined && path.isAbsolute(base) ? base : path.join(env.HOME ?? homedir(), '.local/share');
  return path.join(folder, 'morch', part);
}

/** @throws MorchError INVALID_INPUT: without access control whoever reaches the port can run programs */
export function demandLoopback(host: string): void {
  if (isLoopbackHost(host)) return;
  throw new MorchError(
    'INVALID_INPUT',
    `--host ${host} is refused: there is no access control yet, so anyone who reaches the port could run programs. ` +
      'Use a loopback address (127.0.0.1, ::1, localhost).',
  );
}

/** `--address` is for clients; a part given it was meant to get --host or --scheduler. */
export function refuseAddress(command: Command): void {
  if (command.optsWithGlobals<{ address?: string }>().address === undefined) return;
  const message = `morch: ${command.name()} takes no --address; see morch ${command.name()} --help`;
  say(message);
  throw new CommanderError(1, 'morch.address', message);
}

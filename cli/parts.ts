/**
 * The parts, run in this process: what `morch scheduler`, `morch agent` and (for its children) `morch dev` share, and
 * `morch restore` and `morch audit verify`, which work on a scheduler's files. The one place where the CLI loads the scheduler or the agent, by a
 * path computed at run time, so that a daemon is one process; everything else about them goes over HTTP.
 */
import path from 'node:path';
import { type Command, CommanderError } from 'commander';
import { MorchError } from '../contract/errors';
import { say } from './output';
import { type FlagNames, inFlags, tellProblem } from './problems';

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
  'MORCH_AUDIT_DIR',
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
  'MORCH_JOIN_TOKEN',
  'MORCH_JOIN_TOKEN_FILE',
  'MORCH_NO_AUTH',
  'MORCH_ALLOWED_HOST',
  'MORCH_TLS',
  'MORCH_TLS_CERT',
  'MORCH_TLS_KEY',
  'MORCH_TLS_CA',
  'MORCH_TLS_VALIDITY',
  'MORCH_RUN_AS',
  'MORCH_USER_RANGE',
  'MORCH_ALLOW_USER',
  'MORCH_ALLOW_ROOT',
  'MORCH_SCRIPT_DIR',
  'MORCH_SCRIPT_ENV',
] as const;

/** By the name of its verb: the module below dist/, and its function. */
const RUNNERS = {
  scheduler: ['scheduler/main.js', 'runScheduler'],
  agent: ['agent/main.js', 'runAgent'],
  restore: ['scheduler/restore.js', 'runRestore'],
  'audit verify': ['scheduler/audit/verify.js', 'runVerify'],
} as const;

/**
 * Runs a part until it ends, then ends this process: 0; 4 when its options are not valid; else 1. Never returns.
 *
 * @param options checked by the part itself
 * @param names of the flags behind them
 */
export async function runPart(part: keyof typeof RUNNERS, options: unknown, names: FlagNames): Promise<never> {
  // A log reader that went away must not take the daemon with it.
  process.stdout.removeAllListeners('error').on('error', () => undefined);
  endWithParent();
  try {
    const [file, name] = RUNNERS[part];
    const module = require(path.join(__dirname, '..', file)) as Record<string, unknown>;
    const run = module[name] as (options: unknown) => Promise<void>;
    await run(options);
  } catch (cause) {
    const error = inFlags(cause, names);
    if (error instanceof MorchError) tellProblem(`morch ${part}`, error);
    else say(`morch ${part}: ${error instanceof Error ? error.message : String(error)}`);
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

/** `--address` and the like are for clients; a part given one was meant to get --host, --scheduler or another file. */
export function refuseClientFlags(command: Command): void {
  const { address, tokenFile, caFile } = command.optsWithGlobals<Record<string, string | undefined>>();
  const given = Object.entries({ '--address': address, '--token-file': tokenFile, '--ca-file': caFile });
  const flag = given.find(([, value]) => value !== undefined)?.[0];
  if (flag === undefined) return;
  const message = `morch: ${command.name()} takes no ${flag}; see morch ${command.name()} --help`;
  say(message);
  throw new CommanderError(1, 'morch.clientFlag', message);
}

/** `--no-auth`, whose variable, unlike a flag, can say no. @throws MorchError INVALID_INPUT */
export function isAuthOff(flag: boolean, env: NodeJS.ProcessEnv = process.env): boolean {
  const variable = env.MORCH_NO_AUTH ?? '';
  if (!['', '0', '1', 'false', 'true'].includes(variable)) {
    throw new MorchError('INVALID_INPUT', `MORCH_NO_AUTH is "${variable}"; it must be 1 or 0.`);
  }
  return !flag || variable === '1' || variable === 'true';
}

#!/usr/bin/env node
/** The `morch` command: registers every verb, runs the one that was asked for, turns failures into exit codes. */
import { Command, CommanderError } from 'commander';
import { ERRORS, MorchError } from '../contract/errors';
import { VERSION } from '../contract/version';
import { registerAgent } from './commands/agent';
import { registerAudit } from './commands/audit';
import { registerBackup } from './commands/backup';
import { registerBlackBox } from './commands/blackbox';
import { registerCheck } from './commands/check';
import { registerContext } from './commands/context';
import { registerCordon } from './commands/cordon';
import { registerDescribe } from './commands/describe';
import { registerDev } from './commands/dev';
import { registerDrain } from './commands/drain';
import { registerDrill } from './commands/drill';
import { registerEvents } from './commands/events';
import { registerHealth } from './commands/health';
import { registerHistory } from './commands/history';
import { registerLogs } from './commands/logs';
import { registerNodes } from './commands/nodes';
import { registerRecovery } from './commands/recovery';
import { registerRestart } from './commands/restart';
import { registerRestore } from './commands/restore';
import { registerScale } from './commands/scale';
import { registerScheduler } from './commands/scheduler';
import { registerSecret } from './commands/secret';
import { registerStatus } from './commands/status';
import { registerStop } from './commands/stop';
import { registerSubmit } from './commands/submit';
import { registerToken } from './commands/token';
import { registerUncordon } from './commands/uncordon';
import { registerWait } from './commands/wait';
import { registerWorkloads } from './commands/workloads';
import { DEFAULT_ADDRESS } from './context';
import { harmless, say } from './output';
import { tellProblem } from './problems';

const USAGE_EXIT_CODE = ERRORS.INVALID_INPUT.exitCode;

function buildProgram(): Command {
  const program = new Command('morch')
    .description('Runs programs on a fleet of Linux nodes and keeps them running.')
    .version(VERSION, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .option(
      '--address <url>',
      `the scheduler (env: MORCH_ADDRESS; else that of the current context; else ${DEFAULT_ADDRESS})`,
    )
    .option(
      '--token-file <path>',
      'a file with the token to use (env: MORCH_TOKEN, the token itself; else what is found)',
    )
    .option(
      '--ca-file <path>',
      'who has signed the certificate of a scheduler that speaks TLS (env: MORCH_CACERT; else what is found)',
    )
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ outputError: (text, write) => write(harmless(text.replace(/^error: /, 'morch: '))) })
    .showHelpAfterError('(morch --help lists the verbs, morch <verb> --help the flags of one)')
    .exitOverride()
    .addHelpText(
      'after',
      '\nExamples:\n  $ morch dev                      a whole cluster on this machine\n' +
        '  $ morch submit ./job.sh --wait   run a script, end with its exit code\n  $ morch workloads -w             what runs, as it changes\n' +
        '\nExit codes: 0 done, 1 failed, 2 cannot be placed, 3 not found, 4 invalid input, 5 unreachable, 6 not allowed.',
    );

  program.commandsGroup('Parts:');
  for (const register of [registerDev, registerScheduler, registerAgent]) register(program);
  program.commandsGroup('Workloads:');
  for (const register of [
    registerSubmit,
    registerWorkloads,
    registerDescribe,
    registerLogs,
    registerBlackBox,
    registerWait,
    registerStop,
    registerRestart,
    registerScale,
    registerHistory,
  ]) {
    register(program);
  }
  program.commandsGroup('Nodes:');
  for (const register of [registerNodes, registerDrain, registerCordon, registerUncordon]) register(program);
  program.commandsGroup('Health:');
  for (const register of [
    registerStatus,
    registerHealth,
    registerCheck,
    registerRecovery,
    registerDrill,
    registerEvents,
  ]) {
    register(program);
  }
  program.commandsGroup('Access:');
  for (const register of [registerToken, registerContext, registerSecret, registerAudit]) register(program);
  program.commandsGroup('Records:');
  for (const register of [registerBackup, registerRestore]) register(program);
  return program;
}

async function main(): Promise<void> {
  // A reader that has seen enough (`| head`) is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  process.stderr.on('error', () => undefined);

  const program = buildProgram();
  if (process.argv.length <= 2) {
    program.outputHelp();
    return;
  }
  try {
    await program.parseAsync();
  } catch (error) {
    process.exitCode = reportFailure(error);
  }
}

/** Says what went wrong on stderr. @returns the exit code */
function reportFailure(error: unknown): number {
  // Commander has printed its message already; asking for help or the version is no failure.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE_EXIT_CODE;
  if (error instanceof MorchError) {
    tellProblem('morch', error);
    return ERRORS[error.code].exitCode;
  }
  say(`morch: ${error instanceof Error ? (isDefect(error) ? error.stack : error.message) : String(error)}`);
  return 1;
}

function isDefect(error: Error): boolean {
  return error instanceof TypeError || error instanceof ReferenceError || error instanceof RangeError;
}

/** What was printed into a pipe is still on its way: an exit before it has been taken would cut it off. */
function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()));
}

void main()
  .then(() => Promise.all([drained(process.stdout), drained(process.stderr)]))
  .then(() => process.exit());

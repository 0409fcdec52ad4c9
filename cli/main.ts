#!/usr/bin/env node
/** The `morch` command: registers the verbs, runs the one that was asked for, turns failures into exit codes. */
import { Command, CommanderError } from 'commander';
import { ERRORS, MorchError } from '../contract/errors';
import { VERSION } from '../contract/version';
import { DEFAULT_ADDRESS } from './context';
import { harmless, say } from './output';
import { tellProblem } from './problems';

/** A part runs for long: it loads nothing of the other verbs. */
const PARTS: Record<string, () => (program: Command) => void> = {
  agent: () => (require('./commands/agent') as typeof import('./commands/agent')).registerAgent,
  scheduler: () => (require('./commands/scheduler') as typeof import('./commands/scheduler')).registerScheduler,
};

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
    .configureOutput({ outputError: (text, write) => write(harmless(inOurWords(text))) })
    .showHelpAfterError('(morch --help lists the verbs, morch <verb> --help the flags of one)')
    .exitOverride()
    .addHelpText(
      'after',
      '\nExamples:\n  $ morch dev                      a whole cluster on this machine\n' +
        '  $ morch submit ./job.sh --wait   run a script, end with its exit code\n  $ morch workloads -w             what runs, as it changes\n' +
        '\nExit codes: 0 done, 1 failed, 2 cannot be placed, 3 not found, 4 invalid input, 5 unreachable, 6 not allowed.',
    );

  const registerPart = PARTS[process.argv[2] ?? ''];
  if (registerPart !== undefined) registerPart()(program);
  else (require('./verbs') as typeof import('./verbs')).registerVerbs(program);
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

/** @param text as commander puts it */
function inOurWords(text: string): string {
  return text
    .replace(/^error: /, 'morch: ')
    .replace(/command-argument value '(.*)' is invalid for argument '(.*?)'\. It/s, "'$1' cannot be <$2>: it");
}

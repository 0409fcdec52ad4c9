/** Runs the built command, dist/cli/main.js, as the child process that a user's shell would start. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';

export const MAIN = path.join(__dirname, '..', '..', 'dist', 'cli', 'main.js');

export interface Result {
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface Running {
  child: ChildProcessWithoutNullStreams;
  /** What it has printed so far. */
  output: { stdout: string; stderr: string };
  ended: Promise<Result>;
}

interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  stdin?: string | Buffer;
}

export function startMorch(args: readonly string[], { cwd, env = {}, stdin = '' }: RunOptions = {}): Running {
  const { PATH = '' } = process.env;
  const child = spawn(process.execPath, [MAIN, ...args], {
    ...(cwd === undefined ? {} : { cwd }),
    // Nothing of the developer's own configuration.
    env: { PATH, HOME: '/nonexistent', ...env },
  });
  // A command that does not read it may be gone by then.
  child.stdin.on('error', () => undefined).end(stdin);
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text;
  });
  const ended = once(child, 'close').then(([exitCode, signal]) => ({ exitCode, signal, ...output }) as Result);
  return { child, output, ended };
}

export function morch(args: readonly string[], options?: RunOptions): Promise<Result> {
  return startMorch(args, options).ended;
}

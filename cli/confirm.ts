/** Asks before what cannot be taken back. Nobody is asked without a terminal: there `-y` must say it beforehand. */
import { createInterface } from 'node:readline';
import { MorchError } from '../contract/errors';

/**
 * @param yes what `-y` says: do not ask
 * @returns false for any answer but yes, and for Ctrl-C
 * @throws MorchError INVALID_INPUT where nobody can be asked
 */
export function confirm(question: string, yes: boolean): Promise<boolean> {
  if (yes) return Promise.resolve(true);
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new MorchError('INVALID_INPUT', 'There is no terminal to ask on: add -y to go on without being asked.');
  }
  // stdout is for data.
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  return new Promise((resolve) => {
    const done = (answer: boolean) => {
      terminal.close();
      resolve(answer);
    };
    terminal.once('SIGINT', () => {
      process.stderr.write('\n');
      done(false);
    });
    terminal.once('close', () => resolve(false));
    terminal.question(`${question} [y/N] `, (answer) => done(/^y(es)?$/i.test(answer.trim())));
  });
}

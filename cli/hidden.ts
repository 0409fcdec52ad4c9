/** Reads a line from the terminal without showing it. */
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { MorchError } from '../contract/errors';

/** @throws MorchError INVALID_INPUT for Ctrl-C and Ctrl-D */
export function askHidden(question: string): Promise<Buffer> {
  process.stderr.write(question);
  // What is typed is echoed to here, once the terminal itself is told not to.
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: nowhere, terminal: true, historySize: 0 });
  return new Promise((resolve, reject) => {
    let line: string | undefined;
    terminal.once('line', (typed) => {
      line = typed;
      terminal.close();
    });
    terminal.once('SIGINT', () => terminal.close());
    terminal.once('close', () => {
      process.stderr.write('\n');
      if (line === undefined) reject(new MorchError('INVALID_INPUT', 'Nothing was given; nothing was set.'));
      else resolve(Buffer.from(line));
    });
  });
}

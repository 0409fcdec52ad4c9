/** A process that opens a store and writes to it, and is killed at some moment, perhaps while it opens. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { until } from '../../support/until';

interface Options {
  /** Of its numbers. */
  first?: number;
  /** This long after its start, whatever it is at. */
  afterMs?: number;
  /** When it has been told that so many writes are durable. */
  afterWrites?: number;
}

/** @returns numbers of the acknowledged writes; each wrote `a/<number>` and `b/<number>` */
export async function killedWriter(path: string, { first = 0, afterMs, afterWrites }: Options): Promise<number[]> {
  const child = spawn(process.execPath, [join(__dirname, 'writer.cjs'), path, String(first)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
  });
  const numbers = () =>
    printed
      .slice(0, printed.lastIndexOf('\n') + 1)
      .split('\n')
      .slice(0, -1)
      .map(Number);
  if (afterMs !== undefined) await delay(afterMs);
  if (afterWrites !== undefined) {
    await until(() => child.exitCode !== null || numbers().length >= afterWrites, {
      timeoutMs: 20_000,
      what: `${afterWrites} writes are acknowledged`,
    });
  }
  child.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
  if (child.exitCode !== null) throw new Error(`the writer ended by itself with ${child.exitCode}`);
  return numbers();
}

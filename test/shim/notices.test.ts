import { spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { parseShimText, type ShimLine } from '../../agent/shim/record';
import { until } from '../support/until';
import { fill, readNotices, type Shim, useShims } from './shim';

const shims = useShims();

function makeFifo(name: string): string {
  const path = join(shims.directory, name);
  spawnSync('mkfifo', [path]);
  return path;
}

function gone(shim: Shim): Promise<unknown> {
  return shim.recorded('gone');
}

/** Takes what is in a FIFO now. */
function drain(descriptor: number): string {
  const buffer = Buffer.alloc(1 << 20);
  let text = '';
  try {
    for (;;) {
      const length = readSync(descriptor, buffer);
      if (length === 0) return text;
      text += buffer.toString('utf8', 0, length);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    return text;
  }
}

describe('notices', () => {
  test('that nobody reads hold nothing up', async () => {
    const shim = await shims.sh('exit 4', { notices: makeFifo('unread') });
    expect(await shim.ended).toBe(0);
    await gone(shim);
    expect(await shim.recorded('exited')).toMatchObject({ code: 4, durable: true });
  });

  test('need no FIFO', async () => {
    const shim = await shims.sh('exit 4', { notices: join(shims.directory, 'no-such-fifo') });
    expect(await shim.ended).toBe(0);
    await gone(shim);
  });

  test('come when a full FIFO has been read, in their order', async () => {
    const fifo = makeFifo('full');
    const reading = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      fill(fifo);
      const shim = await shims.sh('trap "" TERM; setsid sleep 1000 & exit 6', {
        notices: fifo,
        plan: { stop: { signal: 'SIGTERM', graceMs: 5_000 } },
      });
      await shim.recorded('exited');
      let text = '';
      const lines = (): ShimLine[] => {
        text += drain(reading);
        return parseShimText(text).lines;
      };
      await until(() => lines().length >= 2, { what: 'both have come' });
      expect(lines()).toMatchObject([{ kind: 'started' }, { kind: 'exited', code: 6, durable: true }]);
      shim.stop(0);
      expect(await shim.ended).toBe(0);
    } finally {
      closeSync(reading);
    }
  });

  test('of the start are sent again when asked for, and reach a reader that has come since', async () => {
    const fifo = makeFifo('later');
    const shim = await shims.start(['sleep', '1000'], { notices: fifo });
    const lines: ShimLine[] = [];
    const reader = readNotices(fifo, (line) => lines.push(line));
    try {
      process.kill(shim.pid, 'SIGUSR1');
      // Once or twice: the first try may come only now.
      await until(() => lines.length > 0, { what: 'it has come' });
      expect(lines[0]).toEqual(await shim.recorded('started'));
      shim.stop();
      await until(() => lines.at(-1)?.kind === 'exited', { what: 'the exit has come' });
    } finally {
      reader.destroy();
    }
  });

  test('of the exit are sent again when asked for, as long as something of the tree lives', async () => {
    const shim = await shims.sh('trap "" TERM; setsid sleep 1000 & exit 8');
    await shim.noticed('exited');
    process.kill(shim.pid, 'SIGUSR1');
    await until(() => shim.notices().length === 3, { what: 'it has come again' });
    expect(shim.notices()[2]).toEqual(shim.notices()[1]);
    expect(shim.notices()[2]).toMatchObject({ kind: 'exited', code: 8 });
    shim.stop(0);
    expect(await shim.ended).toBe(0);
  });

  test('reach a FIFO that was made anew', async () => {
    const fifo = makeFifo('renewed');
    const shim = await shims.start(['sleep', '1000'], { notices: fifo });
    rmSync(fifo);
    makeFifo('renewed');
    const lines: ShimLine[] = [];
    const reader = readNotices(fifo, (line) => lines.push(line));
    try {
      shim.stop();
      await until(() => lines.length === 1, { what: 'it has come' });
      expect(lines).toMatchObject([{ kind: 'exited', signal: 'SIGTERM' }]);
    } finally {
      reader.destroy();
    }
  });
});

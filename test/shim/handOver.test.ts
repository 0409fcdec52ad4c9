import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../support/until';
import { isAlive, type Started, useShims } from './shim';

const shims = useShims();

const recordOf = (shim: Started, state: 'open' | 'ended') => join(shim.directory, `run.1.${state}`);

describe('an exit that is handed over', () => {
  test('is told at once, not durable, and the shim leaves without a record of its own when it is acknowledged', async () => {
    const shim = await shims.sh('exit 4', { plan: { handOverMs: 60_000 } });
    expect(await shim.noticed('exited')).toMatchObject({ code: 4, durable: false });
    await shim.noticed('gone');
    expect(isAlive(shim.pid)).toBe(true);
    process.kill(shim.pid, 'SIGUSR2');
    expect(await shim.ended).toBe(0);
    expect(existsSync(recordOf(shim, 'ended'))).toBe(false);
    // For an agent that comes after the one that acknowledged it.
    expect(await shim.recorded('exited')).toMatchObject({ code: 4, durable: true });
  });

  test('is recorded by the shim when nobody acknowledges it in time', async () => {
    const shim = await shims.sh('exit 5', { plan: { handOverMs: 200 } });
    expect(await shim.ended).toBe(0);
    expect(existsSync(recordOf(shim, 'ended'))).toBe(true);
    expect(shim.notices().filter(({ kind }) => kind === 'exited')).toMatchObject([
      { durable: false },
      { durable: true },
    ]);
    expect(shim.record().map(({ kind }) => kind)).toEqual(['shim', 'started', 'exited', 'gone']);
  });

  test('is recorded at once when nobody reads the notices, or there is no FIFO', async () => {
    const unread = join(shims.directory, 'unread');
    spawnSync('mkfifo', [unread]);
    for (const notices of [unread, join(shims.directory, 'none')]) {
      const shim = await shims.sh('exit 6', { notices, plan: { handOverMs: 60_000 } });
      expect(await shim.ended).toBe(0);
      expect(existsSync(recordOf(shim, 'ended'))).toBe(true);
    }
  });

  test('of a main process waits for what it left, acknowledged or not', async () => {
    const shim = await shims.sh('trap "" TERM; setsid sleep 1000 & exit 7', { plan: { handOverMs: 60_000 } });
    expect(await shim.noticed('exited')).toMatchObject({ code: 7, durable: false });
    process.kill(shim.pid, 'SIGUSR2');
    process.kill(shim.pid, 'SIGUSR1');
    await until(() => shim.notices().filter(({ kind }) => kind === 'exited').length === 2, {
      what: 'it is told again',
    });
    expect(isAlive(shim.pid)).toBe(true);
    shim.stop(0);
    expect(await shim.ended).toBe(0);
    expect(existsSync(recordOf(shim, 'ended'))).toBe(false);
  });

  test('of a program that could not be started is not: its failure is recorded at once', async () => {
    const shim = shims.launch(['/no/such/program'], { plan: { handOverMs: 60_000 } });
    expect(await shim.ended).toBe(2);
    expect(existsSync(join(shim.directory, 'run.1.ended'))).toBe(true);
  });
});

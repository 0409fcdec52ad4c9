import { statSync } from 'node:fs';

import { signalName } from '../../agent/native/signals';
import { isAlive, isEmulated, useShims } from './shim';

const shims = useShims();

/** Those whose default is not to end a process, and those that libc keeps for itself. */
const HARMLESS = new Set(['SIGCHLD', 'SIGCONT', 'SIGSTOP', 'SIGTSTP', 'SIGTTIN', 'SIGTTOU', 'SIGURG', 'SIGWINCH']);
const LIBC_OWN = new Set([32, 33]);
/** An emulator shifts those above. */
const LAST_TOLD = isEmulated ? 31 : 64;
const DEADLY = Array.from({ length: LAST_TOLD }, (_, index) => index + 1).filter(
  (number) => !HARMLESS.has(signalName(number)) && !LIBC_OWN.has(number),
);

/** A few at a time: each shim syncs a file and a directory. */
async function inBatches<T>(items: T[], run: (item: T) => Promise<void>): Promise<void> {
  const BATCH = 16;
  for (let at = 0; at < items.length; at += BATCH) await Promise.all(items.slice(at, at + BATCH).map(run));
}

describe('an exit', () => {
  test('is recorded, told and followed by the end of the shim', async () => {
    const beforeMs = Date.now();
    const shim = await shims.sh('echo out; echo err >&2; exit 42');
    expect(await shim.noticed('exited')).toMatchObject({ code: 42, signal: null, durable: true });
    expect(await shim.ended).toBe(0);

    const record = shim.record();
    expect(record.map(({ kind }) => kind)).toEqual(['shim', 'started', 'exited', 'gone']);
    expect(new Set(record.map(({ nonce }) => nonce))).toEqual(new Set([shim.nonce]));
    expect(shim.notices().map(({ kind }) => kind)).toEqual(['started', 'exited']);
    expect(record[0]).toMatchObject({ shimPid: shim.pid });
    expect(record[1]).toMatchObject({ shimPid: shim.pid, pid: shim.main });
    const { startedAtMs } = await shim.recorded('started');
    const { exitedAtMs } = await shim.recorded('exited');
    const { atMs } = await shim.recorded('gone');
    const times = [beforeMs, startedAtMs, exitedAtMs, atMs, Date.now()];
    expect(times).toEqual([...times].sort((a, b) => a - b));

    expect(shim.output().toString()).toBe('out\n');
    expect(shim.output('stderr').toString()).toBe('err\n');
  });

  test('with every code from 0 to 255 is told as that code', async () => {
    const codes = Array.from({ length: 256 }, (_, code) => code);
    await inBatches(codes, async (code) => {
      const shim = shims.launch(['/bin/sh', '-c', `exit ${code}`]);
      expect(await shim.ended).toBe(0);
      expect(await shim.recorded('exited')).toMatchObject({ code, signal: null, oomKilled: false });
    });
  }, 120_000);

  test('by every deadly signal is told as that signal', async () => {
    await inBatches(DEADLY, async (number) => {
      const noCore = { rlimits: [{ resource: 'core' as const, value: 0 }] };
      const shim = shims.launch(['/bin/sh', '-c', `kill -${number} $$`], { plan: noCore });
      expect(await shim.ended).toBe(0);
      expect(await shim.recorded('exited')).toMatchObject({ code: null, signal: signalName(number) });
    });
  }, 60_000);

  test('carries what the main process used, and not what the shim did', async () => {
    const burn = 'while (process.cpuUsage().user < 200_000);';
    const shim = await shims.start([process.execPath, '-e', burn]);
    const exit = await shim.recorded('exited');
    expect(exit.userMs + exit.systemMs).toBeGreaterThanOrEqual(200);
    expect(exit.maxRssBytes).toBeGreaterThan(10 << 20);

    const idle = await shims.start(['/bin/true']);
    const { maxRssBytes, userMs } = await idle.recorded('exited');
    expect(maxRssBytes).toBeGreaterThan(0);
    expect(maxRssBytes).toBeLessThan(8 << 20);
    expect(userMs).toBeLessThan(100);
  });

  test('of a process that stopped itself is told once it goes on', async () => {
    const shim = await shims.sh('kill -STOP $$; exit 3');
    process.kill(shim.main, 'SIGCONT');
    // The signal may come before the stop does.
    const again = setInterval(() => isAlive(shim.main) && process.kill(shim.main, 'SIGCONT'), 20);
    try {
      expect(await shim.recorded('exited')).toMatchObject({ code: 3 });
    } finally {
      clearInterval(again);
    }
  });

  test('makes the state file readable to its owner only', async () => {
    const shim = await shims.start(['/bin/true']);
    await shim.ended;
    expect(statSync(`${shim.directory}/run.1.ended`).mode & 0o777).toBe(0o600);
  });
});

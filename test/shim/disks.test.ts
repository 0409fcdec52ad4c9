import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { until } from '../support/until';
import { logNumbers, type Shim, testAsRoot, useShims } from './shim';

const shims = useShims();

function run(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

/** Runs `use` with a small file system of its own. */
async function withDisk(kib: number, use: (disk: string) => Promise<void>): Promise<void> {
  const disk = join(shims.directory, `disk-${readdirSync(shims.directory).length}`);
  mkdirSync(disk);
  run('mount', '-t', 'tmpfs', '-o', `size=${kib}k`, 'morch-shim-test', disk);
  try {
    await use(disk);
  } finally {
    run('umount', '--lazy', disk);
  }
}

function remount(disk: string, mode: 'ro' | 'rw'): void {
  run('mount', '-o', `remount,${mode}`, disk);
}

/** Leaves no byte on it. */
function fillDisk(disk: string): string {
  const path = join(disk, 'filling');
  try {
    for (;;) writeFileSync(path, Buffer.alloc(4096), { flag: 'a' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
  return path;
}

function logsOn(directory: string, files = 10) {
  return { directory, firstStdout: 1, firstStderr: 1, maxBytes: 10 << 20, files };
}

function droppedInIndex(shim: Shim): number {
  const { directory } = shim.plan.logs;
  let dropped = 0;
  for (const number of logNumbers(directory, 'stdout', 'idx')) {
    const bytes = readFileSync(join(directory, `stdout.${number}.idx`));
    for (let at = 16; at < bytes.length; at += 32) dropped += Number(bytes.readBigUInt64LE(at));
  }
  return dropped;
}

describe('a log disk', () => {
  testAsRoot('that is full never holds the workload up, and what it takes no more is counted', async () => {
    await withDisk(256, async (disk) => {
      const shim = await shims.sh('head -c 10000000 /dev/zero; exit 5', { plan: { logs: logsOn(disk) } });
      expect(await shim.ended).toBe(0);
      const exit = await shim.recorded('exited');
      expect(exit.code).toBe(5);
      expect(exit.droppedBytes).toBeGreaterThan(9_000_000);
      expect(shim.output().length + exit.droppedBytes).toBe(10_000_000);
    });
  });

  testAsRoot('that has room again goes on where it stopped, and its index tells what is missing', async () => {
    await withDisk(256, async (disk) => {
      const shim = await shims.sh(
        'echo begin; until [ -e full ]; do sleep 0.02; done; head -c 500000 /dev/zero; echo; touch dropped; until [ -e free ]; do sleep 0.02; done; echo end',
        { plan: { logs: logsOn(disk), cwd: shims.directory } },
      );
      await until(() => shim.output().toString() === 'begin\n', { what: 'it has written' });
      const filling = fillDisk(disk);
      writeFileSync(join(shims.directory, 'full'), '');
      await until(() => existsSync(join(shims.directory, 'dropped')), { what: 'it has written more' });
      rmSync(filling);
      writeFileSync(join(shims.directory, 'free'), '');
      expect(await shim.ended).toBe(0);
      const { droppedBytes } = await shim.recorded('exited');
      const output = shim.output();
      expect(output.subarray(-4).toString()).toBe('end\n');
      expect(output.length + droppedBytes).toBe('begin\nend\n'.length + 500_001);
      expect(droppedInIndex(shim)).toBe(droppedBytes);
    });
  });

  testAsRoot('that is read-only drops all, until it can be written', async () => {
    await withDisk(256, async (disk) => {
      remount(disk, 'ro');
      const shim = await shims.sh('echo lost; until [ -e writable ]; do sleep 0.02; done; echo kept', {
        plan: { logs: logsOn(disk), cwd: shims.directory },
      });
      await until(() => shim.process.exitCode === null, { what: 'it lives' });
      remount(disk, 'rw');
      writeFileSync(join(shims.directory, 'writable'), '');
      expect(await shim.ended).toBe(0);
      const { code, droppedBytes } = await shim.recorded('exited');
      expect(code).toBe(0);
      // The first line may have waited in the pipe until the disk could be written.
      expect(['kept\n', 'lost\nkept\n']).toContain(shim.output().toString());
      expect(shim.output().length + droppedBytes).toBe('lost\nkept\n'.length);
    });
  });

  test('that is not there drops all', async () => {
    const shim = await shims.sh('echo lost; exit 3', {
      plan: { logs: logsOn(join(shims.directory, 'nowhere', 'at-all')) },
    });
    expect(await shim.ended).toBe(0);
    expect(await shim.recorded('exited')).toMatchObject({ code: 3, droppedBytes: 5 });
  });

  testAsRoot('that is full is given room by removing the oldest file', async () => {
    await withDisk(1024, async (disk) => {
      const logs = { ...logsOn(disk, 3), maxBytes: 256 << 10 };
      const shim = await shims.sh('yes 0123456789abcde | head -c 8000000', { plan: { logs } });
      expect(await shim.ended).toBe(0);
      expect(await shim.recorded('exited')).toMatchObject({ droppedBytes: 0 });
      expect(logNumbers(disk, 'stdout')).toHaveLength(3);
    });
  });
});

describe('a state disk', () => {
  testAsRoot('that fills up meanwhile still takes the record', async () => {
    await withDisk(64, async (disk) => {
      const shim = await shims.start(['sleep', '1000'], { plan: { stateDirectory: disk } });
      fillDisk(disk);
      shim.stop();
      expect(await shim.ended).toBe(0);
      expect(await shim.noticed('exited')).toMatchObject({ signal: 'SIGTERM', durable: true });
      expect(shim.record().map(({ kind }) => kind)).toEqual(['shim', 'started', 'exited', 'gone']);
    });
  });

  testAsRoot('that is full at the start fails it, and nothing is started', async () => {
    await withDisk(64, async (disk) => {
      fillDisk(disk);
      const touched = join(shims.directory, 'touched');
      const shim = shims.launch(['touch', touched], { plan: { stateDirectory: disk } });
      expect(await shim.ended).toBe(2);
      expect(await shim.noticed('failed')).toMatchObject({ errnoCode: 'ENOSPC' });
      expect(existsSync(touched)).toBe(false);
      expect(readdirSync(disk)).toEqual(['filling']);
    });
  });

  testAsRoot('that is read-only at the start fails it', async () => {
    await withDisk(64, async (disk) => {
      remount(disk, 'ro');
      const shim = shims.launch(['true'], { plan: { stateDirectory: disk } });
      expect(await shim.ended).toBe(2);
      expect(await shim.noticed('failed')).toMatchObject({ step: 'open', errnoCode: 'EROFS' });
    });
  });

  testAsRoot('that is read-only at the exit: it is told at once, and recorded when it can be', async () => {
    await withDisk(64, async (disk) => {
      const shim = await shims.start(['sleep', '1000'], { plan: { stateDirectory: disk } });
      remount(disk, 'ro');
      shim.stop();
      const first = await shim.noticed('exited');
      expect(first).toMatchObject({ signal: 'SIGTERM', durable: false });
      expect(shim.record().map(({ kind }) => kind)).toEqual(['shim', 'started']);
      await shim.noticed('gone');
      expect(shim.process.exitCode).toBe(null);
      remount(disk, 'rw');
      expect(await shim.ended).toBe(0);
      const told = shim.notices().filter(({ kind }) => kind === 'exited');
      expect(told).toEqual([first, first, { ...first, durable: true }]);
      expect(await shim.recorded('exited')).toEqual(told[2]);
      await shim.recorded('gone');
    });
  });

  testAsRoot('that stays read-only: the shim goes when the exit is acknowledged', async () => {
    await withDisk(64, async (disk) => {
      const shim = await shims.start(['sleep', '1000'], { plan: { stateDirectory: disk } });
      remount(disk, 'ro');
      shim.stop();
      await shim.noticed('gone');
      process.kill(shim.pid, 'SIGUSR1');
      await until(() => shim.notices().filter(({ kind }) => kind === 'gone').length === 2, { what: 'told again' });
      process.kill(shim.pid, 'SIGUSR2');
      expect(await shim.ended).toBe(0);
      expect(shim.record().map(({ kind }) => kind)).toEqual(['shim', 'started']);
    });
  });
});

describe('a state directory', () => {
  test('that has been deleted: the exit is told, and the shim goes when it is acknowledged', async () => {
    const stateDirectory = join(shims.directory, 'deleted');
    mkdirSync(stateDirectory);
    const shim = await shims.start(['sleep', '1000'], { plan: { stateDirectory } });
    rmSync(stateDirectory, { recursive: true });
    shim.stop();
    expect(await shim.noticed('exited')).toMatchObject({ signal: 'SIGTERM', durable: false });
    expect(shim.process.exitCode).toBe(null);
    process.kill(shim.pid, 'SIGUSR2');
    expect(await shim.ended).toBe(0);
    expect(existsSync(stateDirectory)).toBe(false);
  });

  test('that has been moved takes the record where it is', async () => {
    const stateDirectory = join(shims.directory, 'from');
    const moved = join(shims.directory, 'to');
    mkdirSync(stateDirectory);
    const shim = await shims.start(['sleep', '1000'], { plan: { stateDirectory } });
    renameSync(stateDirectory, moved);
    shim.stop();
    expect(await shim.ended).toBe(0);
    expect(readdirSync(moved)).toEqual(['run.1.ended']);
  });

  test('has the room of the record taken from the start', async () => {
    const shim = await shims.start(['sleep', '1000']);
    const { blocks } = statSync(join(shim.directory, 'run.1.open'));
    expect(blocks * 512).toBeGreaterThanOrEqual(4096);
    // An acknowledgement before there is anything to acknowledge means nothing.
    process.kill(shim.pid, 'SIGUSR2');
    shim.stop();
    expect(await shim.ended).toBe(0);
    expect(shim.record().map(({ kind }) => kind)).toEqual(['shim', 'started', 'exited', 'gone']);
  });
});

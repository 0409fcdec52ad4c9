/** How an agent finds again what an earlier one has started: by nonce in the environment, by the shim's command line. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdirSync, rmSync } from 'node:fs';

import { until } from '../support/until';
import { useWorkloads, type Workload } from './workloads';

const workloads = useWorkloads();
const { native, directory } = workloads;

async function end(...ended: Workload[]): Promise<void> {
  for (const { pid } of ended) process.kill(-pid, 'SIGKILL');
  await Promise.all(ended.map(({ exit }) => exit));
}

describe('findByNonce', () => {
  test('finds every process that inherited the environment, and only those', async () => {
    const [a, b, c] = await Promise.all(
      ['nonce-a', 'nonce-b', 'nonce-b-longer'].map((nonce) =>
        workloads.sh(`exec env -i PATH=/bin MORCH_NONCE=${nonce} LAST=1 sh -c 'sleep 60 & echo $!; wait'`),
      ),
    );
    const grandchild = Number(await until(() => a!.stdout().trim(), { what: 'the grandchild runs' }));
    await until(() => b!.stdout() !== '' && c!.stdout() !== '', { what: 'all have the environment' });
    // Between fork and exec the grandchild shows its parent's environment too, so it is found either way.
    const found = await native.findByNonce(['nonce-a', 'nonce-c', 'nonce']);
    expect(new Set(found.map(({ pid }) => pid))).toEqual(new Set([a!.pid, grandchild]));
    expect(found).toContainEqual({ pid: a!.pid, startTicks: a!.startTicks, nonce: 'nonce-a' });
    expect((await native.findByNonce(['nonce-b'])).map(({ pid }) => pid)).toContain(b!.pid);
    expect((await native.findByNonce(['nonce-b'])).map(({ pid }) => pid)).not.toContain(c!.pid);
    expect(await native.findByNonce([])).toEqual([]);
    await end(a!, b!, c!);
  });

  test('does not find a shim, which has the nonce in its arguments only', async () => {
    const program = workloads.compile('pause', 'morch-shim-nonce');
    const shim = await workloads.start(['morch-shim', directory, 'u.0.1.1', 'nonce-shim'], { file: program });
    expect(await native.findByNonce(['nonce-shim', ''])).toEqual([]);
    await end(shim);
  });
});

describe('findShims', () => {
  const data = () => `${directory}/data`;
  const start = (file: string, ...argv: string[]) => workloads.start(argv, { file });

  test('finds the shims of this data directory with their keys and nonces, and nothing else', async () => {
    const program = workloads.compile('pause', 'morch-shim');
    const other = workloads.compile('pause', 'not-a-shim');
    const shims = [
      await start(program, 'morch-shim', data(), '0f0e.0.1.1', 'nonce-1'),
      await start(program, 'morch-shim', data(), '0f0e.1.2.10', 'nonce-2'),
    ];
    const strangers = [
      await start(other, 'morch-shim', data(), 'k', 'n'),
      await start(program, 'morch-shimmer', data(), 'k', 'n'),
      await start(program, program, data(), 'k', 'n'),
      await start(program, 'morch-shim', `${data()}/`, 'k', 'n'),
      await start(program, 'morch-shim', `${data()}2`, 'k', 'n'),
      await start(program, 'morch-shim', data(), 'k'),
      await start(program, 'morch-shim', data(), 'k', 'n', 'more'),
      await start(program, 'morch-shim', data(), 'k', 'n', ''),
      await start('/bin/sleep', 'morch-shim', '60'),
    ];
    const expected = shims.map(({ pid, startTicks }, index) => ({
      pid,
      startTicks,
      key: ['0f0e.0.1.1', '0f0e.1.2.10'][index],
      nonce: `nonce-${index + 1}`,
    }));
    const found = await native.findShims(data());
    expect(found).toHaveLength(2);
    expect(found).toEqual(expect.arrayContaining(expected));
    expect(await native.findShims(directory)).toEqual([]);
    expect(await native.findShims('')).toEqual([]);
    await end(...shims, ...strangers.filter(({ pid }) => native.startTicksOf(pid) !== null));
    await Promise.all(strangers.map(({ exit }) => exit));
    expect(await native.findShims(data())).toEqual([]);
  });

  test('finds one whose program was replaced, as an upgrade does', async () => {
    const program = workloads.compile('pause', 'morch-shim-1.2.3');
    const shim = await start(program, 'morch-shim', data(), 'a.0.1.1', 'nonce');
    rmSync(program);
    expect(await native.findShims(data())).toEqual([
      { pid: shim.pid, startTicks: shim.startTicks, key: 'a.0.1.1', nonce: 'nonce' },
    ]);
    await end(shim);
  });

  const asOther = process.getuid!() === 0 ? test : test.skip;
  if (process.getuid!() !== 0) console.log('skipped: a shim of another user can be started by root only');
  asOther('does not find the shim of another user', async () => {
    mkdirSync(`${directory}/public`);
    const program = `${directory}/public/morch-shim`;
    copyFileSync(workloads.compile('pause'), program);
    for (const path of [directory, `${directory}/public`, program]) chmodSync(path, 0o755);
    const child = spawn(program, [data(), 'k', 'n'], {
      argv0: 'morch-shim',
      uid: 65_534,
      gid: 65_534,
      stdio: 'ignore',
    });
    await once(child, 'spawn');
    expect(await native.findShims(data())).toEqual([]);
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  });
});

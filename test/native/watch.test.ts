import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { until } from '../support/until';
import { readProcess, useWorkloads, type Workload, zombies } from './workloads';

const workloads = useWorkloads();
const { native } = workloads;
const SIGKILL = native.signalNumber('SIGKILL')!;

/** A process whose parent lives and is not this one. */
async function grandchild(): Promise<{ parent: Workload; pid: number; startTicks: number }> {
  const parent = await workloads.sh('sleep 60 & echo $!; wait');
  const pid = Number(await until(() => parent.stdout().trim(), { what: 'the grandchild runs' }));
  return { parent, pid, startTicks: native.startTicksOf(pid)! };
}

describe('watch', () => {
  test('tells the end of a process that is no child, without code and signal', async () => {
    const { parent, pid, startTicks } = await grandchild();
    const handle = native.watch(pid, startTicks)!;
    const exit = workloads.exitOf(handle);
    const live = native.liveCount();
    expect(native.signal(handle, SIGKILL)).toBe(true);
    const beforeMs = Date.now() - 1_000;
    const { atMs, ...rest } = await exit;
    expect(rest).toEqual({ handle, pid, code: null, signal: null });
    expect(atMs).toBeGreaterThan(beforeMs);
    expect(native.liveCount()).toBeLessThan(live);
    await parent.exit;
    expect(native.signal(handle, SIGKILL)).toBe(false);
  });

  test('refuses what is gone, what has another start time, and what is no process', async () => {
    const { parent, pid, startTicks } = await grandchild();
    const live = native.liveCount();
    for (const ticks of [startTicks + 1, startTicks - 1, 0, -1, Number.NaN])
      expect(native.watch(pid, ticks)).toBeNull();
    native.signalProcess(pid, startTicks, SIGKILL);
    await parent.exit;
    expect(native.watch(pid, startTicks)).toBeNull();
    for (const group of [0, -1]) {
      expect(() => native.watch(group, 0)).toThrow(expect.objectContaining({ name: 'NativeError', code: 'EINVAL' }));
    }
    expect(native.liveCount()).toBe(live - 1);
  });

  test('tells the end of a zombie at once', async () => {
    const parent = await workloads.sh('sleep 60 & echo $!; kill -STOP $$');
    const pid = Number(await until(() => parent.stdout().trim(), { what: 'the grandchild runs' }));
    const startTicks = native.startTicksOf(pid)!;
    process.kill(pid, 'SIGKILL');
    await until(() => readProcess(pid)?.state === 'Z', { what: 'its stopped parent leaves a zombie' });
    const exit = workloads.exitOf(native.watch(pid, startTicks)!);
    expect(await exit).toMatchObject({ pid, code: null, signal: null });
    native.signal(parent.handle, SIGKILL);
    await parent.exit;
  });

  test('reaps, and tells signal and code of, a process that has been adopted', async () => {
    for (const [script, end] of [
      ['exec sleep 60', { code: null, signal: 'SIGKILL' }],
      ["trap 'exit 7' USR1; echo trapped; while :; do sleep 0.01; done", { code: 7, signal: null }],
    ] as const) {
      const parent = await workloads.sh(`setsid sh -c 'echo $$; ${script.replaceAll("'", '"')}' & exit 0`);
      await parent.exit;
      await until(() => /^\d+\n/.test(parent.stdout()), { what: 'the daemon prints its pid' });
      const pid = Number(parent.stdout().split('\n')[0]);
      await until(() => readProcess(pid)?.parent === process.pid, { what: 'the daemon is adopted' });
      const handle = native.watch(pid, native.startTicksOf(pid)!)!;
      const exit = workloads.exitOf(handle);
      if (end.code === 7) await until(() => parent.stdout().includes('trapped'), { what: 'the trap is set' });
      native.signal(handle, end.code === 7 ? native.signalNumber('SIGUSR1')! : SIGKILL);
      expect(await exit).toMatchObject({ pid, ...end });
      expect(readProcess(pid)).toBeNull();
    }
  });

  test('goes on when the process becomes a child later: then it is reaped like one', async () => {
    const parent = await workloads.sh('setsid sleep 60 & echo $!; wait');
    const pid = Number(await until(() => parent.stdout().trim(), { what: 'the grandchild runs' }));
    await until(() => readProcess(pid)?.session === pid, { what: 'it has left the session' });
    const handle = native.watch(pid, native.startTicksOf(pid)!)!;
    const exit = workloads.exitOf(handle);
    native.signal(parent.handle, SIGKILL);
    await parent.exit;
    await until(() => readProcess(pid)?.parent === process.pid, { what: 'it is adopted' });
    native.signal(handle, SIGKILL);
    expect(await exit).toMatchObject({ pid, code: null, signal: 'SIGKILL' });
    await until(() => zombies().length === 0, { what: 'nothing is left' });
  });

  test('gives what is watched already its old handle', async () => {
    const workload = await workloads.start(['/bin/sleep', '60']);
    const live = native.liveCount();
    expect(native.watch(workload.pid, workload.startTicks)).toBe(workload.handle);
    expect(native.liveCount()).toBe(live);
    native.signal(workload.handle, SIGKILL);
    expect(await workload.exit).toMatchObject({ handle: workload.handle, signal: 'SIGKILL' });
  });

  test('works for a hundred processes of another parent that end together', async () => {
    const child = spawn('/bin/sh', ['-c', 'for i in $(seq 100); do sleep 60 & echo $!; done; wait'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const closed = once(child, 'close');
    let printed = '';
    child.stdout.on('data', (chunk: Buffer) => {
      printed += chunk.toString();
    });
    const pids = await until(
      () => {
        const lines = printed.split('\n').slice(0, -1);
        return lines.length === 100 && lines.map(Number);
      },
      { what: 'all have printed their pids' },
    );
    const handles = pids.map((pid) => native.watch(pid, native.startTicksOf(pid)!)!);
    const exits = handles.map((handle) => workloads.exitOf(handle));
    for (const handle of handles) expect(native.signal(handle, SIGKILL)).toBe(true);
    for (const [index, exit] of (await Promise.all(exits)).entries()) {
      expect(exit).toMatchObject({ handle: handles[index], pid: pids[index], code: null, signal: null });
    }
    await closed;
  });
});

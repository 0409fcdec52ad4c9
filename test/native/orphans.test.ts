import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { until } from '../support/until';
import { readProcess, useWorkloads, zombies } from './workloads';

const workloads = useWorkloads();
const { native } = workloads;

/** A daemon: forks, leaves the session, prints its pid, and outlives its parent by `seconds`. */
const daemonize = (seconds: number) => `setsid sh -c 'echo $$; exec sleep ${seconds}' & exit 0`;

describe('orphans', () => {
  test('are adopted, and reaped within a second of their end', async () => {
    const workload = await workloads.sh(daemonize(60));
    await workload.exit;
    const pid = Number(await until(() => workload.stdout().trim(), { what: 'the daemon prints its pid' }));
    await until(() => readProcess(pid)?.parent === process.pid, { what: 'the daemon is adopted' });
    process.kill(pid, 'SIGKILL');
    await until(() => readProcess(pid) === null, { timeoutMs: 1_000, what: 'the daemon is reaped' });
  });

  test('are adopted from a subreaper that was killed, whatever their session', async () => {
    const output = `${workloads.directory}/tree`;
    const shim = await workloads.start([workloads.compile('stand_in_shim')], {
      input: Buffer.from(`exec >${output}; echo $$; sleep 60 & echo $!; setsid sh -c 'echo $$; exec sleep 60' & wait`),
    });
    const reader = await workloads.sh(`until [ "$(wc -l <${output})" = 3 ]; do sleep 0.01; done; cat ${output}`);
    expect((await reader.exit).code).toBe(0);
    const pids = reader.stdout().trim().split('\n').map(Number);
    native.signal(shim.handle, 9);
    expect(await shim.exit).toMatchObject({ signal: 'SIGKILL' });
    await until(() => readProcess(pids[0]!)?.parent === process.pid, { what: 'the main process is adopted' });
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await until(() => pids.every((pid) => readProcess(pid) === null), { timeoutMs: 1_000, what: 'all are reaped' });
  });

  test('are reaped also when they end in crowds', async () => {
    const running = await Promise.all(Array.from({ length: 50 }, () => workloads.sh(daemonize(0.05))));
    await Promise.all(running.map(({ exit }) => exit));
    const pids = await until(
      () => {
        const printed = running.map((workload) => Number(workload.stdout().trim()));
        return printed.every((pid) => pid > 0) && printed;
      },
      { what: 'all daemons have printed their pids' },
    );
    await until(() => pids.every((pid) => readProcess(pid) === null), { what: 'all daemons are reaped' });
    expect(zombies()).toEqual([]);
  });

  test.each([false, true])("leave the exits of Node's own children to Node (detached: %s)", async (detached) => {
    const keeper = await workloads.start(['/bin/sleep', '60']);
    const children = Array.from({ length: 5 }, (_, index) =>
      spawn('/bin/sh', ['-c', `sleep 0.1; exit ${index}`], { stdio: 'ignore', detached }),
    );
    const codes = await Promise.all(children.map(async (child) => (await once(child, 'exit'))[0] as number));
    expect(codes).toEqual(children.map((_, index) => index));
    native.signal(keeper.handle, 9);
    await keeper.exit;
  });

  test("leave detached children of Node's alone while the event loop is stalled", async () => {
    const children = Array.from({ length: 5 }, () => spawn('true', { stdio: 'ignore', detached: true }));
    const exits = Promise.all(children.map((child) => once(child, 'exit')));
    await null;
    // The stall is the subject here, not a wait for something: long enough for many orphan checks.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500);
    expect((await exits).map(([code]) => code)).toEqual([0, 0, 0, 0, 0]);
  });
});

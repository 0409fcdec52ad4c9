import { useWorkloads, zombies } from './workloads';

const workloads = useWorkloads();
const { native } = workloads;

describe('exit of a child', () => {
  test.each([0, 1, 2, 7, 42, 126, 127, 128, 137, 254, 255])('reports exit code %i', async (code) => {
    const workload = await workloads.sh(`exit ${code}`);
    expect(await workload.exit).toMatchObject({ handle: workload.handle, pid: workload.pid, code, signal: null });
  });

  test.each(['SIGTERM', 'SIGKILL', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGABRT', 'SIGRTMIN+3'])(
    'reports the name of %s that killed it',
    async (signal) => {
      const workload = await workloads.start(['/bin/sleep', '60']);
      expect(native.signal(workload.handle, native.signalNumber(signal)!)).toBe(true);
      expect(await workload.exit).toMatchObject({ code: null, signal });
    },
  );

  test('reports a crash as SIGSEGV', async () => {
    const workload = await workloads.sh('ulimit -c 0; kill -SEGV $$');
    expect(await workload.exit).toMatchObject({ code: null, signal: 'SIGSEGV' });
  });

  test('carries the time of reaping', async () => {
    const beforeMs = Date.now();
    const { atMs } = await (await workloads.start(['/bin/true'])).exit;
    expect(atMs).toBeGreaterThanOrEqual(beforeMs);
    expect(atMs).toBeLessThanOrEqual(Date.now());
  });

  test('leaves no zombie once it was reported', async () => {
    const workload = await workloads.start(['/bin/true']);
    await workload.exit;
    expect(zombies()).toEqual([]);
  });
});

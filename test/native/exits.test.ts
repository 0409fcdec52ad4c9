import { useWorkloads, zombies } from './workloads';

const workloads = useWorkloads();
const { native } = workloads;

describe('exit of a workload', () => {
  test.each([0, 1, 2, 7, 42, 126, 127, 128, 137, 254, 255])('reports exit code %i', async (code) => {
    const workload = await workloads.sh(`exit ${code}`);
    expect(await workload.exit).toMatchObject({ handle: workload.handle, pid: workload.pid, code, signal: null });
  });

  test.each(['SIGTERM', 'SIGKILL', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGABRT', 'SIGRTMIN+3'])(
    'reports the name of %s that killed it',
    async (signal) => {
      const workload = await workloads.start(['sleep', '60']);
      expect(native.signalGroup(workload.handle, native.signalNumber(signal)!)).toBe(true);
      expect(await workload.exit).toMatchObject({ code: null, signal });
    },
  );

  test('reports a crash as SIGSEGV', async () => {
    const workload = await workloads.sh('ulimit -c 0; kill -SEGV $$');
    expect(await workload.exit).toMatchObject({ code: null, signal: 'SIGSEGV' });
  });

  test('carries the time of reaping and the CPU time used', async () => {
    const beforeMs = Date.now();
    const workload = await workloads.sh('i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done');
    const exit = await workload.exit;
    expect(exit.userMs).toBeGreaterThan(10);
    expect(exit.systemMs).toBeGreaterThanOrEqual(0);
    expect(exit.atMs).toBeGreaterThanOrEqual(beforeMs);
    expect(exit.atMs).toBeLessThanOrEqual(Date.now());
  });

  test('carries the peak memory of a workload larger than the agent, and never the memory of the agent', async () => {
    // Above the peak that this process ever had, which is what the kernel hands on.
    const bytes = process.resourceUsage().maxRSS * 1024 + 100e6;
    const large = await workloads.start([process.execPath, '-e', `Buffer.alloc(${bytes}, 1)`]);
    expect((await large.exit).maxRssBytes).toBeGreaterThan(bytes);
    const small = await workloads.start(['true']);
    expect((await small.exit).maxRssBytes).toBeLessThan(process.resourceUsage().maxRSS * 512);
  });

  test('leaves no zombie once it was reported', async () => {
    const workload = await workloads.start(['true']);
    await workload.exit;
    expect(zombies()).toEqual([]);
  });
});

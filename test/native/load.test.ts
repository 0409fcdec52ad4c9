import { closeSync, openSync } from 'node:fs';

import { hasOnlyDescriptors, hasOnlyItsDescriptors, openDescriptors, useWorkloads, zombies } from './workloads';

const workloads = useWorkloads();
const { native } = workloads;

describe('many starts at once', () => {
  test('500 concurrent starts all run, all end, and leave neither zombies nor descriptors', async () => {
    await (await workloads.start(['/bin/true'])).exit;
    const before = openDescriptors().length;
    const running = await Promise.all(
      Array.from({ length: 500 }, (_, index) => workloads.start(['/bin/sh', '-c', `exit ${index % 200}`])),
    );
    const exits = await Promise.all(running.map(({ exit }) => exit));
    expect(exits.map(({ code }) => code)).toEqual(running.map((_, index) => index % 200));
    expect(new Set(running.map(({ handle }) => handle)).size).toBe(500);
    expect(native.liveCount()).toBe(0);
    expect(zombies()).toEqual([]);
    await hasOnlyDescriptors(before);
  });

  test('failing and succeeding starts may be mixed', async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const command = index % 2 === 0 ? '/bin/true' : '/no/such/file';
        return workloads.start([command]).then(
          async ({ exit }) => (await exit).code,
          (error: { code: string }) => error.code,
        );
      }),
    );
    expect(outcomes).toEqual(outcomes.map((_, index) => (index % 2 === 0 ? 0 : 'ENOENT')));
    expect(zombies()).toEqual([]);
  });

  test('starts do not block the event loop', async () => {
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    }, 1);
    const running = await Promise.all(Array.from({ length: 300 }, () => workloads.start(['/bin/sleep', '0.2'])));
    clearInterval(timer);
    // Made on this thread, all of them would be one turn.
    expect(turns).toBeGreaterThan(5);
    await Promise.all(running.map(({ exit }) => exit));
  });

  test('an agent with 5,000 open descriptors starts programs that see four', async () => {
    const descriptors = Array.from({ length: 5_000 }, () => openSync('/dev/null', 'r'));
    try {
      const workload = await workloads.start(['/bin/sleep', '60']);
      await hasOnlyItsDescriptors(workload.pid);
      native.signal(workload.handle, 9);
      await workload.exit;
      expect(openDescriptors().length).toBeGreaterThan(5_000);
    } finally {
      descriptors.forEach(closeSync);
    }
  });
});

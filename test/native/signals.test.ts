import { until } from '../support/until';
import { readProcess, useWorkloads } from './workloads';

const workloads = useWorkloads();
const { native } = workloads;
const SIGKILL = native.signalNumber('SIGKILL')!;

describe('signals', () => {
  test('signalGroup reaches grandchildren in the group', async () => {
    const workload = await workloads.sh('sleep 61 & sleep 62 & echo started; wait');
    await until(() => workload.stdout() === 'started\n', { what: 'the grandchildren run' });
    expect(native.signalGroup(workload.handle, SIGKILL)).toBe(true);
    expect(await workload.exit).toMatchObject({ signal: 'SIGKILL' });
    await until(() => !native.groupExists(workload.pid), { what: 'the group is empty' });
  });

  test('signalGroup answers false once the child was reaped, and for a handle that never was', async () => {
    const workload = await workloads.start(['true']);
    await workload.exit;
    expect(native.signalGroup(workload.handle, SIGKILL)).toBe(false);
    expect(native.signalGroup(2 ** 52, SIGKILL)).toBe(false);
  });

  test('signalGroup throws for a signal that does not exist', async () => {
    const workload = await workloads.start(['sleep', '60']);
    for (const signal of [99, -1, Number.NaN, undefined as unknown as number]) {
      expect(() => native.signalGroup(workload.handle, signal)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    }
    native.signalGroup(workload.handle, SIGKILL);
    await workload.exit;
  });

  test('groupExists is true while a member lives after the leader ended', async () => {
    const workload = await workloads.sh('sleep 60 & exit 0');
    await workload.exit;
    expect(native.groupExists(workload.pid)).toBe(true);
    process.kill(-workload.pid, 'SIGKILL');
    await until(() => !native.groupExists(workload.pid), { what: 'the group is empty' });
  });

  test.each([1, 0, -1, -5, Number.NaN])(
    'groupExists refuses %d, which kill(2) reads as everyone or oneself',
    (pgid) => {
      expect(() => native.groupExists(pgid)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    },
  );

  test('signalProcess signals only the process with that start time', async () => {
    const workload = await workloads.start(['sleep', '60']);
    expect(native.signalProcess(workload.pid, workload.startTicks + 1, SIGKILL)).toBe(false);
    expect(readProcess(workload.pid)?.state).not.toBe('Z');
    expect(native.signalProcess(workload.pid, workload.startTicks, 0)).toBe(true);
    expect(native.signalProcess(workload.pid, workload.startTicks, SIGKILL)).toBe(true);
    expect(await workload.exit).toMatchObject({ signal: 'SIGKILL' });
    expect(native.signalProcess(workload.pid, workload.startTicks, SIGKILL)).toBe(false);
  });

  test('signalProcess refuses pids that kill(2) reads as groups', () => {
    for (const pid of [0, -1]) {
      expect(() => native.signalProcess(pid, 0, SIGKILL)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    }
  });

  test('signalNumber knows the names of signal(7) and nothing else', () => {
    expect(native.signalNumber('SIGTERM')).toBe(15);
    expect(native.signalNumber('SIGRTMIN+3')).toBe(37);
    for (const name of ['TERM', 'sigterm', 'SIGFOO', '', 'SIGRTMIN+99', 'toString']) {
      expect(native.signalNumber(name)).toBeNull();
    }
  });
});

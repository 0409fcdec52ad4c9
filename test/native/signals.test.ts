import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';

import { until } from '../support/until';
import { readProcess, useWorkloads } from './workloads';

const workloads = useWorkloads();
const { native } = workloads;
const numberOf = (name: string) => native.signalNumber(name)!;
const SIGKILL = numberOf('SIGKILL');
/** si_code of kill(2) and sigqueue(3). */
const [SI_USER, SI_QUEUE] = [0, -1];

describe('signal', () => {
  test('sends a value by SI_QUEUE, and says who sent it', async () => {
    const file = join(workloads.directory, 'signals');
    const receiver = await workloads.start([workloads.compile('print_signals'), file]);
    const lines = () => readFileSync(file, 'utf8').trim().split('\n').slice(1);
    await until(() => readFileSync(file, { encoding: 'utf8', flag: 'a+' }).startsWith('ready'), {
      what: 'it is ready',
    });
    const from = `${process.pid} ${process.getuid!()}`;
    const sent: Array<[string, number | undefined, string]> = [
      ['SIGTERM', 12_345, `15 ${SI_QUEUE} ${from} 12345`],
      ['SIGTERM', 0, `15 ${SI_QUEUE} ${from} 0`],
      ['SIGUSR1', -(2 ** 31), `10 ${SI_QUEUE} ${from} -2147483648`],
      ['SIGUSR2', 2 ** 31 - 1, `12 ${SI_QUEUE} ${from} 2147483647`],
      ['SIGUSR2', undefined, `12 ${SI_USER} ${from} 0`],
    ];
    for (const [index, [name, value, line]] of sent.entries()) {
      expect(native.signal(receiver.handle, numberOf(name), value)).toBe(true);
      // One at a time: the kernel merges those of one number that are pending.
      await until(() => lines().length > index, { what: `${name} was received` });
      expect(lines()[index]).toBe(line);
    }
    native.signal(receiver.handle, SIGKILL);
    await receiver.exit;
  });

  test('reaches the one process only, not its children', async () => {
    const workload = await workloads.sh('sleep 60 & echo $!; wait');
    const child = Number(await until(() => workload.stdout().trim(), { what: 'the child runs' }));
    expect(native.signal(workload.handle, SIGKILL)).toBe(true);
    expect(await workload.exit).toMatchObject({ signal: 'SIGKILL' });
    expect(readProcess(child)).not.toBeNull();
    process.kill(child, 'SIGKILL');
    await until(() => readProcess(child) === null, { what: 'the orphan is reaped' });
  });

  test('answers false once the process has ended, and for a handle that never was', async () => {
    const workload = await workloads.start(['/bin/true']);
    await workload.exit;
    for (const value of [undefined, 1]) {
      expect(native.signal(workload.handle, SIGKILL, value)).toBe(false);
      expect(native.signal(2 ** 52, SIGKILL, value)).toBe(false);
    }
  });

  test('answers false for a zombie', async () => {
    const parent = await workloads.sh('sleep 60 & echo $!; kill -STOP $$');
    const pid = Number(await until(() => parent.stdout().trim(), { what: 'the child runs' }));
    const startTicks = native.startTicksOf(pid)!;
    const handle = native.watch(pid, startTicks)!;
    const exit = workloads.exitOf(handle);
    expect(native.signal(handle, 0)).toBe(true);
    expect(native.signal(handle, SIGKILL)).toBe(true);
    await until(() => readProcess(pid)?.state === 'Z', { what: 'the stopped parent leaves a zombie' });
    expect(native.signal(handle, SIGKILL)).toBe(false);
    expect(native.signalProcess(pid, startTicks, SIGKILL)).toBe(true);
    expect(await exit).toMatchObject({ code: null, signal: null });
    native.signal(parent.handle, SIGKILL);
    await parent.exit;
  });

  test('throws for a signal or a value that does not exist', async () => {
    const workload = await workloads.start(['/bin/sleep', '60']);
    const invalid = expect.objectContaining({ name: 'NativeError', code: 'EINVAL' });
    for (const signal of [99, -1, Number.NaN, 1.5, undefined as unknown as number]) {
      expect(() => native.signal(workload.handle, signal)).toThrow(invalid);
      expect(() => native.signal(workload.handle, signal, 1)).toThrow(invalid);
    }
    for (const value of [
      Number.NaN,
      1.5,
      2 ** 31,
      -(2 ** 31) - 1,
      Number.POSITIVE_INFINITY,
      null as unknown as number,
    ]) {
      expect(() => native.signal(workload.handle, 0, value)).toThrow(invalid);
    }
    native.signal(workload.handle, SIGKILL);
    await workload.exit;
  });
});

describe('signalAll', () => {
  test('sends them in their order, with their values, and passes over what has ended', async () => {
    const ended = await workloads.start(['/bin/true']);
    await ended.exit;
    const file = join(workloads.directory, 'many-signals');
    const receiver = await workloads.start([workloads.compile('print_signals'), file]);
    const lines = () => readFileSync(file, { encoding: 'utf8', flag: 'a+' }).trim().split('\n');
    await until(() => lines()[0]!.startsWith('ready'), { what: 'it is ready' });
    const { handle } = receiver;
    const errnos = await native.signalAll([
      { handle, signal: numberOf('SIGTERM'), value: -7 },
      { handle: ended.handle, signal: SIGKILL },
      { handle: 2 ** 52, signal: SIGKILL },
      { handle, signal: numberOf('SIGUSR1') },
    ]);
    expect([...errnos]).toEqual([0, 0, 0, 0]);
    await until(() => lines().length === 3, { what: 'both were received' });
    const from = `${process.pid} ${process.getuid!()}`;
    // The kernel hands over what is pending by number, not by order.
    expect(lines().slice(1).sort()).toEqual([`10 ${SI_USER} ${from} 0`, `15 ${SI_QUEUE} ${from} -7`]);
    await native.signalAll([
      { handle, signal: 0 },
      { handle, signal: SIGKILL },
    ]);
    expect(await receiver.exit).toMatchObject({ signal: 'SIGKILL' });
  });

  test('tells the errno of each that the kernel refuses, and throws for what is no signal or value', async () => {
    const workload = await workloads.start(['/bin/sleep', '60']);
    const { handle } = workload;
    const { EINVAL } = constants.errno;
    expect([...(await native.signalAll([{ handle, signal: 1_000 }]))]).toEqual([EINVAL]);
    expect(() => native.signalAll([{ handle, signal: Number.NaN }])).toThrow();
    expect(() => native.signalAll([{ handle, signal: SIGKILL, value: 2 ** 31 }])).toThrow();
    expect([...(await native.signalAll([{ handle, signal: SIGKILL }]))]).toEqual([0]);
    await workload.exit;
  });
});

describe('signalProcess', () => {
  test('signals only the process with that start time', async () => {
    const workload = await workloads.start(['/bin/sleep', '60']);
    expect(native.signalProcess(workload.pid, workload.startTicks + 1, SIGKILL)).toBe(false);
    expect(readProcess(workload.pid)?.state).not.toBe('Z');
    expect(native.signalProcess(workload.pid, workload.startTicks, 0)).toBe(true);
    expect(native.signalProcess(workload.pid, workload.startTicks, SIGKILL)).toBe(true);
    expect(await workload.exit).toMatchObject({ signal: 'SIGKILL' });
    expect(native.signalProcess(workload.pid, workload.startTicks, SIGKILL)).toBe(false);
  });

  test('refuses pids that kill(2) reads as groups', () => {
    for (const pid of [0, -1]) {
      expect(() => native.signalProcess(pid, 0, SIGKILL)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    }
  });
});

describe('signalNumber', () => {
  test('knows the names of signal(7) and nothing else', () => {
    expect(native.signalNumber('SIGTERM')).toBe(15);
    expect(native.signalNumber('SIGRTMIN+3')).toBe(37);
    for (const name of ['TERM', 'sigterm', 'SIGFOO', '', 'SIGRTMIN+99', 'toString']) {
      expect(native.signalNumber(name)).toBeNull();
    }
  });
});

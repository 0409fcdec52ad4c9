import { mkdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

import { until } from '../support/until';
import { hasOnlyItsDescriptors, openDescriptors, readProcess, useWorkloads, type Workload } from './workloads';

const workloads = useWorkloads();
const { directory, native } = workloads;

async function end(workload: Workload): Promise<void> {
  native.signal(workload.handle, 9);
  await workload.exit;
}

function linkOf(fd: string): string | null {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return null; // the descriptor of the listing itself
  }
}

describe('a started program', () => {
  test('gets exactly the arguments given, argv[0] included', async () => {
    const argv = ['a name', '', 'two words', 'ünï…', '--x=1'];
    const workload = await workloads.start(argv, { file: workloads.compile('pause') });
    await until(() => readFileSync(`/proc/${workload.pid}/cmdline`, 'utf8') === `${argv.join('\0')}\0`, {
      what: 'its command line is the one given',
    });
    await end(workload);
  });

  test('keeps short names apart, whatever moves in memory', async () => {
    const workload = await workloads.start(['s'], { file: '/bin/sh', cwd: '/', input: Buffer.from('') });
    expect(await workload.exit).toMatchObject({ code: 0 });
  });

  test('has an empty environment', async () => {
    const workload = await workloads.start(['/bin/sleep', '60']);
    expect(readFileSync(`/proc/${workload.pid}/environ`, 'utf8')).toBe('');
    await end(workload);
  });

  test('has /dev/null as descriptors 0, 1 and 2, its input as 3, and nothing else open', async () => {
    const workload = await workloads.start(['/bin/sleep', '60']);
    await hasOnlyItsDescriptors(workload.pid);
    const links = [0, 1, 2, 3].map((fd) => readlinkSync(`/proc/${workload.pid}/fd/${fd}`));
    expect(links.slice(0, 3)).toEqual(['/dev/null', '/dev/null', '/dev/null']);
    expect(links[3]).toMatch(/^\/memfd:/);
    await end(workload);
  });

  test.each([0, 1, 4_095, 70_000, 4 * 2 ** 20])('reads %i bytes of input from its beginning', async (length) => {
    const input = Buffer.from(Array.from({ length }, (_, index) => index % 251));
    const whole = Buffer.concat([Buffer.from('xx'), input, Buffer.from('xx')]);
    const copy = join(directory, `copy-${length}`);
    const workload = await workloads.sh(`cat <&3 >${copy}`, { input: whole.subarray(2, 2 + length) });
    expect((await workload.exit).code).toBe(0);
    expect(readFileSync(copy).equals(input)).toBe(true);
  });

  test('reads the input as it was when the start was asked for', async () => {
    const input = Buffer.from('before');
    const started = workloads.sh('cat <&3', { input });
    input.write('after!');
    const workload = await started;
    await workload.exit;
    expect(workload.stdout()).toBe('before');
  });

  test('does not close or change the descriptors of the agent', async () => {
    const links = () => openDescriptors().map((fd) => `${fd} ${linkOf(fd)}`);
    const stable = links().filter((link) => !link.endsWith(' null'));
    await (await workloads.start(['/bin/true'])).exit;
    expect(links()).toEqual(expect.arrayContaining(stable));
  });

  test('leads a session and a process group of its own', async () => {
    const workload = await workloads.start(['/bin/sleep', '60']);
    expect(readProcess(workload.pid)).toMatchObject({
      group: workload.pid,
      session: workload.pid,
      parent: process.pid,
    });
    await end(workload);
  });

  test('starts with no signal blocked or ignored, though Node ignores SIGPIPE', async () => {
    const workload = await workloads.start(['/bin/sleep', '60']);
    const status = readFileSync(`/proc/${workload.pid}/status`, 'utf8');
    for (const field of ['SigBlk', 'SigIgn', 'SigCgt']) expect(status).toContain(`${field}:\t0000000000000000`);
    await end(workload);
  });

  test('runs in the working directory given, with umask 022', async () => {
    const cwd = join(directory, 'cwd');
    mkdirSync(cwd);
    const workload = await workloads.sh('pwd; umask', { cwd });
    await workload.exit;
    expect(workload.stdout()).toBe(`${cwd}\n0022\n`);
  });

  test('is named by pid and start time', async () => {
    const workload = await workloads.start(['/bin/sleep', '60']);
    expect(readProcess(workload.pid)).toMatchObject({ startTicks: workload.startTicks });
    expect(native.startTicksOf(workload.pid)).toBe(workload.startTicks);
    await end(workload);
    expect(native.startTicksOf(workload.pid)).toBeNull();
  });
});

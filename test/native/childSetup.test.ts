import { chmodSync, mkdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { hasOnlyStdio, openDescriptors, readProcess, useWorkloads } from './workloads';

const workloads = useWorkloads();
const { directory, native } = workloads;

async function outputOf(argv: string[], plan?: Parameters<typeof workloads.start>[1]): Promise<string> {
  const workload = await workloads.start(argv, plan);
  await workload.exit;
  return workload.stdout();
}

function executable(path: string, content: string): string {
  writeFileSync(path, content);
  chmodSync(path, 0o755);
  return path;
}

function linkOf(fd: string): string | null {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return null; // the descriptor of the listing itself
  }
}

describe('a workload process', () => {
  test('gets exactly the arguments given, argv[0] included', async () => {
    const argv = ['a name', '', 'two words', 'ünï…', '--x=1'];
    const script = 'process.stdout.write(JSON.stringify([process.argv0, ...process.argv.slice(1)]))';
    const seen = await outputOf([process.execPath], {
      file: process.execPath,
      argv: [argv[0]!, '-e', script, '--', ...argv.slice(1)],
    });
    expect(JSON.parse(seen)).toEqual(argv);
  });

  test('gets exactly the environment given', async () => {
    const env = ['A=1', 'EMPTY=', 'PATH=/bin', 'ÄÖ=ü', 'A=2', 'odd'];
    const output = await outputOf(['/bin/cat', '/proc/self/environ'], { env });
    expect(output.split('\0').slice(0, -1)).toEqual(env);
    expect(await outputOf(['/bin/cat', '/proc/self/environ'], { env: [] })).toBe('');
  });

  test('reads end of file from stdin', async () => {
    const workload = await workloads.sh('readlink /proc/self/fd/0; cat; echo done');
    expect((await workload.exit).code).toBe(0);
    expect(workload.stdout()).toBe('/dev/null\ndone\n');
  });

  test('appends stdout and stderr to their files, created with mode 0640', async () => {
    const stdoutPath = join(directory, 'appended');
    for (const text of ['one', 'two']) await outputOf(['/bin/echo', text], { stdoutPath });
    expect(readFileSync(stdoutPath, 'utf8')).toBe('one\ntwo\n');
    expect(statSync(stdoutPath).mode & 0o777).toBe(0o640);
    const workload = await workloads.sh('echo problem >&2');
    await workload.exit;
    expect(workload.stderr()).toBe('problem\n');
  });

  test('has only descriptors 0, 1 and 2', async () => {
    const workload = await workloads.start(['sleep', '60']);
    await hasOnlyStdio(workload.pid);
    native.signalGroup(workload.handle, 9);
    await workload.exit;
  });

  test('does not close or change the descriptors of the agent', async () => {
    const links = () => openDescriptors().map((fd) => `${fd} ${linkOf(fd)}`);
    const stable = links().filter((link) => !link.endsWith(' null'));
    await outputOf(['true']);
    expect(links()).toEqual(expect.arrayContaining(stable));
  });

  test('leads a session and a process group of its own', async () => {
    const workload = await workloads.start(['sleep', '60']);
    expect(readProcess(workload.pid)).toMatchObject({
      group: workload.pid,
      session: workload.pid,
      parent: process.pid,
    });
    native.signalGroup(workload.handle, 9);
    await workload.exit;
  });

  test('starts with no signal blocked or ignored, though Node ignores SIGPIPE', async () => {
    const status = await outputOf(['cat', '/proc/self/status']);
    for (const field of ['SigBlk', 'SigIgn', 'SigCgt']) expect(status).toContain(`${field}:\t0000000000000000`);
  });

  test('runs in the working directory given, with umask 022', async () => {
    const cwd = join(directory, 'cwd');
    mkdirSync(cwd);
    const workload = await workloads.sh('pwd; umask', { cwd });
    await workload.exit;
    expect(workload.stdout()).toBe(`${cwd}\n0022\n`);
  });

  test('is searched in the PATH of its own environment, entry by entry', async () => {
    const [first, second] = [join(directory, 'bin1'), join(directory, 'bin2')];
    mkdirSync(first);
    mkdirSync(second);
    writeFileSync(join(first, 'only-here'), 'not executable');
    executable(join(second, 'only-here'), '#!/bin/sh\necho found\n');
    expect(await outputOf(['only-here'], { env: [`PATH=/nope:${first}:${second}`] })).toBe('found\n');
    await expect(outputOf(['only-here'], { env: ['PATH=/bin'] })).rejects.toMatchObject({ code: 'ENOENT' });
    // An empty entry is the working directory; no PATH at all is /bin:/usr/bin.
    expect(await outputOf(['only-here'], { env: ['PATH=/nope:'], cwd: second })).toBe('found\n');
    expect(await outputOf(['echo', 'x'], { env: [] })).toBe('x\n');
  });

  test('is run by /bin/sh when it is a script without #!', async () => {
    const script = executable(join(directory, 'bare'), 'echo "$0 $1 $2"\n');
    expect(await outputOf([script, 'a', 'b'])).toBe(`${script} a b\n`);
    expect(await outputOf(['bare', 'a', 'b'], { env: [`PATH=${directory}`] })).toBe(`${script} a b\n`);
  });

  test('is named by pid and start time', async () => {
    const workload = await workloads.start(['sleep', '60']);
    expect(native.startTicksOf(workload.pid)).toBe(workload.startTicks);
    native.signalGroup(workload.handle, 9);
    await workload.exit;
    expect(native.startTicksOf(workload.pid)).toBeNull();
  });
});

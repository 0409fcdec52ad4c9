import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { RunPlan } from '../../agent/processHost';
import { isEmulated, isRoot, PATH, useShims } from './shim';

const shims = useShims();
const { directory } = shims;

function file(name: string, content: string, mode: number): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

describe('a start that fails', () => {
  type Failing = () => { argv: string[]; plan?: Partial<RunPlan>; lease?: string };
  const cases: Array<[string, Failing, { step: string; errnoCode: string }]> = [
    ['a missing file', () => ({ argv: ['/no/such/file'] }), { step: 'execve', errnoCode: 'ENOENT' }],
    [
      'a bare name that is in no PATH entry',
      () => ({ argv: ['no-such-command'] }),
      { step: 'execve', errnoCode: 'ENOENT' },
    ],
    ['an empty name', () => ({ argv: [''] }), { step: 'execve', errnoCode: 'ENOENT' }],
    [
      'a file without run bit',
      () => ({ argv: [file('plain', '#!/bin/sh\n', 0o644)] }),
      { step: 'execve', errnoCode: 'EACCES' },
    ],
    ['a directory', () => ({ argv: [directory] }), { step: 'execve', errnoCode: 'EACCES' }],
    ['a path through a file', () => ({ argv: ['/etc/passwd/x'] }), { step: 'execve', errnoCode: 'ENOTDIR' }],
    [
      'a script whose interpreter is missing',
      () => ({ argv: [file('lost', '#!/no/such/interpreter\n', 0o755)] }),
      { step: 'execve', errnoCode: 'ENOENT' },
    ],
    [
      'a name forbidden in one PATH entry and missing in the next',
      () => {
        file('forbidden', '#!/bin/sh\n', 0o644);
        return { argv: ['forbidden'], plan: { env: { PATH: `${directory}:/bin` } } };
      },
      { step: 'execve', errnoCode: 'EACCES' },
    ],
    [
      'a missing working directory',
      () => ({ argv: ['true'], plan: { cwd: '/no/such/dir' } }),
      { step: 'chdir', errnoCode: 'ENOENT' },
    ],
    [
      'a working directory that is a file',
      () => ({ argv: ['true'], plan: { cwd: '/etc/passwd', privateCwd: true } }),
      { step: 'chdir', errnoCode: 'ENOTDIR' },
    ],
    [
      'an argument that is too long',
      () => ({ argv: ['true', 'x'.repeat(200_000)] }),
      { step: 'execve', errnoCode: 'E2BIG' },
    ],
    [
      'a cgroup that is not there',
      () => ({ argv: ['true'], plan: { cgroup: join(directory, 'no-such-group') } }),
      { step: 'open', errnoCode: 'ENOENT' },
    ],
    [
      'a cgroup that is a plain directory',
      () => {
        const cgroup = join(directory, 'no-group');
        mkdirSync(cgroup, { recursive: true });
        return { argv: ['true'], plan: { cgroup } };
      },
      // By clone3(2); where that is missing, the child enters the group.
      isEmulated ? { step: 'open', errnoCode: 'ENOENT' } : { step: 'clone', errnoCode: 'EBADF' },
    ],
    [
      'a lease page that is not there',
      () => ({ argv: ['true'], plan: { fence: { kind: 'stop', leaseTerm: 0 } }, lease: '/no/such/lease' }),
      { step: 'open', errnoCode: 'ENOENT' },
    ],
    [
      'a lease page that is too short',
      () => ({ argv: ['true'], plan: { fence: { kind: 'stop', leaseTerm: 0 } }, lease: file('short', 'x', 0o600) }),
      { step: 'mmap', errnoCode: 'EINVAL' },
    ],
  ];

  test.each(cases)('names the failing call and its errno: %s', async (_what, failing, expected) => {
    const { argv, plan, ...rest } = failing();
    const shim = shims.launch(argv, { plan: plan ?? {}, ...rest });
    expect(await shim.ended).toBe(2);
    expect(shim.record().map(({ kind }) => kind)).toEqual(['shim', 'failed']);
    expect(await shim.recorded('failed')).toMatchObject(expected);
    expect(await shim.noticed('failed')).toMatchObject(expected);
    expect(shim.notices()).toHaveLength(1);
    expect(readdirSync(shim.directory)).toEqual(['run.1.ended']);
  });

  (isRoot ? test.skip : test)('names the call that takes a right which is not there', async () => {
    const shim = shims.launch(['true'], { plan: { user: { uid: 65534, gid: 65534, groups: [] } } });
    expect(await shim.ended).toBe(2);
    expect(await shim.recorded('failed')).toMatchObject({ errnoCode: 'EPERM' });
  });

  test('is told without a record when there is no state directory', async () => {
    const shim = shims.launch(['true'], { plan: { stateDirectory: join(directory, 'nowhere') } });
    expect(await shim.ended).toBe(2);
    expect(await shim.noticed('failed')).toMatchObject({ step: 'open', errnoCode: 'ENOENT' });
  });

  test.each(['open', 'ended'])('is one whose run has been started before: its state file is %s', async (suffix) => {
    const stateDirectory = join(directory, `before-${suffix}`);
    mkdirSync(stateDirectory);
    const before = join(stateDirectory, `run.1.${suffix}`);
    writeFileSync(before, 'shim\n');
    const ran = join(directory, `ran-${suffix}`);
    const shim = shims.launch(['touch', ran], { plan: { stateDirectory } });
    expect(await shim.ended).toBe(2);
    expect(await shim.noticed('failed')).toMatchObject({ step: 'open', errnoCode: 'EEXIST' });
    expect(readdirSync(stateDirectory)).toEqual([`run.1.${suffix}`]);
    expect(existsSync(ran)).toBe(false);
  });
});

describe('a program', () => {
  test('is searched for in the PATH of its own environment, an empty entry being its directory', async () => {
    file('here', '#!/bin/sh\necho found\n', 0o755);
    const shim = await shims.start(['here'], { plan: { cwd: directory, env: { PATH: '/no/such/dir::' } } });
    expect(await shim.recorded('exited')).toMatchObject({ code: 0 });
    expect(shim.output().toString()).toBe('found\n');
  });

  test('without a PATH is searched for where execvp would', async () => {
    const shim = await shims.start(['true'], { plan: { env: {} } });
    expect(await shim.recorded('exited')).toMatchObject({ code: 0 });
  });

  test('without #! is run by /bin/sh, with its arguments', async () => {
    const script = file('bare', 'echo "$0" "$1" "$2"\n', 0o755);
    const shim = await shims.start([script, 'a', 'b c'], { plan: { argv: ['another name', 'a', 'b c'] } });
    await shim.recorded('exited');
    expect(shim.output().toString()).toBe(`${script} a b c\n`);
  });

  test('is given its argv as it is, argv[0] too', async () => {
    const shim = await shims.start(['sh', '-c', 'tr "\\0" "|" < /proc/$$/cmdline'], {
      plan: { argv: ['given name', '-c', 'tr "\\0" "|" < /proc/$$/cmdline', '', 'é\n"'] },
    });
    await shim.recorded('exited');
    expect(shim.output().toString()).toBe('given name|-c|tr "\\0" "|" < /proc/$$/cmdline||é\n"|');
  });

  test('may have 100,000 bytes of one argument and a megabyte of environment', async () => {
    const env: Record<string, string> = { PATH };
    for (let i = 0; i < 10; i++) env[`V${i}`] = 'v'.repeat(100_000);
    const shim = await shims.start(['sh', '-c', 'echo $#1 | wc -c', 'sh', 'x'.repeat(100_000)], {
      plan: { argv: ['sh', '-c', 'printf %s "$1" | wc -c; env | wc -c', 'sh', 'x'.repeat(100_000)], env },
    });
    expect(await shim.recorded('exited')).toMatchObject({ code: 0 });
    const [argument, environment] = shim.output().toString().split('\n').map(Number);
    expect(argument).toBe(100_000);
    expect(environment).toBeGreaterThan(1_000_000);
  });
});

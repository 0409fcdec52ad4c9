import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { NativeError, type SpawnPlan } from '../../agent/native/index';
import { hasOnlyDescriptors, openDescriptors, useWorkloads, zombies } from './workloads';

const workloads = useWorkloads();
const { native, directory } = workloads;

function file(name: string, content: string, mode: number): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

describe('a start that fails', () => {
  const cases: Array<[string, () => [string[], Partial<SpawnPlan>?], { syscall: string; code: string }]> = [
    ['a missing file', () => [['/no/such/file']], { syscall: 'execve', code: 'ENOENT' }],
    ['a bare name, which is not searched for', () => [['true']], { syscall: 'execve', code: 'ENOENT' }],
    ['an empty name', () => [['']], { syscall: 'execve', code: 'ENOENT' }],
    ['a file without run bit', () => [[file('plain', '#!/bin/sh\n', 0o644)]], { syscall: 'execve', code: 'EACCES' }],
    ['a directory', () => [[directory]], { syscall: 'execve', code: 'EACCES' }],
    ['a path through a file', () => [['/etc/passwd/x']], { syscall: 'execve', code: 'ENOTDIR' }],
    ['a file that is no program', () => [[file('text', 'echo\n', 0o755)]], { syscall: 'execve', code: 'ENOEXEC' }],
    [
      'a script whose interpreter is missing',
      () => [[file('lost', '#!/no/such/interpreter\n', 0o755)]],
      { syscall: 'execve', code: 'ENOENT' },
    ],
    [
      'a missing working directory',
      () => [['/bin/true'], { cwd: '/no/such/dir' }],
      { syscall: 'chdir', code: 'ENOENT' },
    ],
    [
      'a working directory that is a file',
      () => [['/bin/true'], { cwd: '/etc/passwd' }],
      { syscall: 'chdir', code: 'ENOTDIR' },
    ],
    [
      'an argument list that is too long',
      () => [['/bin/true', 'x'.repeat(200_000)]],
      { syscall: 'execve', code: 'E2BIG' },
    ],
  ];

  test.each(cases)('rejects with the failing call: %s', async (_what, plan, expected) => {
    const descriptors = openDescriptors().length;
    await expect(workloads.start(...plan())).rejects.toMatchObject({ name: 'NativeError', ...expected });
    expect(native.liveCount()).toBe(0);
    expect(zombies()).toEqual([]);
    await hasOnlyDescriptors(descriptors);
  });

  test('says in the message what failed, on which path, and why', async () => {
    const error: unknown = await workloads.start(['/no/such/file']).catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(NativeError);
    expect(error).toMatchObject({ errno: 2, message: 'execve /no/such/file: ENOENT, no such file or directory' });
  });

  test.each<[string, Partial<SpawnPlan>]>([
    ['file', { file: '/bin/true\0x' }],
    ['argv[1]', { argv: ['true', 'a\0b'] }],
    ['cwd', { cwd: '/\0' }],
  ])('rejects a NUL byte in %s and starts nothing', async (place, plan) => {
    const before = readdirSync(directory).length;
    await expect(workloads.start(['/bin/true'], plan)).rejects.toMatchObject({
      name: 'NativeError',
      code: 'EINVAL',
      message: expect.stringContaining(`${place} holds a NUL byte`),
    });
    expect(readdirSync(directory)).toHaveLength(before);
  });

  test('rejects an empty argv', async () => {
    await expect(workloads.start([], { file: '/bin/true' })).rejects.toMatchObject({ code: 'EINVAL' });
  });

  test('rejects an input that is not made of bytes', async () => {
    for (const input of [undefined, null, 'text', [1, 2], new Float64Array(2)]) {
      await expect(workloads.start(['/bin/true'], { input: input as never })).rejects.toThrow(/Uint8Array/);
    }
    expect(native.liveCount()).toBe(0);
  });
});

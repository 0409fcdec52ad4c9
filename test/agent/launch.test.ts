/** What a program is given, and the words for a start that was refused; the refusals themselves are in runs.test.ts. */
import { userInfo } from 'node:os';
import { environmentOf, startFailed } from '../../agent/launch';
import { StartFailure } from '../../agent/processHost';
import type { ProcessSpec } from '../../contract/workload';

const NAMES = { instanceId: 'web.0', generation: 3, run: 2, node: 'n1', nonce: 'abc' };

describe('the environment', () => {
  it("names the workload's user, or the agent's own", () => {
    const { username: USER, homedir: HOME } = userInfo();
    expect(environmentOf({ command: ['true'] }, NAMES)).toMatchObject({ USER, HOME });
    const user = { name: 'www-data', home: '/var/www' };
    expect(environmentOf({ command: ['true'] }, NAMES, user)).toMatchObject({ USER: 'www-data', HOME: '/var/www' });
    const env = { HOME: '/srv' };
    expect(environmentOf({ command: ['true'], env }, NAMES, user)).toMatchObject({ USER: 'www-data', HOME: '/srv' });
  });
});

describe('a start that was refused', () => {
  const spec: ProcessSpec = {
    command: ['/bin/true'],
    user: 'www-data',
    nice: -5,
    limits: { openFiles: 1_000_000, pids: 10 },
  };
  it.each<[step: string, errnoCode: string, words: string[]]>([
    ['getpwnam', 'ENOENT', ['no user www-data', 'another "user"']],
    ['getpwnam', 'EIO', ['cannot be looked up', 'name service']],
    ['setuid', 'EPERM', ['as user www-data', 'as root']],
    ['setuid', 'EAGAIN', ['setuid was refused', 'end something']],
    ['setgroups', 'EPERM', ['as user www-data', 'as root']],
    ['chown', 'EPERM', ['as user www-data', 'as root']],
    ['setrlimit', 'EPERM', ['Lower "limits.openFiles"', 'hard limit']],
    ['setpriority', 'EACCES', ['nice value -5', 'higher "nice"']],
    ['chdir', 'EACCES', ['/srv cannot be entered by user www-data', 'searchable']],
    ['chdir', 'ENOENT', ['/srv cannot be entered (ENOENT)', 'Create it']],
    ['cgroup', 'EBUSY', ['cgroup of its own', "that node's agent"]],
    ['clone', 'EAGAIN', ['no more processes', '"limits.pids"']],
    ['open', 'ENOSPC', ['open was refused', 'No space']],
    ['pipe2', 'EMFILE', ['pipe2 was refused', 'ulimit -n']],
    ['prctl', 'EINVAL', ['prctl was refused (EINVAL).']],
    ['execve', 'EACCES', ['user www-data may not execute it', 'namei -l /bin/true']],
    ['execve', 'E2BIG', ['longer than the kernel takes']],
  ])('by %s with %s is told with what to do', async (syscall, errnoCode, words) => {
    const error = await startFailed(new StartFailure(syscall, 1, errnoCode), spec, {
      node: 'n1',
      cwd: '/srv',
      ownUid: null,
    });
    expect(error.code).toBe('START_FAILED');
    expect(error.message).toMatch(/^Cannot start \/bin\/true on node n1: /);
    for (const word of words) expect(error.message).toContain(word);
    expect(error.system).toEqual({ syscall, errno: 1, errnoCode });
  });
});

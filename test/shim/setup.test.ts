import { chmodSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { RunPlan } from '../../agent/processHost';
import { until } from '../support/until';
import { isAlive, PATH, testAsRoot, testUnemulated, useShims } from './shim';

const shims = useShims();

const SOMEBODY = { uid: 61236, gid: 61237, groups: [61238, 61239] };

async function outputOf(argv: string[], plan: Partial<RunPlan> = {}): Promise<string> {
  const shim = await shims.start(argv, { plan });
  expect(await shim.ended).toBe(0);
  expect(shim.output('stderr').toString()).toBe('');
  return shim.output().toString();
}

function sh(commands: string, plan: Partial<RunPlan> = {}): Promise<string> {
  return outputOf(['/bin/sh', '-c', commands], plan);
}

describe('a workload', () => {
  test('has descriptors 0, 1 and 2 only', async () => {
    const shim = await shims.start(['sleep', '1000']);
    const path = `/proc/${shim.main}/fd`;
    await until(() => readdirSync(path).join() === '0,1,2', { what: 'it has no others' }); // but for its loader's
    expect(readlinkSync(`${path}/0`)).toBe('/dev/null');
    shim.stop();
    await shim.ended;
  });

  test('reads the end of file from its stdin', async () => {
    expect(await sh('cat; echo end')).toBe('end\n');
  });

  test('has the environment of the plan and nothing else, whatever it holds', async () => {
    const env = { PATH, A: 'a=b=c', B: 'two\nlines', C: '\u{1f980} ü', EMPTY: '', 'odd name': '1' };
    const environ = await outputOf(['cat', '/proc/self/environ'], { env });
    expect(environ).toBe(
      Object.entries(env)
        .map(([name, value]) => `${name}=${value}\0`)
        .join(''),
    );
  });

  test('leads a session of its own, without a terminal', async () => {
    const shim = await shims.start(['sleep', '1000']);
    const fields = readFileSync(`/proc/${shim.main}/stat`, 'utf8').split(') ')[1]!.split(' ');
    expect(fields.slice(1, 5)).toEqual([String(shim.pid), String(shim.main), String(shim.main), '0']);
    shim.stop();
    await shim.ended;
  });

  test('has no signal blocked or ignored, though its agent ignores some', async () => {
    const status = await outputOf(['grep', '^Sig[BI]', '/proc/self/status']);
    expect(status.replaceAll('\t', ' ')).toBe('SigBlk: 0000000000000000\nSigIgn: 0000000000000000\n');
  });

  test('has the umask, the nice value and the limits of the plan', async () => {
    const plan: Partial<RunPlan> = {
      umask: 0o027,
      nice: 7,
      rlimits: [
        { resource: 'openFiles', value: 123 },
        { resource: 'core', value: 0 },
        { resource: 'fileSize', value: 512 * 1000 },
      ],
    };
    const limits = 'umask; nice; ulimit -n; ulimit -Hn; ulimit -c; ulimit -f';
    expect(await sh(limits, plan)).toBe('0027\n7\n123\n123\n0\n1000\n');
    expect(await sh('ulimit -c', { rlimits: [{ resource: 'core', value: Number.POSITIVE_INFINITY }] })).toBe(
      'unlimited\n',
    );
  });

  test.each([true, false])('has no_new_privs as planned: %s', async (noNewPrivileges) => {
    const status = await outputOf(['grep', 'NoNewPrivs', '/proc/self/status'], { noNewPrivileges });
    expect(status).toBe(`NoNewPrivs:\t${noNewPrivileges ? 1 : 0}\n`);
  });

  test('runs in its directory', async () => {
    expect(await outputOf(['pwd'], { cwd: '/usr' })).toBe('/usr\n');
  });

  testAsRoot('runs as its user, with exactly its groups, and may open its output again', async () => {
    const output = await sh('id -u; id -g; id -G; echo more > /dev/stdout;', {
      user: SOMEBODY,
    });
    expect(output).toBe('61236\n61237\n61237 61238 61239\nmore\n');
    expect(await sh('id -G', { user: { ...SOMEBODY, groups: [] } })).toBe('61237\n');
  });

  testAsRoot(
    'as another user has no capability and can get none; where it may gain rights, as by sudo, it can',
    async () => {
      const capabilities = async (plan: Partial<RunPlan>) => {
        const text = await outputOf(['grep', '^Cap', '/proc/self/status'], plan);
        return Object.fromEntries(
          text
            .trim()
            .split('\n')
            .map((line) => line.split(':\t')),
        ) as Record<string, string>;
      };
      const none = '0000000000000000';
      const held = readFileSync('/proc/self/status', 'utf8').match(/^CapBnd:\t(.*)$/m)![1];
      const nothing = { CapInh: none, CapPrm: none, CapEff: none, CapAmb: none };
      expect(await capabilities({ user: SOMEBODY })).toEqual({ ...nothing, CapBnd: none });
      expect(await capabilities({ user: SOMEBODY, noNewPrivileges: false })).toEqual({ ...nothing, CapBnd: held });
      const root = { uid: 0, gid: 0, groups: [] };
      expect(await capabilities({ user: root })).toMatchObject({ CapPrm: held, CapBnd: held });
    },
  );

  testAsRoot('as another user too dies with its shim', async () => {
    const shim = await shims.start(['sleep', '1000'], { plan: { user: SOMEBODY } });
    process.kill(shim.pid, 'SIGKILL');
    await until(() => !isAlive(shim.main), { what: 'the main process is dead' });
  });

  testAsRoot('as another user too is stopped by its shim', async () => {
    const shim = await shims.sh('trap "" TERM; sleep 1000 & wait; wait', {
      plan: { user: SOMEBODY, stop: { signal: 'SIGTERM', graceMs: 200 } },
    });
    shim.stop();
    expect(await shim.ended).toBe(0);
  });

  testAsRoot('enters a private directory before it changes its user, another one after it', async () => {
    const cwd = join(shims.directory, 'private');
    mkdirSync(cwd, { mode: 0o700 });
    const user = SOMEBODY;
    expect(await outputOf(['readlink', '/proc/self/cwd'], { cwd, user, privateCwd: true })).toBe(`${cwd}\n`);

    const shim = shims.launch(['pwd'], { plan: { cwd, user } });
    expect(await shim.ended).toBe(2);
    expect(await shim.recorded('failed')).toMatchObject({ step: 'chdir', errnoCode: 'EACCES' });
  });

  testAsRoot('is executed with the rights of its user', async () => {
    const path = join(shims.directory, 'mine');
    writeFileSync(path, '#!/bin/sh\n');
    chmodSync(path, 0o700);
    const shim = shims.launch([path], { plan: { user: SOMEBODY } });
    expect(await shim.ended).toBe(2);
    expect(await shim.recorded('failed')).toMatchObject({ step: 'execve', errnoCode: 'EACCES' });
  });
});

describe('a shim', () => {
  testUnemulated('has an empty environment, and only its own few descriptors', async () => {
    const shim = await shims.start(['sleep', '1000']);
    expect(readFileSync(`/proc/${shim.pid}/environ`, 'utf8')).toBe('');
    expect(readFileSync(`/proc/${shim.pid}/cmdline`, 'utf8').split('\0')).toEqual([
      'morch-shim',
      shims.directory,
      shim.plan.key,
      shim.nonce,
      '',
    ]);
    expect(readFileSync(`/proc/${shim.pid}/comm`, 'utf8')).toBe('morch-shim\n');
    shim.stop();
    await shim.ended;
  });
});

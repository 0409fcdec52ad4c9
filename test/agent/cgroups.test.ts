import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { cgroupMountsOf, chooseParent, ownGroupOf } from '../../agent/cgroupRoot';
import { Cgroups } from '../../agent/cgroups';
import { loadNative } from '../../agent/native/index';
import { PathWork } from '../../agent/pathWork';
import { until } from '../support/until';

const log = pino({ level: 'silent' });
const paths = new PathWork(loadNative());
const mount = cgroupMountsOf(readFileSync('/proc/self/mountinfo', 'utf8'))[0];
const parent = join(mount?.path ?? '', `morch-test-${randomBytes(4).toString('hex')}`);
const why = reasonToSkip();
const real = why === null ? describe : describe.skip;
if (why !== null) process.stderr.write(`skipped: groups in a real cgroup v2 file system (${why})\n`);

function reasonToSkip(): string | null {
  if (mount === undefined) return 'no cgroup v2 file system is mounted';
  try {
    mkdirSync(parent);
  } catch (error) {
    return `no group can be made: ${(error as Error).message}`;
  }
  const complete = existsSync(join(parent, 'cgroup.kill'));
  rmdirSync(parent);
  return complete ? null : 'the kernel has no cgroup.kill';
}

describe('the place of groups', () => {
  const HYBRID = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime shared:9 - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:10 master:1 - cgroup2 cgroup2 rw\n`;

  test.each([
    ['of a hybrid system', HYBRID, [{ root: '/', path: '/sys/fs/cgroup/unified' }]],
    ['at a path with a space', '9 1 0:3 / /mnt/a\\040b rw - cgroup2 none rw', [{ root: '/', path: '/mnt/a b' }]],
    ['of part of the tree', '9 1 0:3 /a.slice /mnt rw - cgroup2 none rw', [{ root: '/a.slice', path: '/mnt' }]],
    ['of other file systems, none,', '9 1 0:3 / /x/cgroup2 rw - tmpfs cgroup2 rw', []],
  ])('is read from mountinfo: mounts %s', (_, mountinfo, expected) => {
    expect(cgroupMountsOf(mountinfo)).toEqual(expected);
  });

  test.each([
    ['9:name=systemd:/x\n0::/user.slice/a.scope\n', '/', '/cg/user.slice/a.scope'],
    ['0::/\n', '/', '/cg'],
    ['0::/a.slice/b\n', '/a.slice', '/cg/b'],
    ['0::/a.slice\n', '/a.slice', '/cg'],
    ['0::/a.slices/b\n', '/a.slice', null],
    ['0::/../b\n', '/', null],
    ['0::/a (deleted)\n', '/', null],
    ['1:cpu:/x\n', '/', null],
  ])("of %j in a mount of %s is the agent's own group %s", (cgroups, root, own) => {
    expect(ownGroupOf(cgroups, { path: '/cg', root })).toBe(own);
  });

  test('is above the leaf that an earlier agent has moved to', () => {
    const tree = mkdtempSync(join(tmpdir(), 'morch-cgroups-'));
    writeFileSync(join(tree, 'cgroup.type'), 'domain\n');
    const here = { path: tree, root: '/' };
    try {
      expect(chooseParent(here, join(tree, 'agent'), 0)).toBe(tree);
      expect(chooseParent(here, join(tree, 'unit'), 0)).toBe(join(tree, 'unit'));
      expect(chooseParent(here, null, 0)).toBeNull();
    } finally {
      rmSync(tree, { recursive: true });
    }
  });
});

test('a path outside of the cgroup file system is refused, naming the flag', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'morch-cgroups-'));
  try {
    await expect(Cgroups.open({ option: dataDir, dataDir, paths, log })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringMatching(/--cgroup .*cgroup v2/),
    });
    await expect(Cgroups.open({ option: 'none', dataDir, paths, log })).resolves.toBeNull();
  } finally {
    rmSync(dataDir, { recursive: true });
  }
});

real('groups', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'morch-cgroups-'));
  const children: ChildProcess[] = [];
  let cgroups: Cgroups;

  beforeAll(async () => {
    cgroups = (await Cgroups.open({ option: parent, dataDir, paths, log }))!;
  });

  afterEach(async () => {
    await cgroups.removeUnknown([]);
    expect(await cgroups.list()).toEqual([]);
    await Promise.all(children.splice(0).map((child) => child.exitCode ?? child.signalCode ?? once(child, 'exit')));
  });

  afterAll(async () => {
    await cgroups.close(new Set());
    rmdirSync(parent);
    rmSync(dataDir, { recursive: true });
  });

  /** A shell in the group: it waits outside until it has been moved. */
  function startIn(directory: string, script: string): ChildProcess {
    const child = spawn('/bin/sh', ['-c', `read go; ${script}`], { stdio: ['pipe', 'ignore', 'ignore'] });
    children.push(child);
    writeFileSync(join(directory, 'cgroup.procs'), String(child.pid));
    child.stdin!.end('go\n');
    return child;
  }

  const processesIn = (directory: string) =>
    readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);

  test('lie in a directory named after the data directory, which another agent does not share', async () => {
    const id = createHash('sha256').update(dataDir).digest('hex').slice(0, 10);
    expect(cgroups.directory).toBe(join(parent, `morch-${id}`));
    const otherDir = mkdtempSync(join(tmpdir(), 'morch-cgroups-'));
    const other = (await Cgroups.open({ option: parent, dataDir: otherDir, paths, log }))!;
    await other.create('u.0.1');
    await cgroups.removeUnknown([]);
    expect(await other.list()).toEqual(['u.0.1']);
    await other.close(new Set(['u.0.1']));
    expect(existsSync(other.directory)).toBe(true);
    await other.close(new Set());
    expect(existsSync(other.directory)).toBe(false);
    rmSync(otherDir, { recursive: true });
  });

  test('stay at the end of the agent when somebody is in them, and only then', async () => {
    const lived = await cgroups.create('u.0.1');
    const ended = await cgroups.create('u.1.1');
    mkdirSync(join(lived, 'made-by-it'));
    startIn(lived, 'sleep 60; exit');
    await cgroups.close(new Set());
    expect(existsSync(join(lived, 'made-by-it'))).toBe(true);
    expect(existsSync(ended)).toBe(false);
  });

  test('tell which limits the kernel enforces here', () => {
    const enabled = readFileSync(join(cgroups.directory, 'cgroup.subtree_control'), 'utf8')
      .split(/\s+/)
      .filter(Boolean);
    const limits = ['cpu', 'memory', 'pids'].filter((name) => enabled.includes(name));
    expect(cgroups.features()).toEqual(['cgroup', ...limits.map((name) => `limits.${name}`)]);
  });

  test('are made once, found again, and removed', async () => {
    const directory = await cgroups.create('u1.web-0.7');
    expect(await cgroups.create('u1.web-0.7')).toBe(directory);
    expect(readFileSync(join(directory, 'cgroup.procs'), 'utf8')).toBe('');
    expect(await cgroups.oomKills('u1.web-0.7')).toBe(0);
    await cgroups.remove('u1.web-0.7');
    expect(existsSync(directory)).toBe(false);
    await cgroups.remove('u1.web-0.7');
    expect(await cgroups.kill('u1.web-0.7')).toBe(true);
    expect(await cgroups.oomKills('u1.web-0.7')).toBe(0);
  });

  test('are made also when somebody has cleaned away the empty directory', async () => {
    rmdirSync(cgroups.directory);
    expect(await cgroups.list()).toEqual([]);
    expect(existsSync(await cgroups.create('u1.0.1'))).toBe(true);
  });

  test('are made anew for the next run: one that was killed would kill what is cloned into it', async () => {
    const directory = await cgroups.create('u1.0.1');
    startIn(directory, 'sleep 60; exit');
    const killed = statSync(directory).ino;
    await cgroups.kill('u1.0.1');
    expect(await cgroups.create('u1.0.1')).toBe(directory);
    expect(statSync(directory).ino).not.toBe(killed);
  });

  test('cannot be named by a path', async () => {
    for (const key of ['', '.', '..', 'a/b', '../x']) await expect(cgroups.create(key)).rejects.toThrow('cannot name');
  });

  test('are there with their live processes after the agent has started anew', async () => {
    const directory = await cgroups.create('u1.0.1');
    const child = startIn(directory, 'sleep 60; exit');
    const again = (await Cgroups.open({ option: parent, dataDir, paths, log }))!;
    expect(await again.list()).toEqual(['u1.0.1']);
    expect(await again.removeUnknown(['u1.0.1'])).toEqual([]);
    expect(processesIn(directory)).toContain(child.pid);
  });

  test('of no known instance are killed and removed', async () => {
    const known = await cgroups.create('u1.0.1');
    const unknown = await cgroups.create('u1.1.1');
    startIn(known, 'sleep 60; exit');
    const lost = startIn(unknown, 'sleep 60; exit');
    expect(await cgroups.removeUnknown(['u1.0.1', 'u1.2.1'])).toEqual(['u1.1.1']);
    expect(existsSync(unknown)).toBe(false);
    expect(processesIn(known)).not.toEqual([]);
    await until(() => lost.signalCode === 'SIGKILL', { what: 'the process of the unknown group is reaped' });
  });

  test('are killed with all that is in them: a fork bomb of processes in sessions of their own', async () => {
    const directory = await cgroups.create('u1.0.1');
    // Bounded in case the kill fails: the machine has other users.
    const bomb =
      'bomb() { [ $1 -gt 7 ] || { setsid sh -c "sleep 60" & bomb $(($1 + 1)) & bomb $(($1 + 1)) & }; wait; }';
    startIn(directory, `trap '' TERM INT HUP; ${bomb}; bomb 0`);
    await until(() => processesIn(directory).length > 100, { timeoutMs: 20_000, what: 'the fork bomb goes off' });
    const pids = processesIn(directory);
    expect(await cgroups.kill('u1.0.1')).toBe(true);
    expect(processesIn(directory)).toEqual([]);
    expect(pids.filter((pid) => groupOf(pid) === directory)).toEqual([]);
    await cgroups.remove('u1.0.1');
    expect(existsSync(directory)).toBe(false);
  });

  test('are removed with the groups that their processes have made in them', async () => {
    const directory = await cgroups.create('u1.0.1');
    mkdirSync(join(directory, 'a/b'), { recursive: true });
    startIn(join(directory, 'a/b'), 'sleep 60; exit');
    expect(await cgroups.kill('u1.0.1')).toBe(true);
    await cgroups.remove('u1.0.1');
    expect(existsSync(directory)).toBe(false);
  });

  test('stay while they are in use', async () => {
    const directory = await cgroups.create('u1.0.1');
    startIn(directory, 'sleep 60; exit');
    await cgroups.remove('u1.0.1', 20);
    expect(existsSync(directory)).toBe(true);
  });

  test('refuse a limit that the kernel does not have here, and are not left behind then', async () => {
    const limits = { cpu: { cpuMillis: 100 }, memory: { memoryBytes: 1 << 26 }, pids: { pids: 10 } };
    for (const [controller, limit] of Object.entries(limits)) {
      if (cgroups.features().includes(`limits.${controller}`)) continue;
      await expect(cgroups.create('u1.0.1', limit)).rejects.toMatchObject({
        name: 'NativeError',
        syscall: 'open',
        code: 'ENOENT',
      });
      expect(readdirSync(cgroups.directory)).not.toContain('u1.0.1');
    }
  });
});

/** Null when it is gone; a zombie stays in the group it died in. */
function groupOf(pid: number): string | null {
  try {
    if (/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))) return null;
    return ownGroupOf(readFileSync(`/proc/${pid}/cgroup`, 'utf8'), mount!);
  } catch {
    return null;
  }
}

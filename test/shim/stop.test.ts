import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';

import { until } from '../support/until';
import { isAlive, killQuietly, type Started, testAsRoot, testUnemulated, treeOf, useShims } from './shim';

const shims = useShims();

const STUBBORN = 'trap "" TERM HUP INT; while :; do sleep 1; done';
/** Goes on where a shell would give up: at its limit, which holds for other users than root. */
const BOMB = ['prlimit', '--nproc=60', 'perl', '-e', '$SIG{TERM} = "IGNORE"; while (1) { fork }'];
/** What the machine may add, being shared with other suites. */
const SLACK_MS = 1_000;

function script(name: string, ...lines: string[]): string {
  const path = join(shims.directory, name);
  writeFileSync(path, `#!/bin/sh\n${lines.join('\n')}\n`);
  chmodSync(path, 0o755);
  return path;
}

async function untilTree(shim: Started, size: number): Promise<void> {
  await until(() => treeOf(shim).length >= size, { what: `the tree has ${size} processes` });
}

/** A signal that comes while one of its number is pending is lost, and its value with it. */
async function untilTaken(shim: Started): Promise<void> {
  const pending = () => /^ShdPnd:\s*(\w+)/m.exec(readFileSync(`/proc/${shim.pid}/status`, 'utf8'))![1]!;
  await until(() => BigInt(`0x${pending()}`) === 0n, { what: 'the signal is taken' });
}

/** @returns how long the tree lived on */
async function stopped(shim: Started, graceMs?: number): Promise<number> {
  const before = performance.now();
  shim.stop(graceMs);
  expect(await shim.ended).toBe(0);
  const tookMs = performance.now() - before;
  expect(treeOf(shim)).toEqual([]);
  expect(shim.record().map(({ kind }) => kind)).toEqual(['shim', 'started', 'exited', 'gone']);
  return tookMs;
}

function stopWith(signal: 'SIGTERM' | 'SIGINT' | 'SIGUSR1', graceMs: number) {
  return { plan: { stop: { signal, graceMs } } };
}

testUnemulated('a shim blocks, and reads, every signal but SIGCONT, which would wake it for nothing', async () => {
  const shim = await shims.start(['sleep', '1000']);
  const status = readFileSync(`/proc/${shim.pid}/status`, 'utf8');
  const blocked = BigInt(`0x${/^SigBlk:\s*(\w+)/m.exec(status)![1]!}`);
  const { SIGKILL, SIGSTOP, SIGCONT } = constants.signals;
  const others = Array.from({ length: 64 }, (_, i) => i + 1).filter((n) => (blocked & (1n << BigInt(n - 1))) === 0n);
  expect(others).toEqual([SIGKILL, SIGCONT, SIGSTOP]);
  shim.stop();
  await shim.ended;
});

describe('a stop', () => {
  test('sends the stop signal, and leaves it to the workload how it ends', async () => {
    const shim = await shims.sh('trap "echo bye; exit 7" USR1; echo ready; while :; do sleep 0.05; done', {
      ...stopWith('SIGUSR1', 10_000),
    });
    await until(() => shim.output().toString() === 'ready\n', { what: 'the trap is set' });
    await stopped(shim);
    expect(await shim.recorded('exited')).toMatchObject({ code: 7, signal: null });
    expect(shim.output().toString()).toBe('ready\nbye\n');
  });

  test('kills what ignores the signal when the grace is over, not before', async () => {
    const shim = await shims.sh(`${STUBBORN}`, stopWith('SIGTERM', 500));
    await untilTree(shim, 2);
    const tookMs = await stopped(shim);
    expect(tookMs).toBeGreaterThanOrEqual(500);
    expect(tookMs).toBeLessThan(500 + SLACK_MS);
    expect(await shim.recorded('exited')).toMatchObject({ code: null, signal: 'SIGKILL', oomKilled: false });
  });

  test('takes its grace from the signal where it carries one', async () => {
    const shim = await shims.sh(STUBBORN, stopWith('SIGTERM', 60_000));
    await untilTree(shim, 2);
    const tookMs = await stopped(shim, 300);
    expect(tookMs).toBeGreaterThanOrEqual(300);
    expect(tookMs).toBeLessThan(300 + SLACK_MS);
  });

  test('with no grace kills at once, without the stop signal', async () => {
    const shim = await shims.sh('trap "echo signalled; exit" TERM; echo ready; while :; do sleep 0.05; done');
    await until(() => shim.output().toString() === 'ready\n', { what: 'the trap is set' });
    expect(await stopped(shim, 0)).toBeLessThan(SLACK_MS);
    expect(await shim.recorded('exited')).toMatchObject({ signal: 'SIGKILL' });
    expect(shim.output().toString()).toBe('ready\n');
  });

  test('asked for again can only come sooner', async () => {
    const shim = await shims.sh(`echo ready; ${STUBBORN}`, stopWith('SIGTERM', 60_000));
    await untilTree(shim, 2);
    for (const graceMs of [60_000, 400]) {
      shim.stop(graceMs);
      await untilTaken(shim);
    }
    const tookMs = await stopped(shim, 60_000);
    expect(tookMs).toBeLessThan(400 + SLACK_MS);
  });

  test('reaches every process once: in the group, in sessions of their own, orphaned', async () => {
    const count = script(
      'count',
      'n=0; trap "n=\\$((n+1))" TERM; echo "$1 ready"',
      'end=$(($(date +%s%N) + 600000000))',
      'until [ $n -gt 0 ] && [ $(date +%s%N) -gt $end ]; do sleep 0.05; done',
      'echo "$1 got $n"',
    );
    const shim = await shims.sh(
      `${count} group & setsid ${count} session & (setsid ${count} orphan &) ; (setsid sh -c "setsid ${count} deep; :" & ) ; exec ${count} main`,
      stopWith('SIGTERM', 20_000),
    );
    const names = ['group', 'session', 'orphan', 'deep', 'main'];
    await until(() => names.every((name) => shim.output().includes(`${name} ready`)), { what: 'all have their traps' });
    await stopped(shim);
    const lines = shim
      .output()
      .toString()
      .trim()
      .split('\n')
      .filter((line) => line.includes('got'));
    expect(lines.sort()).toEqual(names.map((name) => `${name} got 1`).sort());
  });

  test('reaches what is started after it when the main process ends', async () => {
    const late = script('late', 'trap "echo told; exit" TERM; echo late; while :; do sleep 0.05; done');
    const shim = await shims.sh(
      `trap "setsid ${late} & sleep 0.5; exit 0" TERM; echo ready; while :; do sleep 0.05; done`,
      stopWith('SIGTERM', 20_000),
    );
    await until(() => shim.output().includes('ready'), { what: 'the trap is set' });
    expect(await stopped(shim)).toBeLessThan(10_000);
    expect(shim.output().toString()).toBe('ready\nlate\ntold\n');
  });

  test('wakes what is stopped, so that it can end by itself', async () => {
    const shim = await shims.sh('trap "exit 5" TERM; echo ready; while :; do sleep 0.05; done');
    await until(() => shim.output().includes('ready'), { what: 'the trap is set' });
    process.kill(shim.main, 'SIGSTOP');
    await until(() => /\) T /.test(readFileSync(`/proc/${shim.main}/stat`, 'utf8')), { what: 'it is stopped' });
    expect(await stopped(shim)).toBeLessThan(5_000);
    expect(await shim.recorded('exited')).toMatchObject({ code: 5 });
  });

  test('kills what stays stopped', async () => {
    const shim = await shims.sh('trap "kill -STOP $$" TERM; echo ready; while :; do sleep 0.05; done');
    await until(() => shim.output().includes('ready'), { what: 'the trap is set' });
    expect(await stopped(shim, 300)).toBeLessThan(300 + SLACK_MS);
  });

  test.each<[string, string, number]>([
    ['children in sessions of their own', `for i in 1 2 3; do setsid sh -c '${STUBBORN}' & done; ${STUBBORN}`, 8],
    ['a daemon, forked twice', `(setsid sh -c '(${STUBBORN}) &' &); ${STUBBORN}`, 4],
    [
      'a tree three deep, each level in a session of its own',
      `setsid sh -c "setsid sh -c '${STUBBORN.replaceAll('"', '\\"')}'; :" & ${STUBBORN}`,
      5,
    ],
    ['threads that have made children', '', 3],
  ])('leaves nothing: %s', async (what, commands, size) => {
    const ofThreads = `
      const { Worker } = require('node:worker_threads');
      new Worker("require('node:child_process').spawn('sh', ['-c', 'trap \\"\\" TERM; while :; do sleep 1; done'], { detached: true, stdio: 'ignore' })", { eval: true });
      process.on('SIGTERM', () => {});
      setInterval(() => {}, 1000);`;
    const shim = what.startsWith('threads')
      ? await shims.start([process.execPath, '-e', ofThreads], stopWith('SIGTERM', 400))
      : await shims.sh(commands, stopWith('SIGTERM', 400));
    await untilTree(shim, size);
    expect(await stopped(shim)).toBeLessThan(400 + SLACK_MS);
  });

  test('catches a process that forks and ends over and over', async () => {
    const hop = script('hop', 'setsid "$0" &');
    const shim = await shims.sh(`${hop}; exec sleep 1000`, stopWith('SIGTERM', 200));
    await untilTree(shim, 2);
    expect(await stopped(shim)).toBeLessThan(200 + 2 * SLACK_MS);
  });

  testAsRoot('kills a fork bomb that has reached its limit', async () => {
    const user = { uid: 61234, gid: 61234, groups: [] };
    const shim = await shims.start(BOMB, {
      plan: { user, stop: { signal: 'SIGTERM', graceMs: 200 } },
    });
    await untilTree(shim, 50);
    expect(await stopped(shim)).toBeLessThan(200 + 5 * SLACK_MS);
  });

  test('is not lost when it comes before the workload is started', async () => {
    for (let i = 0; i < 30; i++) {
      const shim = shims.launch(['sleep', '1000']);
      shim.stop();
      const end = await shim.ended;
      // Of its first microseconds, before it can be asked for anything, a shim may die; then it has started nothing.
      if (end === 'SIGTERM') expect(shim.record()).toEqual([]);
      else expect(await shim.recorded('exited')).toMatchObject({ signal: 'SIGTERM' });
      expect(treeOf(shim)).toEqual([]);
    }
  });

  test('is answered while the workload floods its output', async () => {
    const shim = await shims.start(['yes'], stopWith('SIGTERM', 5_000));
    await until(() => shim.output().length > 0, { what: 'it writes' });
    expect(await stopped(shim)).toBeLessThan(5_000);
  });

  test('ignores every other signal', async () => {
    const shim = await shims.start(['sleep', '1000']);
    for (const signal of [
      'SIGINT',
      'SIGHUP',
      'SIGQUIT',
      'SIGPIPE',
      'SIGALRM',
      'SIGTSTP',
      'SIGTTIN',
      'SIGUSR2',
    ] as const) {
      process.kill(shim.pid, signal);
    }
    shim.stop();
    expect(await shim.ended).toBe(0);
    expect(await shim.recorded('exited')).toMatchObject({ signal: 'SIGTERM' });
  });
});

describe('when the main process ends by itself', () => {
  test('its exit is told at once, and what is left has the usual grace', async () => {
    const left = script('left', 'trap "sleep 0.6; echo done; exit" TERM; echo left; while :; do sleep 0.05; done');
    const shim = await shims.sh(`setsid ${left} & read line < /dev/null; exec sleep 1000`);
    await until(() => shim.output().toString() === 'left\n', { what: 'the other one has its trap' });
    killQuietly(shim.main);
    expect(await shim.noticed('exited')).toMatchObject({ signal: 'SIGKILL' });
    expect(shim.record().map(({ kind }) => kind)).not.toContain('gone');
    expect(await shim.ended).toBe(0);
    expect(shim.output().toString()).toBe('left\ndone\n');
    expect(treeOf(shim)).toEqual([]);
  });

  test('what ignores the signal is killed when the grace is over', async () => {
    const shim = await shims.sh(`setsid sh -c '${STUBBORN}' & sleep 0.2; exit 0`, stopWith('SIGTERM', 400));
    expect(await shim.ended).toBe(0);
    const { exitedAtMs } = await shim.recorded('exited');
    const { atMs } = await shim.recorded('gone');
    expect(atMs - exitedAtMs).toBeGreaterThanOrEqual(399);
    expect(atMs - exitedAtMs).toBeLessThan(400 + SLACK_MS);
    expect(treeOf(shim)).toEqual([]);
  });
});

describe('a shim', () => {
  test('reaps the orphans of a workload that goes on', async () => {
    const shim = await shims.sh('for i in 1 2 3 4 5; do (sleep 0.0$i &); done; exec sleep 1000');
    const children = () => readFileSync(`/proc/${shim.pid}/task/${shim.pid}/children`, 'utf8').trim().split(' ');
    await until(() => children().join() === String(shim.main), { what: 'only the main process is left' });
    expect(isAlive(shim.main)).toBe(true);
    await stopped(shim);
  });

  test('that is killed takes the main process with it', async () => {
    const shim = await shims.sh(STUBBORN);
    process.kill(shim.pid, 'SIGKILL');
    expect(await shim.ended).toBe('SIGKILL');
    await until(() => !isAlive(shim.main), { what: 'the main process is dead' });
    expect(shim.record().map(({ kind }) => kind)).toEqual(['shim', 'started']);
  });
});

const GROUPS = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].find(
  (path) => existsSync(`${path}/cgroup.procs`) && existsSync(`${path}/cgroup.subtree_control`),
);
const canMakeGroups = GROUPS !== undefined && process.getuid?.() === 0;

describe('in a cgroup', () => {
  const name = canMakeGroups ? test : test.skip;
  const why = canMakeGroups ? '' : ' (skipped: needs cgroup v2 and root)';

  name(`the workload begins in its group, and the group is empty in the end${why}`, async () => {
    const cgroup = join(GROUPS!, `morch-shim-test-${process.pid}`);
    mkdirSync(cgroup);
    try {
      const shim = await shims.sh(`cat /proc/self/cgroup; setsid sh -c '${STUBBORN}' & ${STUBBORN}`, {
        plan: { cgroup, stop: { signal: 'SIGTERM', graceMs: 300 } },
      });
      await untilTree(shim, 4);
      expect(shim.output().toString()).toContain(`0::/${cgroup.slice(GROUPS!.length + 1)}\n`);
      expect(readFileSync(`/proc/${shim.pid}/cgroup`, 'utf8')).not.toContain('morch-shim-test');
      expect(await stopped(shim)).toBeLessThan(300 + SLACK_MS);
      expect(readFileSync(join(cgroup, 'cgroup.events'), 'utf8')).toContain('populated 0');
      expect(await shim.recorded('exited')).toMatchObject({ oomKilled: false });
    } finally {
      rmdirSync(cgroup);
    }
  });

  name(`a fork bomb is killed at once${why}`, async () => {
    const cgroup = join(GROUPS!, `morch-shim-bomb-${process.pid}`);
    mkdirSync(cgroup);
    try {
      const user = { uid: 61235, gid: 61235, groups: [] };
      const shim = await shims.start(BOMB, { plan: { cgroup, user } });
      await untilTree(shim, 50);
      expect(await stopped(shim, 0)).toBeLessThan(2 * SLACK_MS);
    } finally {
      rmdirSync(cgroup);
    }
  });

  name(`a stranger in the group dies with it, and does not keep the shim for ever${why}`, async () => {
    const cgroup = join(GROUPS!, `morch-shim-stranger-${process.pid}`);
    mkdirSync(cgroup);
    try {
      const shim = await shims.start(['sleep', '1000'], { plan: { cgroup } });
      const stranger = Number(execFileSync('sh', ['-c', 'sleep 1000 >/dev/null 2>&1 & echo $!']).toString());
      writeFileSync(join(cgroup, 'cgroup.procs'), String(stranger));
      await stopped(shim, 200);
      expect(isAlive(stranger)).toBe(false);
    } finally {
      rmdirSync(cgroup);
    }
  });
});

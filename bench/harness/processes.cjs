'use strict';
/** What /proc tells of processes: proc(5). All reads are synchronous, so that one look is as close to one moment as it gets. */
const { readdirSync, readFileSync, readlinkSync } = require('node:fs');
const path = require('node:path');

/** USER_HZ, the unit of times in /proc: 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

function allPids() {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** @returns null when the process is gone */
function readOf(pid, file) {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return null;
  }
}

/** @returns the environment a process was started with; empty for a zombie and for one that is gone */
function environmentOf(pid) {
  const pairs = (readOf(pid, 'environ') ?? '').split('\0');
  return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
}

/** Live processes that have `BENCH_MARK=<mark>` in their environment; zombies have none. @returns [{ pid, env }] */
function findMarked(mark) {
  const found = [];
  for (const pid of allPids()) {
    if (!(readOf(pid, 'environ') ?? '').includes(`BENCH_MARK=${mark}\0`)) continue;
    found.push({ pid, env: environmentOf(pid) });
  }
  return found;
}

/** How many processes there are by the value of one variable. @returns Map */
function countBy(processes, name) {
  const counts = new Map();
  for (const { env } of processes) counts.set(env[name], (counts.get(env[name]) ?? 0) + 1);
  return counts;
}

/** SIGKILL to what carries the mark; the mark is read again just before, so that a reused pid is not hit. */
function killMarked(mark) {
  const found = findMarked(mark);
  for (const { pid } of found) {
    if (environmentOf(pid).BENCH_MARK === mark) killPid(pid);
  }
  return found.length;
}

/**
 * Shims (docs/shim.md) of agents whose data directories are `directory` or below it; symbolic links resolved.
 * @returns [{ pid, key, nonce }]
 */
function findShims(directory) {
  return allPids().flatMap((pid) => {
    const shim = shimOf(pid, directory);
    return shim === null ? [] : [{ pid, ...shim }];
  });
}

function shimOf(pid, directory) {
  const [name, dataDir, key, nonce] = (readOf(pid, 'cmdline') ?? '').split('\0');
  if (name !== 'morch-shim' || !`${dataDir}/`.startsWith(`${directory}/`)) return null;
  return { key, nonce };
}

/** SIGKILL to them, read again just before like marked ones. */
function killShims(directory) {
  const found = findShims(directory);
  for (const { pid, nonce } of found) {
    if (shimOf(pid, directory)?.nonce === nonce) killPid(pid);
  }
  return found.length;
}

function killPid(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

/** Null when the process is gone. The second field of stat may hold spaces and parentheses; the rest begins after its last one. */
function statOf(pid) {
  const text = readOf(pid, 'stat');
  if (text === null) return null;
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return {
    state: fields[0],
    ppid: Number(fields[1]),
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    /** Of its children that have ended and were waited for, and of theirs. */
    childrenCpuSeconds: (Number(fields[13]) + Number(fields[14])) / TICKS_PER_SECOND,
    /** With the pid the identity of a process since boot. */
    startTicks: Number(fields[19]),
  };
}

/** CPU time used since its start, by all its threads, in user and kernel mode. */
function cpuSecondsOf(pid) {
  return statOf(pid).cpuSeconds;
}

/** Of its first thread alone, which in Node runs the event loop. */
function firstThreadCpuSecondsOf(pid) {
  return statOf(`${pid}/task/${pid}`).cpuSeconds;
}

function residentBytesOf(pid) {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readOf(pid, 'status'))[1]) * 1024;
}

/** Of each thread, on x86-64 and arm64 in their usual configuration. */
const KERNEL_STACK_BYTES = 16 * 1024;

/**
 * Bytes: all resident pages; the shared ones divided among those that share them; those that nobody shares; what the kernel keeps for
 * these in page tables and stacks. The rest of what the kernel has for a process no file tells.
 */
function memoryOf(pid) {
  const read = (file, name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readOf(pid, file))[1]) * 1_024;
  const of = (name) => read('smaps_rollup', name);
  return {
    resident: of('Rss'),
    proportional: of('Pss'),
    private: of('Private_Clean') + of('Private_Dirty'),
    pageTables: read('status', 'VmPTE'),
    kernelStacks: threadsOf(pid) * KERNEL_STACK_BYTES,
  };
}

function threadsOf(pid) {
  return readdirSync(`/proc/${pid}/task`).length;
}

/** @returns { sockets, others }: how many are open; others are files, pipes, pidfds and the like */
function descriptorsOf(pid) {
  const directory = `/proc/${pid}/fd`;
  const targets = readdirSync(directory).map((fd) => linkOf(path.join(directory, fd)));
  const sockets = targets.filter((target) => target.startsWith('socket:')).length;
  return { sockets, others: targets.length - sockets };
}

/** @returns an empty text for one that was closed meanwhile */
function linkOf(file) {
  try {
    return readlinkSync(file);
  } catch {
    return '';
  }
}

function childrenOf(pid) {
  return allPids().filter((one) => statOf(one)?.ppid === pid);
}

/** Children of `pids` that have ended and were not waited for. */
function zombiesOf(pids) {
  return allPids().filter((pid) => {
    const stat = statOf(pid);
    return stat !== null && stat.state === 'Z' && pids.includes(stat.ppid);
  });
}

module.exports = {
  childrenOf,
  countBy,
  cpuSecondsOf,
  descriptorsOf,
  environmentOf,
  findMarked,
  findShims,
  firstThreadCpuSecondsOf,
  killMarked,
  killPid,
  killShims,
  memoryOf,
  residentBytesOf,
  statOf,
  threadsOf,
  zombiesOf,
};

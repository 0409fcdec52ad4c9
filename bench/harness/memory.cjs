'use strict';
/** The node's memory as the kernel accounts for it: proc_meminfo(5). Bytes. */
const { readFileSync } = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');

const READ_EVERY_MS = 300;
const STEADY_READINGS = 5;
/** Half a KiB for each of a thousand. */
const STEADY_WITHIN_BYTES = 512 * 1024;
const STEADY_TIMEOUT_MS = 15_000;

/** What the kernel has for processes beside their own pages; other processes that come to no end change little of it. */
const KERNEL = {
  'page tables': 'PageTables',
  'kernel stacks': 'KernelStack',
  'unreclaimable slab': 'SUnreclaim',
  'per-CPU': 'Percpu',
};

function readMemory() {
  flushCounters();
  const text = readFileSync('/proc/meminfo', 'latin1');
  const of = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)[1]) * 1_024;
  const cached = of('Buffers') + of('Cached') - of('Shmem') + of('SReclaimable');
  return {
    used: of('MemTotal') - of('MemFree') - cached,
    unavailable: of('MemTotal') - of('MemAvailable'),
    cached,
    ...Object.fromEntries(Object.entries(KERNEL).map(([what, name]) => [what, of(name)])),
  };
}

/** Each CPU keeps some of a counter to itself; reading this file has them handed in (root only). */
function flushCounters() {
  try {
    readFileSync('/proc/sys/vm/stat_refresh');
  } catch (error) {
    if (error.code !== 'EACCES' && error.code !== 'ENOENT') throw error;
  }
}

/** Once a few readings in a row are about the same; after a while as it is, with `isSteady` false. */
async function readSteadyMemory() {
  const readings = [];
  const startedAtMs = Date.now();
  for (;;) {
    readings.push(readMemory());
    const last = readings.slice(-STEADY_READINGS);
    const used = last.map((reading) => reading.used);
    const isSteady = last.length === STEADY_READINGS && Math.max(...used) - Math.min(...used) <= STEADY_WITHIN_BYTES;
    if (isSteady || Date.now() - startedAtMs > STEADY_TIMEOUT_MS) return { ...last.at(-1), isSteady };
    await sleep(READ_EVERY_MS);
  }
}

/** What `later` has more; steady when both are. */
function subtractMemory(later, earlier) {
  const difference = Object.fromEntries(Object.keys(later).map((what) => [what, later[what] - earlier[what]]));
  return { ...difference, isSteady: later.isSteady && earlier.isSteady };
}

/** A sum that others on the machine disturb less than "used". @param ownPages bytes of the processes in question; @param memory a difference */
function attribute(ownPages, memory) {
  const kernel = Object.keys(KERNEL).reduce((sum, what) => sum + memory[what], 0);
  return { ...memory, 'own pages': ownPages, 'own and kernel': ownPages + kernel };
}

module.exports = { attribute, readSteadyMemory, subtractMemory };

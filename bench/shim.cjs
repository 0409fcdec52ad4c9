'use strict';
/**
 * What a shim costs in memory: one by itself, and what one more instance costs its node all told, with 1,000 of `sleep` through one
 * agent; beside it as many bare sleeps, started by a C program, and one sleep alone.
 *
 *   node bench/shim.cjs [--runs 5] [--instances 1000] [--json] [--keep]
 *
 * One by itself: its binary, and of 50 idle ones the resident, proportional (PSS) and private memory, from smaps_rollup, and what the
 * kernel keeps in page tables and its stack. What else the kernel keeps for it is in what the node has less.
 * All told: /proc/meminfo before and with all of them, each read once it is steady. "Used" is all that is neither free nor could
 * be had back: total less free, less page cache and reclaimable slab, but with shared memory; so it misses nothing, wherever the kernel
 * accounts for it. Beside it what MemAvailable has less, and what the page cache and reclaimable slab have more, which is where state
 * files and logs show. The machine must be quiet for these. "Own and kernel" is less disturbed: the PSS of agent, shims and sleeps
 * themselves, and what the kernel has more in page tables, stacks, slab and per-CPU data.
 * Each run has an agent of its own, which has started and stopped some before.
 * Checked: as many processes and shims as instances, none of them after the stop.
 * --keep leaves the directory with the logs when something fails.
 */
const { spawn } = require('node:child_process');
const { statSync } = require('node:fs');
const path = require('node:path');
const { Agent } = require('./harness/agent.cjs');
const { buildC, holdSleepsInC } = require('./harness/control.cjs');
const { inLanes } = require('./harness/lanes.cjs');
const { attribute, readSteadyMemory, subtractMemory } = require('./harness/memory.cjs');
const { ROOT } = require('./harness/part.cjs');
const { childrenOf, memoryOf } = require('./harness/processes.cjs');
const { onEnd, runBench } = require('./harness/program.cjs');
const { median, showSpread, showSpreads, showTable, spreadOf } = require('./harness/statistics.cjs');
const { until } = require('./harness/until.cjs');

const SHIM = path.join(ROOT, 'agent/native/build/Release/morch-shim');
const IDLE = 50;
const BATCH = 50;
const WITHIN_MS = 120_000;
const COMMAND = ['sleep', '100000'];

runBench({
  file: __filename,
  numbers: { runs: 5, instances: 1_000 },
  limitMs: ({ runs, instances }) => 60_000 + runs * (180_000 + instances * 60),
  main: measureShims,
});

async function measureShims({ numbers: { runs, instances }, check, say }) {
  const program = buildC('sleeps_control');
  const binaryBytes = statSync(SHIM).size;
  const samples = [];
  for (let run = 1; run <= runs; run += 1) {
    const claim = (isTrue, what) => check(isTrue, `run ${run}: ${what}`);
    const ours = await measureInstances(instances, claim);
    const bare = await measureBareSleeps(program, instances);
    const alone = await measureOneSleep();
    samples.push({ run, ...ours, bare, alone });
    const each = (memory) => (memory.used / instances / 1_024).toFixed(1);
    say(
      `run ${run}/${runs}: one more instance ${each(ours.node)} KiB (agent ${(ours.agentBytes / instances / 1_024).toFixed(1)}), ` +
        `one more bare sleep ${each(bare)} KiB, left by the stop ${(ours.left.used / 2 ** 20).toFixed(1)} MiB` +
        `${[ours.node, bare].every(({ isSteady }) => isSteady) ? '' : '; readings were NOT STEADY'}`,
    );
  }
  return report({ samples, runs, instances, binaryBytes });
}

async function measureInstances(count, claim) {
  const agent = await Agent.start();
  await start(agent, IDLE, 'warm');
  const shims = agent.shims().map(({ pid }) => memoryOf(pid));
  const sleeps = agent.processes().map(({ pid }) => memoryOf(pid));
  await stop(agent, IDLE, 'warm');

  const before = await readSteadyMemory();
  const agentBefore = memoryOf(agent.pid);
  await start(agent, count, 'many');
  const memory = subtractMemory(await readSteadyMemory(), before);
  const agentAfter = memoryOf(agent.pid);
  const pids = [...agent.processes(), ...agent.shims()].map(({ pid }) => pid);
  claim(pids.length === 2 * count, `${pids.length} processes and shims instead of ${count} each`);
  const node = attribute(pagesOf(pids) + agentAfter.proportional - agentBefore.proportional, memory);
  const agentBytes = agentAfter.resident - agentBefore.resident;
  await stop(agent, count, 'many');
  const left = subtractMemory(await readSteadyMemory(), before);
  const agentLeftBytes = memoryOf(agent.pid).resident - agentBefore.resident;
  const remaining = await agent.close();
  claim(remaining === 0, `${remaining} processes were left after the agent had ended`);
  return { shim: mediansOf(shims), sleep: mediansOf(sleeps), node, agentBytes, left, agentLeftBytes };
}

async function start(agent, count, name) {
  const specs = Array.from({ length: count }, (_, at) => ({
    instanceId: `${name}.${at}`,
    uid: name,
    command: COMMAND,
  }));
  const batches = Array.from({ length: Math.ceil(count / BATCH) }, (_, at) =>
    specs.slice(at * BATCH, (at + 1) * BATCH),
  );
  await inLanes(batches, 1, (batch) => agent.startAll(batch, { timeoutMs: WITHIN_MS }));
}

async function stop(agent, count, name) {
  const instances = Array.from({ length: count }, (_, at) => ({
    instanceId: `${name}.${at}`,
    uid: name,
    generation: 1,
  }));
  await agent.request('POST', '/stop', { instances }, { timeoutMs: WITHIN_MS });
  const areGone = () => agent.processes().length + agent.shims().length === 0;
  await until(areGone, { what: 'all instances are stopped', everyMs: 50, timeoutMs: WITHIN_MS });
}

async function measureBareSleeps(program, count) {
  const before = await readSteadyMemory();
  const { pid, end } = await holdSleepsInC(program, count);
  const memory = subtractMemory(await readSteadyMemory(), before);
  const bare = attribute(pagesOf(childrenOf(pid)), memory);
  await end();
  return bare;
}

/** Of all of them, the shared ones divided among those that share them. */
function pagesOf(pids) {
  return pids.reduce((sum, pid) => sum + memoryOf(pid).proportional, 0);
}

async function measureOneSleep() {
  const child = spawn(COMMAND[0], COMMAND.slice(1), { stdio: 'ignore' });
  const done = onEnd(() => child.kill('SIGKILL'));
  const gone = new Promise((resolve) => child.once('exit', resolve));
  // The loader maps its libraries after the exec; once a page is private and none is added it sleeps.
  let last = null;
  const memory = await until(
    () => {
      const earlier = last;
      last = memoryOf(child.pid);
      return earlier?.resident === last.resident && last.private > 0 && last;
    },
    { what: 'a sleep sleeps', everyMs: 50 },
  );
  child.kill('SIGKILL');
  await gone;
  done();
  return memory;
}

function mediansOf(memories) {
  return Object.fromEntries(
    Object.keys(memories[0]).map((what) => [what, median(memories.map((memory) => memory[what]))]),
  );
}

function report({ samples, runs, instances, binaryBytes }) {
  const kib = (select) => spreadOf(samples.map((sample) => select(sample) / 1_024));
  const each = (select) => spreadOf(samples.map((sample) => select(sample) / instances / 1_024));
  const ofProcess = (select) =>
    Object.fromEntries(Object.keys(samples[0].shim).map((what) => [what, kib((sample) => select(sample)[what])]));
  const ofNode = (select) =>
    Object.fromEntries(
      Object.keys(samples[0].node)
        .filter((what) => what !== 'isSteady')
        .map((what) => [what, each((sample) => select(sample)[what])]),
    );
  const figures = {
    binaryKib: binaryBytes / 1_024,
    shimKib: ofProcess(({ shim }) => shim),
    sleepKib: ofProcess(({ sleep }) => sleep),
    aloneKib: ofProcess(({ alone }) => alone),
    instanceKib: ofNode(({ node }) => node),
    bareKib: ofNode(({ bare }) => bare),
    agentKib: each(({ agentBytes }) => agentBytes),
    shimAllToldKib: each(({ node, bare, agentBytes }) => node.used - bare.used - agentBytes),
    toBare: spreadOf(samples.map(({ node, bare }) => node.used / bare.used)),
    attributedToBare: spreadOf(samples.map(({ node, bare }) => node['own and kernel'] / bare['own and kernel'])),
    leftMib: spreadOf(samples.map(({ left }) => left.used / 2 ** 20)),
    agentLeftMib: spreadOf(samples.map(({ agentLeftBytes }) => agentLeftBytes / 2 ** 20)),
    unsteady: samples.filter(({ node, bare }) => !node.isSteady || !bare.isSteady).length,
  };
  const row = (name, memory) => [name, ...Object.values(memory).map((spread) => showSpread(spread, 0))];
  const lines = [
    `Memory of a shim, and of one more instance among ${instances}; ${runs} runs; median (min..max), KiB`,
    `  the binary of the shim: ${figures.binaryKib.toFixed(1)} KiB`,
    ...showTable([
      ['one process', 'resident', 'proportional', 'private', 'page tables', 'kernel stack'],
      row(`shim, median of ${IDLE} idle ones`, figures.shimKib),
      row('the sleep below it', figures.sleepKib),
      row('one sleep alone', figures.aloneKib),
    ]),
    ...showTable([
      ['the node, for each, from meminfo', 'instance', 'bare sleep'],
      ...Object.keys(figures.instanceKib).map((what) => [
        what,
        showSpread(figures.instanceKib[what], 1),
        showSpread(figures.bareKib[what], 1),
      ]),
    ]),
    ...showSpreads([
      ['one more instance / one more bare sleep, used', figures.toBare, 2, '×'],
      ['the same by own pages and kernel', figures.attributedToBare, 2, '×'],
      ['of one more instance resident in the agent', figures.agentKib, 1, 'KiB'],
      [
        'of one more instance the shim, kernel included: instance − bare sleep − agent',
        figures.shimAllToldKib,
        1,
        'KiB',
      ],
      ['more used after the stop of all than before', figures.leftMib, 1, 'MiB'],
      ['of it resident in the agent', figures.agentLeftMib, 1, 'MiB'],
    ]),
    ...(figures.unsteady === 0
      ? []
      : [`  readings were not steady in ${figures.unsteady} of ${runs} runs: the machine was not quiet`]),
  ];
  return { json: { figures, samples }, lines };
}

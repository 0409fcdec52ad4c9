'use strict';
/**
 * Ten thousand workloads that end at once: `/bin/true` through one agent, from the first POST /start until the last is told as
 * ended with 0; against a C loop of vfork, exec and wait, by two threads.
 *
 *   node bench/trues.cjs [--runs 7] [--count 10000] [--batch 64] [--lanes 2] [--data-dir DIR] [--json] [--keep]
 *
 * Batches of --batch starts, --lanes of them at a time: as many starts are asked for at once as both make; C has as many children at
 * once. The ends are heard on the agent's WebSocket. Each run has an agent of its own, which has done a few hundred before
 * it is measured, and is done once on the file system of --data-dir (default: that of temporary files) and once in memory
 * (/dev/shm): between the two stands what it costs that a start and an exit are on the disk before they count. What the disk alone
 * takes for that is a control of its own: a C program that makes the same records durable, as many at once, and executes nothing.
 * Checked: each runs once and ends with 0; afterwards there are no zombies, no shims, no more descriptors, records and processes than
 * before (an agent used alone keeps the last 100 ended ones). Empty logs of those that are forgotten are counted beside.
 * Measured besides: CPU time of the agent, and of its children, which are the shims and what those started.
 * --keep leaves the directory with the logs when something fails.
 */
const { randomUUID } = require('node:crypto');
const { readdirSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { Agent } = require('./harness/agent.cjs');
const { buildC, measureRecordsInC, measureTruesInC } = require('./harness/control.cjs');
const { inLanes } = require('./harness/lanes.cjs');
const {
  childrenOf,
  descriptorsOf,
  firstThreadCpuSecondsOf,
  residentBytesOf,
  statOf,
  zombiesOf,
} = require('./harness/processes.cjs');
const { runBench } = require('./harness/program.cjs');
const { showSpread, showSpreads, showTable, spreadOf } = require('./harness/statistics.cjs');
const { until } = require('./harness/until.cjs');

const MEMORY = '/dev/shm';
/** As many as the agent has for it. */
const CONTROL_THREADS = 2;
const WARM_UP = 500;
const WITHIN_MS = 300_000;
const SETTLE_WITHIN_MS = 10_000;
/** Kept connections that may have been opened since the warm-up; a leak would be one for each instance. */
const SPARE_SOCKETS = 4;
const LOOK_EVERY_MS = 250;

runBench({
  file: __filename,
  numbers: { runs: 7, count: 10_000, batch: 64, lanes: 2 },
  texts: { 'data-dir': os.tmpdir() },
  limitMs: ({ runs, count }) => 60_000 + runs * (60_000 + count * 40),
  main: measureTrues,
});

async function measureTrues({ numbers, texts, check, say }) {
  const { runs, count, batch, lanes } = numbers;
  const program = buildC('spawn_control');
  const recordsProgram = buildC('records_control');
  const samples = [];
  for (let run = 1; run <= runs; run += 1) {
    const claim = (isTrue, what) => check(isTrue, `run ${run}: ${what}`);
    const control = await measureTruesInC(program, count, batch * lanes, { threads: CONTROL_THREADS });
    const disk = await runAll({ ...numbers, recordsProgram, parent: texts['data-dir'], claim });
    const memory = await runAll({ ...numbers, recordsProgram, parent: MEMORY, claim });
    samples.push({ run, control, disk, memory });
    say(
      `run ${run}/${runs}: ${(count / disk.seconds).toFixed(0)}/s, in memory ${(count / memory.seconds).toFixed(0)}/s, C ` +
        `${(count / control.seconds).toFixed(0)}/s, the disk ${(count / disk.recordsSeconds).toFixed(0)}/s; ${disk.right} of ${count} ended with 0; agent's CPU ` +
        `${disk.agentCpuSeconds.toFixed(1)} s, its children's ${disk.childrenCpuSeconds.toFixed(1)} s; before → after: ` +
        Object.keys(disk.before)
          .map((what) => `${disk.before[what]} → ${disk.after[what]} ${what}`)
          .join(', '),
    );
  }
  return report({ samples, ...numbers });
}

async function runAll({ count, batch, lanes, parent, recordsProgram, claim }) {
  const agent = await Agent.start({ parent });
  const ends = new Ends();
  const close = await agent.listen((message) => ends.take(message));
  await startAndAwait({ agent, ends, count: WARM_UP, batch, lanes });
  const records = await measureRecordsInC(recordsProgram, path.join(agent.directory, 'control'), count, batch * lanes);
  const before = await settle(agent, () => true);
  ends.clear();

  const cpuBefore = cpuOf(agent);
  const peak = { zombies: 0, shims: 0, descriptors: 0 };
  const looking = setInterval(() => lookAt(agent, peak), LOOK_EVERY_MS);
  const startedAt = performance.now();
  await startAndAwait({ agent, ends, count, batch, lanes });
  const seconds = (performance.now() - startedAt) / 1e3;
  clearInterval(looking);
  const cpuAfter = cpuOf(agent);
  const isBack = (now) =>
    names(now).every((what) => now[what] <= before[what] + (what === 'sockets' ? SPARE_SOCKETS : 0));
  const after = await settle(agent, (now) => isBack({ ...now, logs: 0, residentMib: 0 }));
  claim(
    ends.right === count && ends.wrong === 0,
    `${ends.right} of ${count} ended with 0 in their first run, ${ends.wrong} otherwise`,
  );
  for (const what of ['zombies', 'shims', 'processes', 'descriptors', 'records']) {
    claim(after[what] <= before[what], `${before[what]} ${what} before, ${after[what]} afterwards`);
  }
  claim(
    after.sockets <= before.sockets + SPARE_SOCKETS,
    `${before.sockets} sockets before, ${after.sockets} afterwards`,
  );
  close();
  const left = await agent.close();
  claim(left === 0, `${left} processes were left after the agent had ended`);
  return {
    seconds,
    recordsSeconds: records.seconds,
    right: ends.right,
    agentCpuSeconds: cpuAfter.cpuSeconds - cpuBefore.cpuSeconds,
    loopCpuSeconds: cpuAfter.loopCpuSeconds - cpuBefore.loopCpuSeconds,
    childrenCpuSeconds: cpuAfter.childrenCpuSeconds - cpuBefore.childrenCpuSeconds,
    before,
    after,
    peak,
  };
}

function cpuOf({ pid }) {
  return { ...statOf(pid), loopCpuSeconds: firstThreadCpuSecondsOf(pid) };
}

/** What is told of the ends of instances. */
class Ends {
  right = 0;
  wrong = 0;

  clear() {
    this.right = 0;
    this.wrong = 0;
  }

  take({ type, instance }) {
    if (type !== 'instance' || !['completed', 'failed', 'stopped'].includes(instance.status)) return;
    const isRight = instance.status === 'completed' && instance.exit.code === 0 && instance.run === 1;
    this[isRight ? 'right' : 'wrong'] += 1;
  }
}

async function startAndAwait({ agent, ends, count, batch, lanes }) {
  const batches = Array.from({ length: Math.ceil(count / batch) }, (_, at) => Math.min(batch, count - at * batch));
  await inLanes(batches, lanes, async (size) => {
    const specs = Array.from({ length: size }, () => ({
      instanceId: 'true.0',
      uid: randomUUID(),
      command: ['/bin/true'],
    }));
    await agent.startAll(specs, { timeoutMs: 60_000 });
  });
  const heard = () => ends.right + ends.wrong >= count;
  await until(heard, {
    what: 'all ends are told',
    timeoutMs: WITHIN_MS,
    describe: () => `${ends.right} right, ${ends.wrong} wrong`,
  });
}

/** What there is of it, once that is as it should be, or in vain. */
async function settle(agent, isRight) {
  let now = inspect(agent);
  const looks = async () => {
    const earlier = JSON.stringify({ ...now, residentMib: 0 });
    now = inspect(agent);
    return isRight(now) && JSON.stringify({ ...now, residentMib: 0 }) === earlier;
  };
  await until(looks, { what: 'it is quiet', everyMs: 200, timeoutMs: SETTLE_WITHIN_MS }).catch(() => {}); // the checks tell
  return now;
}

function inspect(agent) {
  const { sockets, others } = descriptorsOf(agent.pid);
  return {
    processes: childrenOf(agent.pid).length + agent.processes().length,
    shims: agent.shims().length,
    zombies: zombiesOf([agent.pid]).length,
    descriptors: others,
    sockets,
    records: filesIn(path.join(agent.dataDir, 'instances')),
    logs: filesIn(path.join(agent.dataDir, 'logs')),
    residentMib: Math.round(residentBytesOf(agent.pid) / 2 ** 20),
  };
}

function lookAt(agent, peak) {
  peak.zombies = Math.max(peak.zombies, zombiesOf([agent.pid]).length);
  peak.shims = Math.max(peak.shims, agent.shims().length);
  peak.descriptors = Math.max(peak.descriptors, descriptorsOf(agent.pid).others);
}

/** Files and directories below it. */
function filesIn(directory) {
  try {
    return readdirSync(directory, { recursive: true }).length;
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    return filesIn(directory); // a record was removed while it was looked at
  }
}

function names(inspected) {
  return Object.keys(inspected);
}

function report({ samples, runs, count, batch, lanes }) {
  const of = (select) => spreadOf(samples.map(select));
  const rate = (select) => of((sample) => count / select(sample).seconds);
  const msEach = (select) => of((sample) => (select(sample) * 1e3) / count);
  const figures = {
    perSecond: rate(({ disk }) => disk),
    inMemoryPerSecond: rate(({ memory }) => memory),
    controlPerSecond: rate(({ control }) => control),
    toControl: of(({ disk, control }) => control.seconds / disk.seconds),
    recordsPerSecond: of(({ disk }) => count / disk.recordsSeconds),
    toRecords: of(({ disk }) => disk.recordsSeconds / disk.seconds),
    inMemoryToControl: of(({ memory, control }) => control.seconds / memory.seconds),
    loopCpuMs: msEach(({ disk }) => disk.loopCpuSeconds),
    agentCpuMs: msEach(({ disk }) => disk.agentCpuSeconds),
    childrenCpuMs: msEach(({ disk }) => disk.childrenCpuSeconds),
    inMemoryAgentCpuMs: msEach(({ memory }) => memory.agentCpuSeconds),
    inMemoryChildrenCpuMs: msEach(({ memory }) => memory.childrenCpuSeconds),
    controlCpuMs: msEach(({ control }) => control.cpuSeconds),
    before: Object.fromEntries(
      names(samples[0].disk.before).map((what) => [what, of(({ disk }) => disk.before[what])]),
    ),
    after: Object.fromEntries(names(samples[0].disk.after).map((what) => [what, of(({ disk }) => disk.after[what])])),
    peak: Object.fromEntries(names(samples[0].disk.peak).map((what) => [what, of(({ disk }) => disk.peak[what])])),
  };
  const lines = [
    `${count} × /bin/true through one agent, ${lanes} × ${batch} starts at a time; ${runs} runs; median (min..max)`,
    ...showSpreads([
      ['started and told as ended', figures.perSecond, 0, 'per second'],
      ['the same with the data directory in memory', figures.inMemoryPerSecond, 0, 'per second'],
      [
        `control: vfork, exec, wait in C, ${CONTROL_THREADS} threads, ${lanes * batch} at once`,
        figures.controlPerSecond,
        0,
        'per second',
      ],
      ['control: only their records on the disk, in C', figures.recordsPerSecond, 0, 'per second'],
      ['agent / C', figures.toControl, 3, '× the rate'],
      ['agent / only the records', figures.toRecords, 3, '× the rate'],
      ['agent with its directory in memory / C', figures.inMemoryToControl, 3, '× the rate'],
      ['CPU time of the agent, each', figures.agentCpuMs, 3, 'ms'],
      ['of it its event loop', figures.loopCpuMs, 3, 'ms'],
      ['CPU time of shim and program, each', figures.childrenCpuMs, 3, 'ms'],
      ['CPU time of the agent, in memory', figures.inMemoryAgentCpuMs, 3, 'ms'],
      ['CPU time of shim and program, in memory', figures.inMemoryChildrenCpuMs, 3, 'ms'],
      ['control: CPU time of the C loop and its children', figures.controlCpuMs, 3, 'ms'],
    ]),
    `  before: after ${WARM_UP}, at rest; after: after ${count} more, at rest; meanwhile: the most that was seen`,
    ...showTable([
      ['', 'before', 'after', 'meanwhile'],
      ...names(figures.before).map((what) => [
        what,
        showSpread(figures.before[what], 0),
        showSpread(figures.after[what], 0),
        figures.peak[what] === undefined ? '' : showSpread(figures.peak[what], 0),
      ]),
    ]),
  ];
  return { json: { figures, samples }, lines };
}

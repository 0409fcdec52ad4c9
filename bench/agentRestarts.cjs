'use strict';
/**
 * An agent that is killed over and over: `kill -9` of it under 50 running workloads, then started again on its data
 * directory, 100 times. What it ran must go on as if nothing had been, and what ended meanwhile be told as it was.
 *
 *   node bench/agentRestarts.cjs [--runs 100] [--workloads 50] [--ending 4] [--busy] [--json] [--keep]
 *
 * The kill comes at a random moment of a second. While the agent is down, some more workloads (--ending) end, each with an
 * exit code or by a signal of its own; all codes from 0 to 255 have their turn. The workloads that stay are services: one
 * taken for lost would be started again. Each program leaves a line with its pid in a file of its own when it starts.
 * With --busy the kill comes while starts and stops are under way, and in every third run once more while the agent starts
 * again; then all that was not answered is sent again.
 * Checked every time, on the agent's first answer: pids and their start times, shims, run and generation are as before;
 * none is lost, none doubled (by lines, and by the mark in /proc/PID/environ), no shim is there that belongs to none; what ended
 * is told with its exit, and the time at which it ended. With --busy: what was acknowledged holds; what was not is there once or not
 * at all, and known to the agent if it is there; sent again, it is there once; a stop sent again leaves nothing.
 * Measured: from the start of the agent until its answer shows all of them. Controls, in the same run: a bare Node HTTP server,
 * from its start to its first answer, and an agent that has nothing to take over.
 * --keep leaves the directory with the logs when something fails.
 */
const { execFileSync } = require('node:child_process');
const { closeSync, constants, mkdirSync, openSync, readdirSync } = require('node:fs');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { setTimeout: sleep } = require('node:timers/promises');
const { Agent } = require('./harness/agent.cjs');
const { measureBareServer } = require('./harness/control.cjs');
const { countBy, statOf } = require('./harness/processes.cjs');
const { runBench } = require('./harness/program.cjs');
const { showSpreads, spreadOf } = require('./harness/statistics.cjs');
const { startsIn, Traffic } = require('./harness/traffic.cjs');
const { until } = require('./harness/until.cjs');

const STAYS = 'echo $$ >> "$0"; exec sleep 100000';
/** Ends when the FIFO is opened for writing, which is while no agent is there. */
const ENDS = 'echo $$ >> "$0"; : < "$1"; exit "$2"';
const DIES = 'echo $$ >> "$0"; : < "$1"; kill -"$2" $$';
const SIGNALS = ['SIGKILL', 'SIGTERM', 'SIGSEGV', 'SIGHUP', 'SIGABRT', 'SIGUSR1', 'SIGPIPE'];
/** Every so many of those that end are killed by a signal. */
const SIGNAL_EVERY = 8;
const HEARTBEAT_MS = 1_000;
const TOLD_WITHIN_MS = 5_000;
/** What an agent used alone keeps of ended instances. */
const ENDED_KEPT = 100;

runBench({
  file: __filename,
  numbers: { runs: 100, workloads: 50, ending: 4 },
  switches: ['busy'],
  limitMs: ({ runs }) => 60_000 + runs * 30_000,
  main: measureRestarts,
});

async function measureRestarts({ numbers: { runs, workloads, ending }, switches: { busy }, check, say }) {
  const agent = await Agent.start();
  const bare = await Agent.start();
  const files = path.join(agent.directory, 'started');
  mkdirSync(files);
  const staying = await startStaying(agent, files, workloads);
  const tally = { kept: 0, exitsRight: 0, ended: 0 };
  const samples = [];
  const traffics = [];
  for (let run = 1; run <= runs; run += 1) {
    const claim = (isTrue, what) => {
      check(isTrue, `run ${run}: ${what}`);
      return isTrue;
    };
    const controlMs = await measureBareServer();
    const emptyMs = await measureEmpty(bare);
    const doomed = await startEnding(agent, files, run, ending);
    const traffic = busy ? new Traffic({ agent, files, run, claim }) : null;
    await (traffic === null ? sleep(Math.random() * HEARTBEAT_MS) : traffic.runFor(20 + Math.random() * 300));
    await agent.kill();
    await traffic?.ended();
    await endWithoutAgent(doomed);
    const restartedAtMs = Date.now();
    if (busy && run % 3 === 0) await killWhileStarting(agent, emptyMs);

    const startedAt = performance.now();
    await agent.launch();
    const servingMs = performance.now() - startedAt;
    const known = await instancesOf(agent);
    const adoptedMs = performance.now() - startedAt;
    const processes = countBy(agent.processes(), 'MORCH_INSTANCE');
    for (const one of staying) if (examineStaying({ one, known, processes, claim })) tally.kept += 1;
    const told = await untilTold(agent, doomed);
    const toldMs = performance.now() - startedAt;
    for (const one of doomed)
      if (examineEnded({ one, known: told, processes, restartedAtMs, claim })) tally.exitsRight += 1;
    tally.ended += doomed.length;
    if (traffic !== null) traffics.push(await traffic.examine(known));
    await examineWhole({ agent, workloads, claim });
    samples.push({ run, servingMs, adoptedMs, toldMs, controlMs, emptyMs });
    say(
      `run ${run}/${runs}: all ${workloads} taken over ${adoptedMs.toFixed(0)} ms after the start (bare server ` +
        `${controlMs.toFixed(0)}, nothing to take over ${emptyMs.toFixed(0)})${traffic === null ? '' : `; ${traffic.describe()}`}`,
    );
  }
  const left = (await agent.close()) + (await bare.close());
  check(left === 0, `${left} processes were left after the agents had ended`);
  return report({ samples, runs, workloads, tally, traffics });
}

async function startStaying(agent, files, count) {
  const specs = Array.from({ length: count }, (_, at) => {
    const instanceId = `stay.${at}`;
    return { instanceId, kind: 'service', command: ['sh', '-c', STAYS, path.join(files, instanceId)] };
  });
  const answers = await agent.startAll(specs);
  const staying = answers.map((answer) => ({ ...answer, file: path.join(files, answer.instanceId) }));
  await until(() => staying.every(({ file }) => startsIn(file) === 1), { what: 'all workloads have started' });
  for (const one of staying) one.startTicks = statOf(one.pid).startTicks;
  return staying;
}

/** @returns { instanceId, pid, shimPid, fifo, exit, file } of each, all waiting for the FIFO */
async function startEnding(agent, files, run, count) {
  const fifo = path.join(files, `end.${run}`);
  execFileSync('mkfifo', [fifo]);
  const doomed = Array.from({ length: count }, (_, at) => {
    const serial = (run - 1) * count + at;
    const signal =
      serial % SIGNAL_EVERY === SIGNAL_EVERY - 1 ? SIGNALS[((serial / SIGNAL_EVERY) | 0) % SIGNALS.length] : null;
    const code = signal === null ? (serial - Math.floor(serial / SIGNAL_EVERY)) % 256 : null;
    const instanceId = `end-${run}.${at}`;
    return { instanceId, fifo, exit: { code, signal }, file: path.join(files, instanceId) };
  });
  const specs = doomed.map(({ instanceId, exit: { code, signal }, file }) => ({
    instanceId,
    command: ['sh', '-c', signal === null ? ENDS : DIES, file, fifo, signal === null ? `${code}` : signal.slice(3)],
    restart: { policy: 'never' },
  }));
  for (const [at, { pid, shimPid }] of (await agent.startAll(specs)).entries())
    Object.assign(doomed[at], { pid, shimPid });
  await until(() => doomed.every(({ file }) => startsIn(file) === 1), { what: 'those that are to end have started' });
  return doomed;
}

/** Resolves when they and their shims are gone. */
async function endWithoutAgent(doomed) {
  const { fifo } = doomed[0];
  const releasedAtMs = Date.now();
  // Whoever opens it for reading from now on does not wait.
  const writer = await until(() => openForWriting(fifo), { what: 'one of those that are to end has opened the FIFO' });
  const areGone = () => doomed.every(({ pid, shimPid }) => [pid, shimPid].every((one) => statOf(one) === null));
  await until(areGone, { what: 'they have ended' });
  closeSync(writer);
  for (const one of doomed) one.releasedAtMs = releasedAtMs;
}

/** @returns null while nobody has it open for reading: fifo(7) */
function openForWriting(fifo) {
  try {
    return openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (error.code === 'ENXIO') return null;
    throw error;
  }
}

/** By id. */
async function instancesOf(agent) {
  return new Map((await agent.instances()).map((instance) => [instance.instanceId, instance]));
}

/** That an instance has ended is told once it is on the disk. @returns what is told then, or after a time in vain */
async function untilTold(agent, doomed) {
  let told = new Map();
  const areTold = async () => {
    told = await instancesOf(agent);
    return doomed.every(({ instanceId }) => ['completed', 'failed'].includes(told.get(instanceId)?.status));
  };
  await until(areTold, { what: 'all ends are told', everyMs: 5, timeoutMs: TOLD_WITHIN_MS }).catch(() => {}); // the checks tell
  return told;
}

/** At a random moment up to where it would serve. */
async function killWhileStarting(agent, emptyMs) {
  const served = agent.launch().catch(() => {}); // it ends before it serves, mostly
  await sleep(Math.random() * emptyMs * 1.2);
  await agent.kill();
  await served;
}

/** An agent that has nothing to take over, from its start to its first answer. */
async function measureEmpty(bare) {
  await bare.kill();
  const before = performance.now();
  await bare.launch();
  const tookMs = performance.now() - before;
  await bare.kill();
  return tookMs;
}

function examineStaying({ one, known, processes, claim }) {
  const { instanceId, pid, shimPid, startTicks, file } = one;
  const is = known.get(instanceId);
  const stat = statOf(pid);
  const lives = claim(
    stat?.startTicks === startTicks && stat.state !== 'Z',
    `the process ${pid} of ${instanceId} is gone`,
  );
  const fields = ['pid', 'shimPid', 'run', 'generation', 'startedAt'];
  const isSame = is?.status === 'running' && fields.every((field) => is[field] === one[field]);
  const told = claim(isSame, `${instanceId} was to be told as before, ${JSON.stringify(one)}: ${JSON.stringify(is)}`);
  const hasParent = claim(
    stat?.ppid === shimPid,
    `${instanceId} is a child of ${stat?.ppid}, not of its shim ${shimPid}`,
  );
  const starts = startsIn(file);
  const copies = processes.get(instanceId) ?? 0;
  return (
    claim(starts === 1 && copies === 1, `${instanceId}: ${starts} starts, ${copies} processes`) &&
    lives &&
    told &&
    hasParent
  );
}

function examineEnded({ one, known, processes, restartedAtMs, claim }) {
  const { instanceId, exit, file, releasedAtMs, pid } = one;
  const is = known.get(instanceId);
  const atMs = Date.parse(is?.exit?.at);
  const status = exit.code === 0 ? 'completed' : 'failed';
  const isRight =
    is?.status === status &&
    is.exit.code === exit.code &&
    is.exit.signal === exit.signal &&
    is.run === 1 &&
    is.generation === 1;
  const told = claim(isRight, `${instanceId} (pid ${pid}) ended with ${JSON.stringify(exit)}: ${JSON.stringify(is)}`);
  const onTime = claim(
    atMs >= releasedAtMs - 1 && atMs <= restartedAtMs,
    `${instanceId} ended from ${iso(releasedAtMs)} to ${iso(restartedAtMs)}, told as ${is?.exit?.at}`,
  );
  const once = claim(startsIn(file) === 1 && !processes.has(instanceId), `${instanceId} ran again`);
  return told && onTime && once;
}

/** What there is beside: nothing that belongs to nobody, and no more kept than is said. */
async function examineWhole({ agent, workloads, claim }) {
  const shims = agent.shims().length;
  claim(shims === workloads, `${shims} shims instead of ${workloads}`);
  const processes = agent.processes().length;
  claim(processes === workloads, `${processes} processes instead of ${workloads}`);
  const records = () => readdirSync(path.join(agent.dataDir, 'instances')).length;
  const limit = workloads + ENDED_KEPT;
  // They are removed one after the other.
  await until(() => records() <= limit, { what: 'the oldest records are gone', timeoutMs: 5_000 }).catch(() => {});
  claim(records() <= limit, `${records()} records of ${workloads} live and at most ${ENDED_KEPT} ended ones`);
}

function iso(ms) {
  return new Date(ms).toISOString();
}

function report({ samples, runs, workloads, tally, traffics }) {
  const of = (select) => spreadOf(samples.map(select));
  const figures = {
    servingMs: of(({ servingMs }) => servingMs),
    adoptedMs: of(({ adoptedMs }) => adoptedMs),
    toldMs: of(({ toldMs }) => toldMs),
    controlMs: of(({ controlMs }) => controlMs),
    emptyMs: of(({ emptyMs }) => emptyMs),
    adoptedToControl: of(({ adoptedMs, controlMs }) => adoptedMs / controlMs),
    adoptedToEmpty: of(({ adoptedMs, emptyMs }) => adoptedMs / emptyMs),
  };
  const totals = { ...tally, mustBeKept: runs * workloads, ...Traffic.total(traffics) };
  const lines = [
    `Agent killed under ${workloads} running workloads and started again; ${runs} runs; median (min..max)`,
    `  taken over with the same pid, start time, run and generation, once: ${totals.kept} of ${totals.mustBeKept}`,
    `  ended while no agent was there, and told with its exit and time: ${totals.exitsRight} of ${totals.ended}`,
    ...(traffics.length === 0 ? [] : Traffic.lines(totals)),
    ...showSpreads([
      ['agent start to serving', figures.servingMs, 0, 'ms'],
      [`agent start to an answer with all ${workloads}`, figures.adoptedMs, 0, 'ms'],
      ['agent start to all that had ended told', figures.toldMs, 0, 'ms'],
      ['control: a bare Node HTTP server, start to serving', figures.controlMs, 0, 'ms'],
      ['control: an agent with nothing to take over', figures.emptyMs, 0, 'ms'],
      ['all taken over / bare server', figures.adoptedToControl, 2, '×'],
      ['all taken over / nothing to take over', figures.adoptedToEmpty, 2, '×'],
    ]),
  ];
  return { json: { totals, figures, samples }, lines };
}

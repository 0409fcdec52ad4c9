'use strict';
/**
 * A workload that writes 1 GiB to its stdout, through at least three rotations of its log: what it wrote must be there, byte for
 * byte, also when its agent is killed by `kill -9` on the way and started again while it writes.
 *
 *   node bench/logs.cjs [--runs 5] [--mib 1024] [--rotations 3] [--block-bytes 65536] [--data-dir DIR] [--json] [--keep]
 *
 * Each run, one after the other, beginning with another: the program writes to a file itself; through `cat` to a file; as a
 * workload; and as a workload whose agent dies when a tenth is written. All on the file system of --data-dir (default: that of
 * temporary files); every file is new. Before each, a file as large is written and removed, and the file system synced, so that
 * all begin with the same memory and an idle disk. It needs room for twice as much.
 * Checked: the workload's stdout, as GET logs gives it, has the bytes and the sha256 of what the program wrote to the file; stderr
 * is empty; the log was rotated; it exits with 0 and keeps its pid; it went on writing while no agent was there.
 * Measured: MiB per second by the program's own clock, from its first write to the end of its last; CPU time of the shim; how fast the
 * log is read back by HTTP. --block-bytes is how much the program writes at a time.
 * --keep leaves the directory with the logs when something fails.
 */
const { execFile, spawn } = require('node:child_process');
const { createHash } = require('node:crypto');
const {
  closeSync,
  createReadStream,
  createWriteStream,
  existsSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
} = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { once } = require('node:events');
const { promisify } = require('node:util');
const { Agent } = require('./harness/agent.cjs');
const { buildC } = require('./harness/control.cjs');
const { download } = require('./harness/http.cjs');
const { statOf } = require('./harness/processes.cjs');
const { onEnd, runBench } = require('./harness/program.cjs');
const { showSpreads, spreadOf } = require('./harness/statistics.cjs');
const { until } = require('./harness/until.cjs');

const POLL_MS = 5;
const WRITTEN_WITHIN_MS = 300_000;
/** Of the bytes, when the agent is killed. */
const KILL_AT = 0.1;
/** So many more files than are needed are allowed to be kept. */
const SPARE_FILES = 16;

runBench({
  file: __filename,
  numbers: { runs: 5, mib: 1_024, rotations: 3, 'block-bytes': 65_536 },
  texts: { 'data-dir': os.tmpdir() },
  limitMs: ({ runs, mib }) => 60_000 + runs * (60_000 + mib * 500),
  main: measureLogs,
});

async function measureLogs({ numbers: { runs, mib, rotations, 'block-bytes': blockBytes }, texts, check, say }) {
  const bytes = mib * 2 ** 20;
  const program = buildC('log_writer');
  const agent = await Agent.start({ parent: texts['data-dir'], flags: ['--max-log-bytes', '0'] });
  const subject = { agent, program, bytes, blockBytes, rotations };
  const reference = path.join(agent.directory, 'reference');
  await writeToFile(subject, reference);
  const expected = { sha256: await hashOfFile(reference), reference };
  const samples = [];
  for (let run = 1; run <= runs; run += 1) {
    const claim = (isTrue, what) => check(isTrue, `run ${run}: ${what}`);
    const scratch = path.join(agent.directory, 'control');
    const asWorkload = async (name, kills) => {
      const written = await writeAsWorkload({ ...subject, name: `${name}-${run}`, expected, claim, kills });
      rmSync(written.logs, { recursive: true });
      return written;
    };
    const ways = [
      ['fileMs', () => writeToFile(subject, scratch)],
      ['catMs', () => writeThroughCat(subject, scratch)],
      ['calm', () => asWorkload('calm', false)],
      ['killed', () => asWorkload('killed', true)],
    ];
    const sample = { run };
    // Another one first in each run.
    for (let at = 0; at < ways.length; at += 1) {
      const [name, write] = ways[(run + at) % ways.length];
      await level(subject, scratch);
      sample[name] = await write();
      rmSync(scratch, { force: true });
    }
    samples.push(sample);
    const { fileMs, catMs, calm, killed } = sample;
    const speeds = [fileMs, catMs, calm.writeMs, killed.writeMs].map((ms) => ((mib / ms) * 1e3).toFixed(0));
    say(
      `run ${run}/${runs}: MiB/s to a file ${speeds[0]}, through cat ${speeds[1]}, as a workload ${speeds[2]}, agent killed ` +
        `${speeds[3]} (dead from ${percent(killed.writtenAtKill, bytes)} to ${percent(killed.writtenAtReturn, bytes)} of the ` +
        `bytes); ${killed.rotated} rotations; bytes ${calm.isSame && killed.isSame ? 'the same' : 'DIFFER'}`,
    );
  }
  const left = await agent.close();
  check(left === 0, `${left} processes were left after the agent had ended`);
  return report({ samples, runs, mib, blockBytes });
}

async function writeToFile({ agent, program, bytes, blockBytes }, file) {
  const reportFile = path.join(agent.directory, 'report');
  const output = openSync(file, 'w');
  await runChild(program, [bytes, blockBytes, reportFile].map(String), output);
  closeSync(output);
  return takeReport(reportFile);
}

async function writeThroughCat({ agent, program, bytes, blockBytes }, file) {
  const reportFile = path.join(agent.directory, 'report');
  const script = '"$0" "$1" "$2" "$3" | cat > "$4"';
  await runChild('sh', ['-c', script, program, `${bytes}`, `${blockBytes}`, reportFile, file], 'ignore');
  return takeReport(reportFile);
}

/** @throws Error unless it exits with 0 */
async function runChild(file, args, stdout) {
  const child = spawn(file, args, { stdio: ['ignore', stdout, 'inherit'] });
  const done = onEnd(() => child.kill('SIGKILL'));
  const [code] = await once(child, 'exit');
  done();
  if (code !== 0) throw new Error(`${file} ended with ${code}`);
}

/** @returns the milliseconds that a writer has left in it */
function takeReport(reportFile) {
  const ms = Number(readFileSync(reportFile, 'utf8')) / 1e6;
  rmSync(reportFile);
  return ms;
}

/**
 * The same ground for each: nothing left to be written back, and memory for as many pages just freed. A virtual machine gives its
 * host back what it has not used for seconds, and gets it again at a third of the speed.
 */
async function level(subject, scratch) {
  await writeToFile(subject, scratch);
  rmSync(scratch);
  await promisify(execFile)('sync', ['-f', subject.agent.directory]);
}

async function writeAsWorkload({ agent, program, bytes, blockBytes, rotations, name, expected, claim, kills }) {
  const reportFile = path.join(agent.directory, `report-${name}`);
  const instanceId = `${name}.0`;
  const uid = `${name}-${process.pid}`;
  const logs = path.join(agent.dataDir, 'logs', `${uid}.0`);
  const say = (isTrue, what) => claim(isTrue, `${name}: ${what}`);
  const before = performance.now();
  const started = await agent.start({
    instanceId,
    uid,
    command: [program, `${bytes}`, `${blockBytes}`, reportFile],
    restart: { policy: 'never' },
    logs: { maxBytes: Math.ceil(bytes / (rotations + 1)), files: rotations + SPARE_FILES },
  });
  const watch = { shimCpuSeconds: 0 };
  const look = () => {
    watch.shimCpuSeconds = statOf(started.shimPid)?.cpuSeconds ?? watch.shimCpuSeconds;
  };
  const outage = kills ? await killOnTheWay({ agent, bytes, logs, started, say, look }) : {};
  const ended = await untilEnded(agent, instanceId, look);
  const tookMs = performance.now() - before;
  say(ended.status === 'completed' && ended.exit.code === 0 && ended.run === 1, `ended: ${JSON.stringify(ended)}`);
  const writeMs = takeReport(reportFile);
  const isOf = (stream) => readdirSync(logs).filter((file) => new RegExp(`^${stream}\\.\\d+\\.log$`).test(file));
  const rotated = isOf('stdout').length - 1;
  say(rotated >= rotations, `${rotated} rotations instead of at least ${rotations}`);
  const { isSame, readMs } = await compare({ agent, instanceId, bytes, expected, say });
  return { logs, writeMs, tookMs, readMs, rotated, isSame, ...watch, ...outage };
}

/** Kills the agent once a part is written, and starts it again at once. */
async function killOnTheWay({ agent, bytes, logs, started, say, look }) {
  await until(() => bytesIn(logs) >= bytes * KILL_AT, {
    what: 'a part is written',
    everyMs: POLL_MS,
    timeoutMs: WRITTEN_WITHIN_MS,
  });
  await agent.kill();
  const writtenAtKill = bytesIn(logs);
  look();
  await agent.launch();
  const writtenAtReturn = bytesIn(logs);
  const is = (await agent.instances()).find(({ instanceId }) => instanceId === started.instanceId);
  say(writtenAtKill < bytes && writtenAtReturn > writtenAtKill, 'it was to be killed while it writes, and go on');
  if (is?.exit === null) say(is.pid === started.pid && is.run === 1, `was to be taken over: ${JSON.stringify(is)}`);
  return { writtenAtKill, writtenAtReturn };
}

async function untilEnded(agent, instanceId, look) {
  return until(
    async () => {
      look();
      const is = (await agent.instances()).find((one) => one.instanceId === instanceId);
      return ['completed', 'failed', 'stopped'].includes(is?.status) && is;
    },
    { what: `${instanceId} has ended`, everyMs: POLL_MS, timeoutMs: WRITTEN_WITHIN_MS },
  );
}

/** Of stdout; the index beside each file is not counted. The directory is made with the first output. */
function bytesIn(logs) {
  if (!existsSync(logs)) return 0;
  const files = readdirSync(logs).filter((file) => /^stdout\.\d+\.log$/.test(file));
  return files.reduce((sum, file) => sum + statSync(path.join(logs, file)).size, 0);
}

/** What the agent gives out against what the program has written to a file. */
async function compare({ agent, instanceId, bytes, expected, say }) {
  const route = `/instances/${instanceId}/logs?stream=stdout`;
  const hash = createHash('sha256');
  const before = performance.now();
  const got = await download(agent.part, route, (chunk) => void hash.update(chunk));
  const readMs = performance.now() - before;
  const isSame = got === bytes && hash.digest('hex') === expected.sha256;
  say(
    isSame,
    `${got} bytes came out of ${bytes}${isSame ? '' : `; ${await findDifference(agent, route, expected.reference)}`}`,
  );
  const errors = await download(agent.part, route.replace('stdout', 'stderr'), () => {});
  say(errors === 0, `${errors} bytes on stderr`);
  return { isSame, readMs };
}

/** @returns the first one, in the words of cmp */
async function findDifference(agent, route, reference) {
  const file = path.join(agent.directory, 'got');
  const output = createWriteStream(file);
  await download(agent.part, route, (chunk) => output.write(chunk));
  await new Promise((resolve) => output.end(resolve));
  return promisify(execFile)('cmp', [reference, file]).then(
    () => 'the same when it was read again',
    ({ stdout, stderr }) => `${stdout}${stderr}`.trim(),
  );
}

async function hashOfFile(file) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 20 })) hash.update(chunk);
  return hash.digest('hex');
}

function percent(part, whole) {
  return `${((part / whole) * 100).toFixed(0)} %`;
}

function report({ samples, runs, mib, blockBytes }) {
  const speed = (select) => spreadOf(samples.map((sample) => (mib / select(sample)) * 1e3));
  const of = (select) => spreadOf(samples.map(select));
  const figures = {
    fileMibPerSecond: speed(({ fileMs }) => fileMs),
    catMibPerSecond: speed(({ catMs }) => catMs),
    workloadMibPerSecond: speed(({ calm }) => calm.writeMs),
    killedMibPerSecond: speed(({ killed }) => killed.writeMs),
    workloadToFile: of(({ fileMs, calm }) => fileMs / calm.writeMs),
    workloadToCat: of(({ catMs, calm }) => catMs / calm.writeMs),
    killedToFile: of(({ fileMs, killed }) => fileMs / killed.writeMs),
    shimCpuSecondsPerGib: of(({ calm }) => (calm.shimCpuSeconds / mib) * 1_024),
    readMibPerSecond: speed(({ calm }) => calm.readMs),
  };
  const all = samples.flatMap(({ calm, killed }) => [calm, killed]);
  const totals = {
    workloads: all.length,
    sameBytes: all.filter(({ isSame }) => isSame).length,
    leastRotations: Math.min(...all.map(({ rotated }) => rotated)),
    agentBackBeforeTheEnd: samples.filter(({ killed }) => killed.writtenAtReturn < mib * 2 ** 20).length,
  };
  const lines = [
    `A workload writes ${mib} MiB to stdout, ${blockBytes} bytes at a time; ${runs} runs; median (min..max)`,
    `  bytes in = bytes out (sha256): ${totals.sameBytes} of ${totals.workloads} workloads, each through at least ${totals.leastRotations} rotations;`,
    `  of ${runs} agents killed meanwhile ${totals.agentBackBeforeTheEnd} were back before the end`,
    ...showSpreads([
      ['control: to a file itself', figures.fileMibPerSecond, 0, 'MiB/s'],
      ['control: through cat to a file', figures.catMibPerSecond, 0, 'MiB/s'],
      ['as a workload', figures.workloadMibPerSecond, 0, 'MiB/s'],
      ['as a workload, agent killed and started again', figures.killedMibPerSecond, 0, 'MiB/s'],
      ['workload / file', figures.workloadToFile, 2, '× the rate'],
      ['workload / cat', figures.workloadToCat, 2, '× the rate'],
      ['workload, agent killed / file', figures.killedToFile, 2, '× the rate'],
      ['CPU time of the shim', figures.shimCpuSecondsPerGib, 2, 's per GiB'],
      ['read back by GET logs', figures.readMibPerSecond, 0, 'MiB/s'],
    ]),
  ];
  return { json: { totals, figures, samples }, lines };
}

'use strict';
/**
 * False alarms on a machine kept busy by other work: a cluster under each profile, three agents each, on which nothing
 * fails; beside them programs that never stop computing, that fork, and that write to the disk. Every verdict is a false one.
 *
 *   node bench/falseVerdicts.cjs [--minutes 30] [--spinners 4] [--workloads 20] [--json] [--keep]
 *
 * Checked: no verdict in either cluster, and every workload keeps pid, generation and run.
 * Control: how late a timer of 100 ms of a bare Node process was meanwhile, at the most and at the 99th percentile: beyond
 * the profile's times an agent or a scheduler that is as late cannot be told from one that stands still.
 */
const { spawn } = require('node:child_process');
const { performance } = require('node:perf_hooks');
const { setTimeout: sleep } = require('node:timers/promises');
const { Cluster } = require('./harness/cluster.cjs');
const { openEvents } = require('./harness/http.cjs');
const { onEnd, runBench } = require('./harness/program.cjs');
const { percentile } = require('./harness/statistics.cjs');
const { until } = require('./harness/until.cjs');

const PROFILES = ['default', 'fast'];
const TIMER_MS = 100;
const SAY_EVERY_MS = 60_000;

const SPIN = ['sh', '-c', 'while :; do :; done'];
const FORK = ['sh', '-c', 'while :; do /bin/true; done'];
const WRITE = ['sh', '-c', 'while :; do dd if=/dev/zero of="$0" bs=1M count=64 conv=fsync 2>/dev/null; done'];

runBench({
  file: __filename,
  numbers: { minutes: 30, spinners: 4, workloads: 20 },
  limitMs: ({ minutes }) => (minutes + 5) * 60_000,
  main: measure,
});

async function measure({ numbers: { minutes, spinners, workloads }, check, say }) {
  const clusters = [];
  for (const profile of PROFILES) {
    const cluster = await Cluster.start({ agents: 3, schedulerFlags: ['--profile', profile] });
    await cluster.submit({ id: 'web', kind: 'service', command: ['sleep', '100000'], replicas: workloads });
    await until(async () => (await cluster.request('GET', '/workloads/web')).counts.running === workloads, {
      what: `${workloads} instances run under the profile ${profile}`,
    });
    const events = await openEvents(cluster.scheduler);
    clusters.push({ profile, cluster, events, before: await identities(cluster) });
  }
  const load = startLoad(spinners, clusters[0].cluster.directory);
  const lateMs = await watch({ minutes, clusters, say });
  load.end();
  const figures = {};
  for (const { profile, cluster, events, before } of clusters) {
    const { verdicts } = await cluster.request('GET', '/recovery/metrics');
    const suspicions = events.list.filter(({ type }) => type === 'node.suspect').length;
    events.close();
    check(verdicts === 0, `${verdicts} verdicts under the profile ${profile}`);
    const after = await identities(cluster);
    check(JSON.stringify(after) === JSON.stringify(before), `what runs has changed under the profile ${profile}`);
    figures[profile] = { falseVerdicts: verdicts, suspicions };
    await cluster.close();
  }
  const control = { p99LateMs: percentile(lateMs, 99), mostLateMs: Math.max(...lateMs) };
  const lines = [
    `False verdicts on a busy machine, ${minutes} min, ${spinners} spinners, a forker and a writer to the disk; 2 × 3 agents, ${workloads} instances each`,
    ...PROFILES.map(
      (profile) =>
        `  profile ${profile.padEnd(8)} false verdicts ${figures[profile].falseVerdicts}, nodes suspected ${figures[profile].suspicions} times`,
    ),
    `  control: a timer of ${TIMER_MS} ms was late by ${control.p99LateMs.toFixed(0)} ms (99th percentile), ${control.mostLateMs.toFixed(0)} ms at the most`,
  ];
  return { json: { figures, control }, lines };
}

async function identities(cluster) {
  const { instances } = await cluster.request('GET', '/workloads/web');
  return instances.map(({ id, node, pid, generation, run }) => ({ id, node, pid, generation, run }));
}

function startLoad(spinners, directory) {
  const commands = [...Array.from({ length: spinners }, () => SPIN), FORK, [...WRITE, `${directory}/load`]];
  const children = commands.map(([file, ...args]) => spawn(file, args, { stdio: 'ignore', detached: true }));
  const end = () => {
    for (const { pid } of children) {
      try {
        process.kill(-pid, 'SIGKILL');
      } catch {
        // It has ended.
      }
    }
  };
  const takeBack = onEnd(end);
  return {
    end() {
      takeBack();
      end();
    },
  };
}

/** @returns by how much each timer of this process was late, in ms */
async function watch({ minutes, clusters, say }) {
  const lateMs = [];
  const endsAt = performance.now() + minutes * 60_000;
  let saidAt = performance.now();
  while (performance.now() < endsAt) {
    const startedAt = performance.now();
    await sleep(TIMER_MS);
    lateMs.push(performance.now() - startedAt - TIMER_MS);
    if (performance.now() - saidAt < SAY_EVERY_MS) continue;
    saidAt = performance.now();
    const counts = await Promise.all(
      clusters.map(async ({ profile, cluster }) => {
        const { verdicts } = await cluster.request('GET', '/recovery/metrics');
        return `${profile} ${verdicts}`;
      }),
    );
    say(
      `${Math.round((endsAt - saidAt) / 60_000)} min left; verdicts: ${counts.join(', ')}; latest ${Math.max(...lateMs).toFixed(0)} ms`,
    );
  }
  return lateMs;
}

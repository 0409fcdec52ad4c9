'use strict';
/**
 * Lists, health and metrics of a scheduler with a million records: how long each takes, and how long it holds up the event loop.
 *
 *   node bench/lists.cjs [--runs 7] [--instances 1000000] [--nodes 5000] [--seconds 1] [--json] [--keep]
 *
 * The store is written by the product's own code beforehand: workloads of 1,000 instances that have completed,
 * with as many events as are kept. The nodes are simulated agents that beat and are probed, and run nothing. A run asks for
 * each route in turn, one request at a time for --seconds; filters that match nothing look at all there is.
 * Control: bare Express that answers with the same bytes, in the same run.
 * Checked: everything is answered with 200, and no turn of the event loop is long, collections of garbage apart: told, not judged,
 * as this is wall time on a machine that does other things.
 */
const { readFileSync } = require('node:fs');
const path = require('node:path');
const { Fleet } = require('./fleet/fleet.cjs');
const { startBareExpress } = require('./harness/bareExpress.cjs');
const { Cluster } = require('./harness/cluster.cjs');
const { fillDataDir } = require('./harness/filledStore.cjs');
const { askInside, INSIDE } = require('./harness/inside.cjs');
const { startLoad } = require('./harness/load.cjs');
const { runBench } = require('./harness/program.cjs');
const { showSpread, showTable, spreadOf } = require('./harness/statistics.cjs');

const REPLICAS = 1_000;
const NODES_PER_PROCESS = 2_500;

const ROUTES = [
  '/workloads',
  '/workloads?limit=1000',
  '/workloads?label=team%3Dt7',
  '/workloads?label=team%3Dnone',
  '/workloads?status=failed',
  '/workloads?node=nowhere',
  '/workloads/job-000000',
  '/workloads/job-000000/instances',
  '/workloads/job-000000/history',
  '/nodes',
  '/nodes?limit=1000',
  '/health',
  '/health/summary',
  '/metrics',
];

runBench({
  file: __filename,
  numbers: { runs: 7, instances: 1_000_000, nodes: 5_000, seconds: 1 },
  limitMs: ({ runs, instances, seconds }) => 180_000 + instances / 5 + runs * ROUTES.length * (seconds + 1) * 4_000,
  main: measureLists,
});

async function measureLists({ numbers: { runs, instances, nodes, seconds }, check, say }) {
  const express = await startBareExpress();
  const load = startLoad();
  const cluster = new Cluster();
  const workloads = Math.ceil(instances / REPLICAS);
  say(`writing a store of ${workloads * REPLICAS} instances`);
  const filled = { nodes: 0, workloads, replicas: REPLICAS, status: 'completed' };
  await fillDataDir(path.join(cluster.directory, 'scheduler'), filled);
  cluster.schedulerFlags = ['--rate-limit', '1000000'];
  cluster.schedulerPreload = INSIDE;
  await cluster.startScheduler({ route: '/readyz' });
  const fleet = await Fleet.start({ nodes, processes: Math.ceil(nodes / NODES_PER_PROCESS) });
  const { port, token } = cluster.scheduler;
  await fleet.join({ port, joinToken: readFileSync(cluster.joinTokenFile, 'utf8').trim() });
  await cluster.untilHealthy(nodes);
  const samples = ROUTES.map(() => []);
  for (let run = 0; run <= runs; run += 1) {
    for (const [at, route] of ROUTES.entries()) {
      const body = await cluster.request('GET', route);
      await express.prebuild(typeof body === 'string' ? body : JSON.stringify(body));
      const job = { method: 'GET', connections: 1, seconds };
      await askInside(cluster.scheduler, 'watch');
      const ours = await load.run({ ...job, path: route, port, token });
      const { delayMax, collectionMax } = await askInside(cluster.scheduler, 'told');
      const control = await load.run({ ...job, path: '/workloads', port: express.port });
      check(Object.keys(ours.statuses).join() === '200', `GET ${route}: ${JSON.stringify(ours.statuses)}`);
      if (run > 0) samples[at].push({ ours, control, turnMs: Math.max(0, delayMax - collectionMax) });
    }
    if (run > 0) say(`run ${run}/${runs}`);
  }
  await cluster.destroy();
  await fleet.close();
  for (const part of [load, express]) part.end();
  return report({ samples, runs, instances: workloads * REPLICAS, nodes });
}

function report({ samples, runs, instances, nodes }) {
  const figures = Object.fromEntries(
    ROUTES.map((route, at) => {
      const of = (select) => spreadOf(samples[at].map(select));
      return [
        route,
        {
          p50Ms: of(({ ours }) => ours.p50Ms),
          p99Ms: of(({ ours }) => ours.p99Ms),
          controlP50Ms: of(({ control }) => control.p50Ms),
          turnMs: of(({ turnMs }) => turnMs),
        },
      ];
    }),
  );
  const rows = Object.entries(figures).map(([route, { p50Ms, p99Ms, controlP50Ms, turnMs }]) => [
    route,
    showSpread(p50Ms, 2),
    showSpread(p99Ms, 1),
    showSpread(controlP50Ms, 2),
    showSpread(turnMs, 0),
  ]);
  const lines = [
    `GET with ${instances} instances, ${nodes} nodes; ${runs} runs; median (min..max), ms`,
    ...showTable([['route', 'p50', 'p99', 'p50 of bare Express', 'loop held up'], ...rows]),
  ];
  return { json: { figures }, lines };
}

'use strict';
/**
 * How many instances a second the scheduler gives a node to, of very many nodes: the choice alone, without records.
 *
 *   node bench/placement.cjs [--runs 7] [--nodes 10000] [--instances 1000000] [--constrained 200000] [--json]
 *
 * Plain: one workload, spread. Constrained: workloads of 1,000 instances with two constraints each, one after the other, spread.
 * One each: as many workloads of one instance, all of which ask for the same. Each choice is taken into account by the next.
 * Controls in the same run: the same choices by one look at all nodes, as objects and as numbers side by side, of as many
 * instances as it comes to in a second. The first choices of both must be the same.
 */
const { performance } = require('node:perf_hooks');
const { NodeTable } = require('../dist/scheduler/core/nodeTable.js');
const { choosePlacement } = require('../dist/scheduler/core/placement.js');
const { PlacementOrder } = require('../dist/scheduler/core/placementOrders.js');
const { runBench } = require('./harness/program.cjs');
const { showSpreads, spreadOf } = require('./harness/statistics.cjs');

const UNSEEN_MILLIS = 100;
const RESOURCES = { cpuMillis: 10, memoryBytes: 2 ** 20 };
const OF_ONE_WORKLOAD = 1_000;
const ZONES = 10;
const CONTROL_MS = 1_000;
const COMPARED = 300;

runBench({
  file: __filename,
  numbers: { runs: 7, nodes: 10_000, instances: 1_000_000, constrained: 200_000 },
  limitMs: ({ runs }) => runs * 120_000,
  main: measure,
});

function measure({ numbers: { runs, nodes, instances, constrained }, check, say }) {
  const samples = [];
  for (let run = 1; run <= runs; run += 1) {
    const plain = placeOneWorkload(nodes, instances);
    const objects = scanObjects(nodes);
    const numbers = scanNumbers(nodes);
    const length = Math.min(COMPARED, objects.chosen.length);
    const isSame = plain.chosen.slice(0, length).join() === objects.chosen.slice(0, length).join();
    check(isSame, 'the first choices differ from those of one look at all nodes');
    samples.push({
      plainPerSecond: plain.perSecond,
      constrainedPerSecond: placeConstrained(nodes, constrained),
      oneEachPerSecond: placeOneEach(nodes, constrained),
      objectsPerSecond: objects.perSecond,
      numbersPerSecond: numbers,
    });
    say(`run ${run} of ${runs} done`);
  }
  const of = (select) => spreadOf(samples.map(select));
  const figures = {
    plainPerSecond: of((s) => s.plainPerSecond),
    constrainedPerSecond: of((s) => s.constrainedPerSecond),
    oneEachPerSecond: of((s) => s.oneEachPerSecond),
    objectsPerSecond: of((s) => s.objectsPerSecond),
    numbersPerSecond: of((s) => s.numbersPerSecond),
    plainToNumbers: of((s) => s.plainPerSecond / s.numbersPerSecond),
    constrainedToNumbers: of((s) => s.constrainedPerSecond / s.numbersPerSecond),
  };
  const lines = [
    `${nodes} nodes; ${runs} runs; median (min..max)`,
    ...showSpreads([
      ['plain', figures.plainPerSecond, 0, '/s'],
      ['two constraints, spread', figures.constrainedPerSecond, 0, '/s'],
      ['workloads of one instance', figures.oneEachPerSecond, 0, '/s'],
      ['control: one look at all, as objects', figures.objectsPerSecond, 0, '/s'],
      ['control: one look at all, as numbers', figures.numbersPerSecond, 0, '/s'],
      ['plain / numbers', figures.plainToNumbers, 1, '×'],
      ['constrained / numbers', figures.constrainedToNumbers, 1, '×'],
    ]),
  ];
  return { json: { figures, samples }, lines };
}

function candidate(at) {
  return {
    id: `n${at}`,
    labels: { zone: `z${at % ZONES}`, disk: at % 2 === 0 ? 'hdd' : 'ssd' },
    closed: null,
    cordoned: false,
    features: [],
    capacity: { cpuMillis: 64_000, memoryBytes: 2 ** 40 },
    allocated: { cpuMillis: 0, memoryBytes: 0 },
    cpuPercent: (at * 7) % 30,
    unseenCpuMillis: 0,
    instanceCount: 0,
    workloadInstanceCount: 0,
  };
}

function tableOf(nodes) {
  const table = new NodeTable();
  for (let at = 0; at < nodes; at += 1) table.put(candidate(at));
  return table;
}

function asking(constraints) {
  return { resources: RESOURCES, rules: { strategy: 'spread', constraints }, features: [] };
}

function place(order) {
  const row = order.best();
  if (row < 0) throw new Error('there is no room');
  order.take(row, UNSEEN_MILLIS);
  return row;
}

function placeOneWorkload(nodes, instances) {
  const table = tableOf(nodes);
  const chosen = [];
  const startedAt = performance.now();
  const order = new PlacementOrder(table, asking([]), new Map());
  for (let at = 0; at < instances; at += 1) {
    const row = place(order);
    if (at < COMPARED) chosen.push(table.ids[row]);
  }
  return { chosen, perSecond: rate(instances, startedAt) };
}

function placeConstrained(nodes, instances) {
  const table = tableOf(nodes);
  const startedAt = performance.now();
  for (let at = 0; at < instances; at += OF_ONE_WORKLOAD) {
    const workload = at / OF_ONE_WORKLOAD;
    const zones = [workload, workload + 1, workload + 2].map((zone) => `z${zone % ZONES}`);
    const constraints = [
      { label: 'zone', op: 'in', values: zones },
      { label: 'disk', op: 'notIn', values: ['hdd'] },
    ];
    const order = new PlacementOrder(table, asking(constraints), new Map());
    for (let i = 0; i < OF_ONE_WORKLOAD; i += 1) place(order);
  }
  return rate(instances, startedAt);
}

/** Nothing of such a workload lives yet, so none counts its own: they share an order, with the loads of the nodes alone. */
function placeOneEach(nodes, instances) {
  const table = tableOf(nodes);
  const startedAt = performance.now();
  const order = new PlacementOrder(table, asking([{ label: 'disk', op: 'exists' }]), null);
  for (let at = 0; at < instances; at += 1) {
    const row = place(order);
    // The record of the placement says the same of the node as the order does.
    table.put({ ...candidate(row), instanceCount: table.instances[row], unseenCpuMillis: table.unseenCpu[row] });
  }
  return rate(instances, startedAt);
}

function scanObjects(nodes) {
  const candidates = Array.from({ length: nodes }, (_, at) => candidate(at));
  const byId = new Map(candidates.map((one) => [one.id, one]));
  const chosen = [];
  const startedAt = performance.now();
  while (performance.now() - startedAt < CONTROL_MS) {
    const { nodeId } = choosePlacement(asking([]), candidates);
    const taken = byId.get(nodeId);
    taken.allocated = {
      cpuMillis: taken.allocated.cpuMillis + RESOURCES.cpuMillis,
      memoryBytes: taken.allocated.memoryBytes + RESOURCES.memoryBytes,
    };
    taken.unseenCpuMillis += UNSEEN_MILLIS;
    taken.instanceCount += 1;
    taken.workloadInstanceCount += 1;
    chosen.push(nodeId);
  }
  return { chosen, perSecond: rate(chosen.length, startedAt) };
}

/** The least there is to do without an order: the lowest of as many numbers, one raised each time. */
function scanNumbers(nodes) {
  const scores = Float64Array.from({ length: nodes }, (_, at) => (at * 7) % 30);
  let count = 0;
  const startedAt = performance.now();
  while (performance.now() - startedAt < CONTROL_MS) {
    let best = 0;
    for (let at = 1; at < nodes; at += 1) if (scores[at] < scores[best]) best = at;
    scores[best] += 1;
    count += 1;
  }
  return rate(count, startedAt);
}

function rate(count, startedAt) {
  return count / ((performance.now() - startedAt) / 1e3);
}

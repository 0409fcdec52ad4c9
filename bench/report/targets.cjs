'use strict';
/**
 * What is to be reached, and from which figure of which result (results/NAME.json) it is read. The table and the first chart of
 * docs/performance.md are made of it.
 *
 * A result counts only when it was measured with the flags that `when` names.
 * `read` is given the saved report and returns a spread { median, min, max, values }, or nothing where it has no such figure.
 * `least` must be reached, `aim` should; a smaller figure is better where `isLess`.
 */
const { spreadOf } = require('../harness/statistics.cjs');

const less = { isLess: true };

/** A figure made of others, run by run. */
const combined = (of, ...spreads) =>
  spreadOf(spreads[0].values.map((_, run) => of(...spreads.map(({ values }) => values[run]))));

const scaled = (spread, factor) => spread && combined((value) => value * factor, spread);

/** Of the subjects of spawn.cjs: the call itself, without what the shim is given. */
const ADDON = 'addon alone';
/** Of what shim.cjs reads: pages of agent, shims and programs themselves, and what the kernel has for them. */
const ATTRIBUTED = 'own and kernel';

const TARGETS = [
  {
    work: 'Loop time of a spawn by the addon, parent of 80 MB',
    from: 'spawn',
    when: { 'rss-mb': 80 },
    read: ({ callUs }) => callUs[ADDON],
    unit: 'µs',
    least: 15,
    aim: 8,
    ...less,
  },
  {
    work: 'The same, parent of 500 MB',
    from: 'spawn',
    when: { 'large-mb': 500 },
    read: ({ largeCallUs }) => largeCallUs[ADDON],
    unit: 'µs',
    least: 15,
    aim: 8,
    ...less,
  },
  {
    work: 'Loop time of a spawn, 500 MB / 80 MB',
    from: 'spawn',
    when: { 'rss-mb': 80, 'large-mb': 500 },
    read: ({ callUs, largeCallUs }) => combined((large, usual) => large / usual, largeCallUs[ADDON], callUs[ADDON]),
    unit: '×',
    least: 1.1,
    aim: 1,
    ...less,
  },
  {
    work: 'Start rate with shim, logs and records / C loop',
    from: 'trues',
    read: ({ figures }) => figures.toControl,
    unit: '×',
    least: 0.5,
    aim: 0.75,
  },
  {
    work: '1,000 sleeps from 0 to all running on one agent / PM2',
    from: 'peers',
    when: { instances: 1_000 },
    read: ({ figures }) => figures.timesFaster.start.pm2,
    unit: '× faster',
    least: 5,
    aim: 10,
  },
  {
    work: 'Stop of those 1,000',
    from: 'peers',
    when: { instances: 1_000 },
    read: ({ figures }) => scaled(figures.stopMs.morch, 1e-3),
    unit: 's',
    least: 0.5,
    aim: 0.2,
    ...less,
  },
  {
    work: 'First restart after kill -9, median',
    from: 'restartInPlace',
    read: ({ figures }) => figures.p50Ms,
    unit: 'ms',
    least: 10,
    aim: 3,
    ...less,
  },
  {
    work: 'Short jobs, submitted one by one / Slurm',
    from: 'peersJobs',
    read: ({ figures }) => figures.oneByOneToSlurm,
    unit: '× the rate',
    least: 6,
    aim: 15,
  },
  {
    work: 'Short jobs, as one workload / Slurm',
    from: 'peersJobs',
    read: ({ figures }) => figures.asOneToSlurm,
    unit: '× the rate',
    least: 6,
    aim: 15,
  },
  {
    work: 'Agent at 1,000 instances, idle: CPU',
    from: 'thousand',
    when: { instances: 1_000, agents: 1 },
    read: ({ figures }) => figures.idleCpuPercent.n1,
    unit: '% of a core',
    least: 0.7,
    aim: 0.4,
    ...less,
  },
  {
    work: 'Agent at 1,000 instances: resident',
    from: 'thousand',
    when: { instances: 1_000, agents: 1 },
    read: ({ figures }) => scaled(figures.residentFullMib.n1, 2 ** 20 / 1e6),
    unit: 'MB',
    least: 75,
    aim: 58,
    ...less,
  },
  {
    work: 'What a further instance costs the node, above the process',
    from: 'shim',
    when: { instances: 1_000 },
    // Of the node's memory as such, others on it may take and give back more meanwhile.
    read: ({ figures: { instanceKib, bareKib } }) =>
      combined((ours, bare) => (ours - bare) * 1.024, instanceKib[ATTRIBUTED], bareKib[ATTRIBUTED]),
    unit: 'kB',
    least: 120,
    aim: 60,
    ...less,
  },
  {
    work: 'Durable submissions, 100 connections / bare Express',
    from: 'http',
    when: { connections: 100, workloads: 100_000 },
    read: ({ figures }) => figures.submissions?.ratio,
    unit: '× the rate',
    least: 0.7,
    aim: 0.9,
  },
  {
    work: 'GET /workloads, 100 of 100,000 / bare Express',
    from: 'http',
    when: { connections: 100, workloads: 100_000 },
    read: ({ figures }) => figures.list?.ratio,
    unit: '× the rate',
    least: 0.5,
    aim: 0.8,
  },
  {
    work: 'GET /workloads, p99 at 200 requests/s',
    from: 'http',
    when: { connections: 100, workloads: 100_000 },
    read: ({ figures }) => figures.list?.offeredP99Ms,
    unit: 'ms',
    least: 20,
    aim: 10,
    ...less,
  },
  {
    work: 'Durable records of the store',
    from: 'store',
    read: ({ figures }) => figures.storePerSecond,
    unit: '/s',
    least: 60_000,
    aim: 90_000,
  },
  {
    work: 'Start of the scheduler over 100,000 instances',
    from: 'schedulerStart',
    when: { instances: 100_000 },
    read: ({ figures }) => figures.servingSeconds,
    unit: 's',
    least: 1.5,
    aim: 0.5,
    ...less,
  },
  {
    work: 'Start of the scheduler over 1,000,000 instances',
    from: 'schedulerStart-1m',
    when: { instances: 1_000_000 },
    read: ({ figures }) => figures.servingSeconds,
    unit: 's',
    least: 12,
    aim: 5,
    ...less,
  },
  {
    work: 'Placements at 10,000 nodes',
    from: 'placement',
    when: { nodes: 10_000 },
    read: ({ figures }) => figures.plainPerSecond,
    unit: '/s',
    least: 2e6,
    aim: 6e6,
  },
  {
    work: 'Placements at 10,000 nodes, constraints and spread',
    from: 'placement',
    when: { nodes: 10_000 },
    read: ({ figures }) => figures.constrainedPerSecond,
    unit: '/s',
    least: 1e5,
    aim: 5e5,
  },
  {
    work: '5,000 nodes, idle: CPU of the scheduler',
    from: 'fleet-5000',
    when: { nodes: 5_000, instances: 200_000 },
    read: ({ figures }) => figures.idleCpuPercent,
    unit: '% of a core',
    least: 60,
    aim: 25,
    ...less,
  },
  {
    work: '5,000 nodes, 30 minutes: false verdicts',
    from: 'fleet-watch',
    when: { nodes: 5_000, 'hold-seconds': 1_800 },
    // The program counts them as failures of its checks.
    read: ({ failures }) => spreadOf([failures.filter((one) => one.includes('verdicts')).length]),
    unit: '',
    least: 0,
    aim: 0,
    ...less,
  },
  {
    work: '1,000,000 instances on 5,000 nodes, submitted to all running',
    from: 'c1m',
    when: { nodes: 5_000, instances: 1_000_000 },
    read: ({ figures, flags }) => combined((perSecond) => flags.instances / perSecond / 60, figures.instancesPerSecond),
    unit: 'min',
    least: 10,
    aim: 3,
    ...less,
  },
  {
    work: '10 % of 5,000 nodes die, all 20,000 running elsewhere',
    from: 'fleet-5000',
    when: { nodes: 5_000, instances: 200_000 },
    read: ({ figures }) => figures.recoverySeconds,
    unit: 's',
    least: 20,
    aim: 8,
    ...less,
  },
  {
    work: '5,000 nodes, 200,000 instances: the longest turn of the event loop, of its own CPU time',
    from: 'fleet-5000',
    when: { nodes: 5_000, instances: 200_000 },
    read: ({ figures }) => figures.longestTurnMs,
    unit: 'ms',
    least: 50,
    aim: 50,
    ...less,
  },
];

module.exports = { TARGETS };

'use strict';
/**
 * What `npm run bench` knows by name: a program of this directory, with the flags that make it that measurement. Used by all.cjs;
 * the names are those of the files in results/ as well.
 *
 * `subject` is the part of docs/performance.md that shows it. `full` are the flags of its full length, where the program's own
 * defaults are not that; `short` those of the short form, null where there is none: it then runs by its name and with --full alone.
 */
const path = require('node:path');

const SEVEN = ['--runs', '7'];

const MEASUREMENTS = [
  {
    name: 'spawn',
    subject: 'node',
    line: 'one start of /bin/true through the shim, by the addon, by child_process and in C',
    short: ['--runs', '3', '--count', '200'],
  },
  {
    name: 'submit',
    subject: 'scheduler',
    line: 'one workload from POST, and from `morch submit`, until it runs',
    short: ['--runs', '5'],
  },
  {
    name: 'tls',
    subject: 'scheduler',
    line: 'what mutual TLS costs, two clusters side by side',
    short: ['--runs', '3', '--starts', '20'],
  },
  {
    name: 'restart',
    subject: 'scheduler',
    line: 'the scheduler killed under submissions',
    full: SEVEN,
    short: ['--runs', '2'],
  },
  { name: 'recovery', subject: 'fleet', line: 'one node of three dies', short: ['--runs', '2'] },
  {
    name: 'recovery-fast',
    subject: 'fleet',
    program: 'recovery',
    line: 'the same under the fast profile',
    always: ['--profile', 'fast'],
    short: ['--runs', '2'],
  },
  {
    name: 'thousand',
    subject: 'node',
    line: '1,000 sleeps on agents started, kept idle, stopped; against C',
    full: SEVEN,
    short: ['--runs', '1', '--rest-seconds', '20', '--idle-seconds', '10'],
  },
  {
    name: 'shim',
    subject: 'node',
    line: 'the memory of a shim, and of one more instance',
    full: SEVEN,
    short: ['--runs', '1', '--instances', '200'],
  },
  {
    name: 'restartInPlace',
    subject: 'node',
    line: 'services killed, and started again by their agent; against C',
    short: ['--runs', '1', '--count', '10'],
  },
  {
    name: 'agentRestarts',
    subject: 'node',
    line: 'an agent killed over and over under 50 workloads',
    short: ['--runs', '10'],
  },
  {
    name: 'agentRestarts-busy',
    subject: 'node',
    program: 'agentRestarts',
    line: 'the same while starts and stops are under way',
    always: ['--busy'],
    short: ['--runs', '10'],
  },
  {
    name: 'trues',
    subject: 'node',
    line: '/bin/true through one agent, over and over; against C',
    full: SEVEN,
    short: ['--runs', '1', '--count', '3000'],
  },
  {
    name: 'logs',
    subject: 'node',
    line: '1 GiB of output through three rotations',
    full: SEVEN,
    short: ['--runs', '1'],
  },
  {
    name: 'http',
    subject: 'scheduler',
    line: 'submissions and lists over HTTP; against a bare Express server',
    short: ['--runs', '1', '--seconds', '1', '--workloads', '10000'],
  },
  {
    name: 'store',
    subject: 'scheduler',
    line: 'durable records of the store; against LevelDB itself',
    short: ['--runs', '1', '--seconds', '1'],
  },
  {
    name: 'schedulerStart',
    subject: 'scheduler',
    line: 'a scheduler started over 100,000 instances; against a process that only reads as much',
    short: ['--runs', '1', '--instances', '20000', '--nodes', '500'],
  },
  {
    name: 'schedulerStart-1m',
    subject: 'scheduler',
    program: 'schedulerStart',
    line: 'the same over 1,000,000',
    always: ['--instances', '1000000'],
    short: null,
  },
  {
    name: 'lists',
    subject: 'scheduler',
    line: 'lists, history, health and metrics with 1,000,000 instances on record',
    short: ['--runs', '1', '--instances', '100000', '--nodes', '500'],
  },
  {
    name: 'placement',
    subject: 'scheduler',
    line: 'placements over 10,000 nodes',
    short: ['--runs', '1', '--instances', '200000', '--constrained', '50000'],
  },
  {
    name: 'peers',
    subject: 'peers',
    line: '1,000 sleeps on one node, started, idle, killed, stopped; against PM2, supervisord and C',
    short: ['--runs', '1', '--instances', '200', '--restarts', '5', '--idle-seconds', '3'],
  },
  {
    name: 'peersJobs',
    subject: 'peers',
    line: 'short jobs, one by one and as one of many; against Slurm',
    short: ['--runs', '1', '--count', '500', '--peer-count', '100'],
  },
  {
    name: 'fleet',
    subject: 'fleet',
    line: '2,000 instances on 100 simulated nodes',
    full: SEVEN,
    short: ['--idle-seconds', '5'],
  },
  {
    name: 'fleet-5000',
    subject: 'fleet',
    program: 'fleet',
    line: '200,000 instances on 5,000 simulated nodes, of which a tenth dies',
    always: ['--nodes', '5000', '--instances', '200000'],
    full: SEVEN,
    short: null,
  },
  {
    name: 'c1m',
    subject: 'fleet',
    program: 'fleet',
    line: '1,000,000 instances on 5,000 simulated nodes',
    always: ['--nodes', '5000', '--instances', '1000000'],
    full: SEVEN,
    short: null,
  },
  {
    name: 'fleet-watch',
    subject: 'fleet',
    program: 'fleet',
    line: '5,000 simulated nodes watched for 30 minutes in which nothing fails',
    always: ['--nodes', '5000', '--instances', '20000', '--hold-seconds', '1800'],
    short: null,
  },
  {
    name: 'falseVerdicts',
    subject: 'fleet',
    line: 'a machine kept busy by other work, on which nothing fails',
    short: ['--minutes', '1'],
  },
].map(({ name, subject, program = name, line, always = [], full = [], short }) => ({
  name,
  subject,
  file: path.join(__dirname, `${program}.cjs`),
  line,
  always,
  full,
  short,
}));

module.exports = { MEASUREMENTS };

'use strict';
/** The charts of docs/performance.md: what each shows, and how it is made of saved results. */
const { compact } = require('./svg.cjs');

const show = ({ median, min, max }) => {
  const text = (value) => (Math.abs(value) >= 1e4 ? compact(value) : String(+value.toPrecision(3)));
  return min === max ? text(median) : `${text(median)} (${text(min)}..${text(max)})`;
};

const bar = (label, tone, spread) => ({ label, tone, spread, text: show(spread) });
const TONES = { morch: 'ours', c: 'control' };
const LABELS = { morch: 'morch', pm2: 'PM2', supervisord: 'supervisord', c: 'C' };

/** One group of bars of `spreads` by name: ours, peers, control. */
const group = (label, spreads, labels = LABELS) => ({
  label,
  bars: Object.entries(spreads).map(([name, spread]) => bar(labels[name], TONES[name] ?? 'peer', spread)),
});

/**
 * `from` are the results that are needed; `draw` is given them in that order, and returns what barChart takes; nothing when these
 * results have no such figures. The alternative text is the title.
 */
const CHARTS = [
  {
    file: 'sleeps.svg',
    subject: 'peers',
    from: ['peers'],
    draw: ({ figures, flags }) => ({
      title: `${flags.instances.toLocaleString('en')} sleeps on one node, ms (log scale)`,
      isLog: true,
      groups: [
        group('one request to all running', figures.startMs),
        group('one request to all stopped', figures.stopMs),
      ],
    }),
  },
  {
    file: 'restarts.svg',
    subject: 'peers',
    from: ['peers'],
    draw: ({ figures }) => ({
      title: 'From kill -9 to the beginning of the successor, ms (log scale)',
      isLog: true,
      groups: [group('', figures.restartMs, { ...LABELS, c: 'a spawn by Node' })],
    }),
  },
  {
    file: 'supervisors.svg',
    subject: 'peers',
    from: ['peers'],
    draw: ({ figures, flags }) => ({
      title: `What keeps ${flags.instances.toLocaleString('en')} sleeps running, idle`,
      groups: [group('memory of all its processes, MiB', figures.memoryMib)],
    }),
  },
  {
    file: 'jobs.svg',
    subject: 'peers',
    from: ['peersJobs'],
    draw: ({ figures }) => ({
      title: 'Short jobs (/bin/true), accepted to reported, per second (log scale)',
      isLog: true,
      groups: [
        pair('submitted one by one', figures.oneByOnePerSecond, figures.slurmOneByOnePerSecond),
        pair('as one workload, as one job array', figures.asOnePerSecond, figures.slurmAsOnePerSecond),
        { label: 'started and waited for, nothing else', bars: [bar('C', 'control', figures.controlPerSecond)] },
      ],
    }),
  },
  {
    file: 'spawn.svg',
    subject: 'node',
    from: ['spawn'],
    draw: ({ rows }) => ({
      title: 'One /bin/true, started and reaped, µs (log scale)',
      isLog: true,
      groups: [...new Set(rows.map(({ width }) => width))].map((width) => ({
        label: width === 1 ? 'one at a time' : `${width} at once`,
        bars: rows
          .filter((row) => row.width === width)
          .map(({ name, usEach }) => bar(name, SPAWN_TONES[name] ?? 'ours', usEach)),
      })),
    }),
  },
  {
    file: 'trues.svg',
    subject: 'node',
    from: ['trues'],
    draw: ({ figures, flags }) => ({
      title: `${flags.count.toLocaleString('en')} × /bin/true through one agent, per second`,
      groups: [
        {
          label: '',
          bars: [
            bar('agent, records on the disk', 'ours', figures.perSecond),
            bar('agent, all in memory', 'ours', figures.inMemoryPerSecond),
            bar('C: vfork, exec, wait', 'control', figures.controlPerSecond),
            bar('C: only the records', 'control', figures.recordsPerSecond),
          ],
        },
      ],
    }),
  },
  {
    file: 'fleet.svg',
    subject: 'fleet',
    from: ['fleet-5000'],
    draw: ({ figures, flags }) => ({
      title: `CPU of the scheduler with ${flags.nodes.toLocaleString('en')} idle nodes, % of a core`,
      groups: [
        {
          label: '',
          bars: [
            bar('scheduler', 'ours', figures.idleCpuPercent),
            bar('a process that only listens', 'control', figures.controlCpuPercent),
          ],
        },
      ],
    }),
  },
];

const SPAWN_TONES = { C: 'control', child_process: 'peer' };

function pair(label, ours, theirs) {
  return { label, bars: [bar('morch', 'ours', ours), ...(theirs === null ? [] : [bar('Slurm', 'peer', theirs)])] };
}

module.exports = { CHARTS, show };

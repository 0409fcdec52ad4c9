'use strict';
/** The charts of docs/performance.md: what each shows, and how it is made of saved results. */
const { compact } = require('./svg.cjs');

const show = ({ median, min, max }) => {
  const text = (value) => (Math.abs(value) >= 1e4 ? compact(value) : String(+value.toPrecision(3)));
  return min === max ? text(median) : `${text(median)} (${text(min)}..${text(max)})`;
};

/** @param spread null or undefined where the result has no such figure; the bar is then left out */
const bar = (label, tone, spread) => ({ label, tone, spread, text: spread ? show(spread) : '' });
const TONES = { morch: 'ours', c: 'control' };
const LABELS = { morch: 'morch', pm2: 'PM2', supervisord: 'supervisord', c: 'C' };

/** One group of bars of `spreads` by name: ours, peers, control. */
const group = (label, spreads, labels = LABELS) => ({
  label,
  bars: Object.entries(spreads).map(([name, spread]) => bar(labels[name], TONES[name] ?? 'peer', spread)),
});

/** `from` are the results that are needed; `draw` is given them in that order, and returns what barChart takes. */
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
      title: `Memory of what keeps ${flags.instances.toLocaleString('en')} sleeps running, MiB`,
      groups: [group('', figures.memoryMib)],
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
    file: 'restart-in-place.svg',
    subject: 'node',
    from: ['restartInPlace'],
    draw: ({ figures }) => ({
      title: 'From kill -9 to running again, on its node, ms',
      groups: [
        { label: 'median', bars: [bar('agent', 'ours', figures.p50Ms), bar('C', 'control', figures.controlP50Ms)] },
        { label: 'p95', bars: [bar('agent', 'ours', figures.p95Ms), bar('C', 'control', figures.controlP95Ms)] },
      ],
    }),
  },
  {
    file: 'instance.svg',
    subject: 'node',
    from: ['shim'],
    draw: ({ figures, flags }) => ({
      title: `Memory that one more of ${flags.instances.toLocaleString('en')} sleeps takes of the node, KiB`,
      groups: [
        {
          label: '',
          bars: [
            bar('instance of ours', 'ours', figures.instanceKib.used),
            bar('bare sleep', 'control', figures.bareKib.used),
          ],
        },
      ],
    }),
  },
  {
    file: 'logs.svg',
    subject: 'node',
    from: ['logs'],
    draw: ({ figures }) => ({
      title: 'Output of one workload, MiB/s',
      groups: [
        {
          label: '',
          bars: [
            bar('as a workload', 'ours', figures.workloadMibPerSecond),
            bar('agent killed meanwhile', 'ours', figures.killedMibPerSecond),
            bar('to a file itself', 'control', figures.fileMibPerSecond),
            bar('through cat', 'control', figures.catMibPerSecond),
          ],
        },
      ],
    }),
  },
  {
    file: 'agent-restarts.svg',
    subject: 'node',
    from: ['agentRestarts'],
    draw: ({ figures, flags }) => ({
      title: `Start of an agent over ${flags.workloads} running workloads, ms`,
      groups: [
        {
          label: '',
          bars: [
            bar('all of them told', 'ours', figures.adoptedMs),
            bar('with nothing to take over', 'ours', figures.emptyMs),
            bar('a bare Node server', 'control', figures.controlMs),
          ],
        },
      ],
    }),
  },
  {
    file: 'http.svg',
    subject: 'scheduler',
    from: ['http'],
    draw: ({ figures: { submissions, list }, flags }) => ({
      title: `Requests per second over ${flags.connections} connections`,
      groups: [
        againstExpress('durable submissions', submissions),
        againstExpress(`GET /workloads, 100 of ${flags.workloads.toLocaleString('en')}`, list),
      ],
    }),
  },
  {
    file: 'store.svg',
    subject: 'scheduler',
    from: ['store'],
    draw: ({ figures, flags }) => ({
      title: `Durable records per second, ${flags.batch.toLocaleString('en')} to one sync`,
      groups: [
        {
          label: '',
          bars: [
            bar('the store', 'ours', figures.storePerSecond),
            bar('LevelDB by itself', 'control', figures.levelPerSecond),
            bar('the bytes alone, in a file', 'control', figures.filePerSecond),
          ],
        },
      ],
    }),
  },
  {
    file: 'placement.svg',
    subject: 'scheduler',
    from: ['placement'],
    draw: ({ figures, flags }) => ({
      title: `Placements per second over ${flags.nodes.toLocaleString('en')} nodes (log scale)`,
      isLog: true,
      groups: [
        {
          label: '',
          bars: [
            bar('plain', 'ours', figures.plainPerSecond),
            bar('constraints, spread', 'ours', figures.constrainedPerSecond),
            bar('a look at all, numbers', 'control', figures.numbersPerSecond),
            bar('a look at all, objects', 'control', figures.objectsPerSecond),
          ],
        },
      ],
    }),
  },
  {
    file: 'scheduler-start.svg',
    subject: 'scheduler',
    from: ['schedulerStart', 'schedulerStart-1m'],
    draw: (...all) => ({
      title: 'Start of the scheduler over its store, s (log scale)',
      isLog: true,
      groups: all.map(({ figures, flags }) => ({
        label: `${flags.instances.toLocaleString('en')} instances`,
        bars: [
          bar('to serving', 'ours', figures.servingSeconds),
          bar('only reading as much', 'control', figures.readingSeconds),
          bar('a bare Node server', 'control', figures.bareSeconds),
        ],
      })),
    }),
  },
  {
    file: 'recovery.svg',
    subject: 'fleet',
    from: ['recovery', 'recovery-fast'],
    draw: (usual, fast) => ({
      title: 'A node of three dies, s',
      groups: [recovered('default profile', usual), recovered('fast profile', fast)],
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
  return { label, bars: [bar('morch', 'ours', ours), bar('Slurm', 'peer', theirs)] };
}

function againstExpress(label, figures) {
  const bars = [bar('morch', 'ours', figures?.perSecond), bar('bare Express', 'control', figures?.controlPerSecond)];
  return { label, bars };
}

function recovered(label, { figures }) {
  const bars = [
    bar('until the verdict', 'ours', figures.verdictSeenSeconds),
    bar('until all run again', 'ours', figures.recoveredSeenSeconds),
  ];
  return { label, bars };
}

module.exports = { CHARTS, show };

/** The pure decisions of the agent, as tables. */
import { capacityOf } from '../../agent/capacity';
import { AGENT_TRANSITIONS, changeStatus, revOf } from '../../agent/instanceStatus';
import { parseAgentOptions } from '../../agent/options';
import type { HostSample } from '../../agent/processHost';
import type { EndRecord, Intent } from '../../agent/records';
import { endOf } from '../../agent/recovery';
import { decideNextStep, type NextStep, type RunContext, type RunEnd } from '../../agent/runEnd';
import { measure } from '../../agent/sampler';
import { type Restart, restartWithDefaults } from '../../contract/workload';

const AT = '2026-01-01T00:00:00.000Z';
const BATCH = restartWithDefaults('batch', undefined);
const SERVICE = restartWithDefaults('service', undefined);

const exited = (
  code: number | null,
  more: { signal?: string; ranMs?: number; overranMs?: number; shimLost?: boolean; fenced?: boolean } = {},
): RunEnd => ({
  kind: 'exited',
  exit: { code, signal: more.signal ?? null, at: AT, oomKilled: false },
  ranMs: more.ranMs ?? 10,
  overranMs: more.overranMs ?? null,
  shimLost: more.shimLost ?? false,
  fenced: more.fenced ?? false,
});
const context = (restart: Restart, more: Partial<RunContext> = {}): RunContext => ({
  restart,
  attempts: 1,
  endsOnFailedStart: false,
  stop: null,
  ...more,
});
const end = (status: 'completed' | 'failed' | 'stopped', reason: string, lost = false): NextStep => ({
  kind: 'end',
  status,
  reason,
  lost,
});

describe('what follows the end of a run', () => {
  const byAgent = { cause: 'agent', beforeEnd: true } as const;
  const byUser = { cause: 'request', beforeEnd: true } as const;
  const tooLate = { cause: 'request', beforeEnd: false } as const;
  test.each<[string, RunEnd, RunContext, NextStep]>([
    ['exit 0', exited(0), context(BATCH), end('completed', 'exited with code 0')],
    [
      'a first failure',
      exited(1),
      context(BATCH),
      { kind: 'restart', delayMs: 1_000, reason: 'exited with code 1, restart 2 of 3 in 1.0 s' },
    ],
    [
      'a fence, whatever the program made of it',
      exited(0, { fenced: true }),
      context(BATCH),
      end('stopped', 'stopped by its fence: its agent was absent or without a lease', true),
    ],
    [
      'a lost shim',
      exited(null, { shimLost: true }),
      context(BATCH),
      { kind: 'restart', delayMs: 1_000, reason: 'shim-lost, restart 2 of 3 in 1.0 s' },
    ],
    [
      'a lost shim, the last attempt',
      exited(null, { shimLost: true }),
      context(BATCH, { attempts: 3 }),
      end('failed', 'shim-lost; 3 attempts used'),
    ],
    [
      'a failure without a limit',
      exited(1),
      context(SERVICE, { attempts: 4 }),
      { kind: 'restart', delayMs: 8_000, reason: 'exited with code 1, restart 5 in 8.0 s' },
    ],
    [
      'a first failure after a while',
      exited(1, { ranMs: 1_500 }),
      context(BATCH),
      { kind: 'restart', delayMs: 0, reason: 'exited with code 1, restart 2 of 3 now' },
    ],
    [
      'a failure after long running',
      exited(1, { ranMs: 60_000 }),
      context(BATCH, { attempts: 3 }),
      { kind: 'restart', delayMs: 0, reason: 'exited with code 1, restart 1 of 3 now' },
    ],
    [
      'the third failure',
      exited(null, { signal: 'SIGSEGV' }),
      context(BATCH, { attempts: 3 }),
      end('failed', 'killed by SIGSEGV; 3 attempts used'),
    ],
    [
      'too long a run, whatever its exit',
      exited(0, { overranMs: 500 }),
      context(BATCH, { attempts: 3 }),
      end('failed', 'ran longer than 500 ms; 3 attempts used'),
    ],
    [
      'a stop',
      exited(null, { signal: 'SIGTERM' }),
      context(BATCH, { stop: byUser }),
      end('stopped', 'stopped by request'),
    ],
    ['a stop of a service', exited(0), context(SERVICE, { stop: byUser }), end('stopped', 'stopped by request')],
    ['the agent’s end', exited(0), context(BATCH, { stop: byAgent }), end('stopped', 'agent stopped', true)],
    [
      'a stop after it had completed',
      exited(0),
      context(BATCH, { stop: tooLate }),
      end('completed', 'exited with code 0'),
    ],
    ['a stop instead of a restart', exited(1), context(BATCH, { stop: tooLate }), end('stopped', 'stopped by request')],
    [
      'the agent’s end instead of a restart',
      { kind: 'notStarted' },
      context(BATCH, { stop: { cause: 'agent', beforeEnd: false } }),
      end('stopped', 'agent stopped', true),
    ],
    [
      'a failed start that another node may try',
      { kind: 'startFailed', what: 'execve: ENOENT' },
      context(BATCH, { endsOnFailedStart: true }),
      end('failed', 'could not be started (execve: ENOENT)'),
    ],
    [
      'a failed restart alone',
      { kind: 'startFailed', what: 'execve: ENOENT' },
      context(BATCH, { attempts: 2 }),
      { kind: 'restart', delayMs: 2_000, reason: 'could not be started (execve: ENOENT), restart 3 of 3 in 2.0 s' },
    ],
  ])('%s', (_what, runEnd, given, expected) => {
    expect(decideNextStep(runEnd, given, 0.5)).toEqual(expected);
  });
});

describe('what an earlier agent left', () => {
  const spec = {
    uid: 'u',
    slot: '0',
    instanceId: 'web.0',
    generation: 2,
    kind: 'batch' as const,
    command: ['true'],
    restart: BATCH,
    stop: { signal: 'SIGTERM' as const, graceMs: 1_000 },
    attemptsUsed: 0,
    node: 'n1',
    clusterId: 'c1',
  };
  const intent: Intent = { spec, run: 2, attempts: 2, nonce: 'n', bootId: 'boot', started: null, leaseTerm: 0 };
  const ended: EndRecord = {
    uid: 'u',
    clusterId: 'c1',
    slot: '0',
    instanceId: 'web.0',
    generation: 2,
    run: 2,
    status: 'backoff',
    statusReason: 'x',
    pid: 5,
    shimPid: 4,
    startedAt: AT,
    exit: { code: 1, signal: null, at: AT, oomKilled: false },
    ranMs: 5,
    drops: [],
    overranMs: null,
    nextRunAt: null,
    attempts: 2,
    lost: false,
    startError: null,
    started: null,
  };
  const stop = null;
  const starting = 'agent restarted while it was being started';

  test.each([
    ['an intent', { intent, stop, end: null }, 'boot', 'failed', true, starting, undefined],
    ['a run before a reboot', { intent, stop, end: null }, 'later', 'failed', true, 'node rebooted', null],
    [
      'an intent after an earlier run’s end',
      { intent, stop, end: { ...ended, run: 1 } },
      'boot',
      'failed',
      true,
      starting,
      undefined,
    ],
    ['a backoff before a reboot', { intent, stop, end: ended }, 'later', 'failed', true, 'node rebooted', 1],
    [
      'a tree that was still being stopped after success',
      {
        intent,
        stop,
        end: { ...ended, status: 'stopping' as const, exit: { code: 0, signal: null, at: AT, oomKilled: false } },
      },
      'later',
      'completed',
      false,
      'exited with code 0',
      0,
    ],
    [
      'a tree that was still being stopped before a restart',
      { intent, stop, end: { ...ended, status: 'stopping' as const } },
      'later',
      'failed',
      true,
      'node rebooted',
      1,
    ],
  ])('%s', (_what, stored, bootId, status, lost, statusReason, code) => {
    const record = endOf(stored, bootId, AT);
    expect(record).toMatchObject({ status, lost, statusReason, run: 2 });
    expect(record.exit?.code).toBe(code);
    expect(revOf(record.run, record.status)).toBe(20);
  });
});

test('a report’s number rises with the run and its phase', () => {
  const order = [
    revOf(0, 'stopped'),
    revOf(1, 'starting'),
    revOf(1, 'running'),
    revOf(1, 'stopping'),
    revOf(1, 'backoff'),
    revOf(2, 'starting'),
    revOf(2, 'completed'),
  ];
  expect(order).toEqual([...new Set(order)].sort((a, b) => a - b));
});

test('what has ended stays so', () => {
  for (const status of ['completed', 'failed', 'stopped'] as const) {
    expect(AGENT_TRANSITIONS[status]).toEqual([]);
    expect(() => changeStatus(status, 'starting', 'web.0')).toThrow('web.0');
  }
});

describe('measurements', () => {
  const sample = (
    cpuTotalTicks: number,
    cpuIdleTicks: number,
    cpuTicks: number,
    lookedAtTicks = cpuTotalTicks,
  ): HostSample => ({
    cpuTotalTicks,
    cpuIdleTicks,
    memoryTotalBytes: 1_000,
    memoryAvailableBytes: 250,
    loadAverage: [1, 2, 3],
    cpuCount: 4,
    clockTicksPerSecond: 100,
    runs: new Map([['n', { cpuTicks, rssBytes: 77, lookedAtTicks }]]),
    someEnded: false,
  });

  test('are of the time between two samples', () => {
    const { system, runs } = measure(sample(1_000, 500, 10), sample(1_800, 900, 110));
    expect(system).toMatchObject({ cpuPercent: 50, memoryPercent: 75, cpuCount: 4 });
    expect(runs.get('n')).toEqual({ cpuPercent: 50, memoryBytes: 77 }); // 100 of 200 ticks of one core
  });

  test('of what was not looked at each time are of all the time since', () => {
    const [first, second, third] = [sample(1_000, 0, 10), sample(1_800, 0, 10, 1_000), sample(2_600, 0, 110)];
    expect(measure(first, second).runs.get('n')).toEqual({ cpuPercent: 0, memoryBytes: 77 });
    expect(measure(second, third).runs.get('n')).toEqual({ cpuPercent: 25, memoryBytes: 77 });
  });

  test('say nothing of CPU with one sample, or two of the same moment', () => {
    expect(measure(null, sample(1_000, 500, 10)).system.cpuPercent).toBe(0);
    const same = measure(sample(1_000, 500, 10), sample(1_000, 500, 10));
    expect(same.system.cpuPercent).toBe(0);
    expect(same.runs.get('n')!.cpuPercent).toBe(0);
  });
});

test('capacity is what there is less a reserve, unless told', () => {
  const GIB = 1024 ** 3;
  expect(capacityOf({ cpuCount: 2, memoryTotalBytes: GIB }, {})).toEqual({
    cpuMillis: 2_000,
    memoryBytes: GIB - 256 * 1024 ** 2,
  });
  expect(capacityOf({ cpuCount: 2, memoryTotalBytes: 100 * GIB }, {}).memoryBytes).toBe(95 * GIB);
  expect(capacityOf({ cpuCount: 2, memoryTotalBytes: 1 }, {}).memoryBytes).toBe(0);
  expect(capacityOf({ cpuCount: 2, memoryTotalBytes: GIB }, { cpuMillis: 0, memoryBytes: 5 })).toEqual({
    cpuMillis: 0,
    memoryBytes: 5,
  });
});

describe('options', () => {
  test('have defaults', () => {
    expect(parseAgentOptions({ dataDir: '/d' })).toMatchObject({
      host: '127.0.0.1',
      port: 8080,
      labels: {},
      name: expect.stringMatching(/^[a-z0-9-]+$/),
    });
  });

  test.each([
    ['10.0.0.7:99', { host: '10.0.0.7', port: 99 }],
    ['[fd00::7]:99', { host: 'fd00::7', port: 99 }],
    ['node.example:99', { host: 'node.example', port: 99 }],
  ])('advertise %s', (text, advertise) => {
    expect(parseAgentOptions({ dataDir: '/d', advertise: text }).advertise).toEqual(advertise);
  });

  test.each([
    [{}],
    [{ dataDir: '/d', port: 70_000 }],
    [{ dataDir: '/d', advertise: 'host' }],
    [{ dataDir: '/d', advertise: 'host:0' }],
    [{ dataDir: '/d', scheduler: 'localhost:5000' }],
    [{ dataDir: '/d', name: 'Not A Label' }],
    [{ dataDir: '/d', labels: { '': 'x' } }],
    [{ dataDir: '/d', host: '0.0.0.0', auth: false }],
    [{ dataDir: '/d', unknown: 1 }],
  ])('refuse %j', (options) => {
    expect(() => parseAgentOptions(options)).toThrow(expect.objectContaining({ code: 'INVALID_INPUT' }));
  });
});

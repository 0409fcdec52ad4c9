import type { InstanceReport } from '../../../contract/agentApi';
import { specWithDefaults, workloadInputSchema } from '../../../contract/workload';
import { judgeReport, takeInReport } from '../../../scheduler/core/intake';
import type { InstanceRecord, WorkloadRecord } from '../../../scheduler/core/model';

const NOW = Date.parse('2026-01-01T00:00:00.000Z');
const at = (ms: number) => new Date(NOW + ms).toISOString();

function workload(more: Partial<WorkloadRecord> = {}, input: object = {}): WorkloadRecord {
  return {
    uid: 'u',
    spec: specWithDefaults(workloadInputSchema.parse({ command: ['true'], ...input }), 'web'),
    version: 1,
    revision: 1,
    generationFloor: 0,
    goal: 'run',
    purge: false,
    status: 'pending',
    createdAt: at(0),
    updatedAt: at(0),
    ...more,
  };
}

function instance(more: Partial<InstanceRecord> = {}): InstanceRecord {
  return {
    uid: 'u',
    slot: '0',
    id: 'web.0',
    generation: 3,
    run: 1,
    rev: 9,
    revision: 1,
    status: 'running',
    statusReason: null,
    node: 'n1',
    lingersOn: null,
    onDisconnect: 'replace',
    fenced: false,
    pid: 42,
    shimPid: 41,
    startedAt: at(0),
    exit: null,
    attempts: 1,
    reserved: { cpuMillis: 0, memoryBytes: 0 },
    replacing: null,
    surplus: false,
    retryAtMs: 0,
    triedNodes: [],
    preferredNode: null,
    placements: [{ generation: 3, node: 'n1' }],
    ...more,
  };
}

function report(more: Partial<InstanceReport> = {}): InstanceReport {
  return {
    uid: 'u',
    slot: '0',
    instanceId: 'web.0',
    generation: 3,
    run: 1,
    rev: 12,
    status: 'failed',
    statusReason: 'exited with code 1',
    pid: null,
    shimPid: null,
    startedAt: at(0),
    exit: { code: 1, signal: null, at: at(10), oomKilled: false },
    attempts: 1,
    lost: false,
    startError: null,
    ...more,
  };
}

const EARLIER = { code: 3, signal: null, at: at(5), oomKilled: false };
const stopped = report({
  status: 'stopped',
  statusReason: 'stopped by request',
  exit: { code: null, signal: 'SIGTERM', at: at(10), oomKilled: false },
});
const startFailed = report({
  startError: { detail: 'no such file', syscall: 'execve', errno: 2, errnoCode: 'ENOENT' },
  exit: null,
});

describe('judging a report', () => {
  it.each<[string, InstanceRecord | undefined, string, InstanceReport, string]>([
    ['news of the generation it knows there', instance(), 'n1', report(), 'current'],
    ['what it knows already', instance({ rev: 12 }), 'n1', report(), 'old'],
    ['an instance it does not know', undefined, 'n1', report(), 'stale'],
    ['an earlier generation', instance(), 'n1', report({ generation: 2 }), 'stale'],
    ['the same generation on another node', instance(), 'n2', report(), 'stale'],
    [
      'a copy on a returned node, not placed elsewhere yet',
      instance({ status: 'recovering', node: null, lingersOn: 'n1' }),
      'n1',
      report(),
      'current',
    ],
    [
      'a fenced copy on a node that was forgotten and joins anew, not placed elsewhere yet',
      instance({ status: 'recovering', node: null, lingersOn: null, fenced: true }),
      'n1',
      report({ status: 'running', rev: 9 }),
      'current',
    ],
    [
      'a fenced copy on its lost node, told of as ended by another',
      instance({ status: 'recovering', node: null, lingersOn: 'n2', fenced: true }),
      'n1',
      report({ status: 'stopped' }),
      'stale',
    ],
    [
      'a copy that is to be stopped, on its lost node, which is back: its fence is not to be waited for',
      instance({ status: 'stopping', fenced: true }),
      'n1',
      report({ status: 'running', rev: 9 }),
      'current',
    ],
    [
      'the stop that was asked for has begun',
      instance({ status: 'stopping' }),
      'n1',
      report({ status: 'stopping', rev: 10, pid: 42, exit: null }),
      'old',
    ],
    [
      'the main process has ended in the stop that was asked for, and its tree has not',
      instance({ status: 'stopping' }),
      'n1',
      report({ status: 'stopping', rev: 10, pid: null, exit: stopped.exit }),
      'current',
    ],
    [
      'a copy that runs again as it is to be stopped',
      instance({ status: 'stopping' }),
      'n1',
      report({ status: 'stopping', run: 2, rev: 18, pid: 43, exit: null }),
      'current',
    ],
    [
      'a stop that was not asked for',
      instance(),
      'n1',
      report({ status: 'stopping', rev: 10, pid: 42, exit: null }),
      'current',
    ],
    [
      'a failed start that waits to be placed again',
      instance({ status: 'backoff', node: null }),
      'n1',
      report(),
      'stale',
    ],
  ])('%s', (_name, record, node, heard, expected) => {
    expect(judgeReport(record, node, heard)).toBe(expected);
  });
});

describe('taking in a report', () => {
  const take = (i: InstanceRecord, w: WorkloadRecord, r: InstanceReport) => takeInReport(i, w, 'n1', r, NOW, 0.5);

  it.each<[string, InstanceRecord, WorkloadRecord, InstanceReport, Partial<InstanceRecord>]>([
    ['an exit that ends it', instance(), workload(), report(), { status: 'failed', node: 'n1', pid: null }],
    ['completion', instance(), workload(), report({ status: 'completed' }), { status: 'completed' }],
    [
      'a stop that was asked for',
      instance({ status: 'stopping' }),
      workload({ goal: 'stop' }),
      stopped,
      { status: 'stopped' },
    ],
    [
      'completion before the stop came',
      instance({ status: 'stopping' }),
      workload({ goal: 'stop' }),
      report({ status: 'completed' }),
      { status: 'completed' },
    ],
    [
      'still running while it is being stopped',
      instance({ status: 'stopping' }),
      workload({ goal: 'stop' }),
      report({ status: 'running' }),
      { status: 'stopping' },
    ],
    [
      'lost with its agent: placed anew, the lost start not counted',
      instance(),
      workload(),
      report({ lost: true }),
      { status: 'pending', node: null, attempts: 0 },
    ],
    [
      'lost in backoff: the start before had failed by itself',
      instance({ status: 'backoff' }),
      workload(),
      report({ lost: true }),
      { status: 'pending', attempts: 1 },
    ],
    [
      'lost while being stopped',
      instance({ status: 'stopping' }),
      workload({ goal: 'stop' }),
      report({ lost: true }),
      { status: 'stopped' },
    ],
    [
      'stopped for a new revision',
      instance({ status: 'stopping', replacing: 'revision' }),
      workload({ revision: 2 }),
      stopped,
      { status: 'pending', node: null, attempts: 0, preferredNode: 'n1' },
    ],
    [
      'stopped by a drain',
      instance({ status: 'stopping', replacing: 'drain' }),
      workload(),
      stopped,
      { status: 'pending', node: null },
    ],
    [
      'stopped by a drain: the run that it broke off is not counted',
      instance({ status: 'stopping', replacing: 'drain', exit: EARLIER }),
      workload(),
      { ...stopped, exit: { ...EARLIER, at: at(20) } },
      { status: 'pending', attempts: 0 },
    ],
    [
      'stopped by a drain in backoff: the start before had failed by itself',
      instance({ status: 'stopping', replacing: 'drain', exit: EARLIER }),
      workload(),
      { ...stopped, exit: EARLIER },
      { status: 'pending', attempts: 1 },
    ],
    [
      'lost with its agent: no earlier exit makes it count',
      instance({ exit: EARLIER }),
      workload(),
      report({ lost: true, exit: EARLIER }),
      { status: 'pending', attempts: 0 },
    ],
    [
      'completed during a drain stays completed',
      instance({ status: 'stopping', replacing: 'drain' }),
      workload(),
      report({ status: 'completed' }),
      { status: 'completed' },
    ],
    [
      'a failed start is tried again elsewhere',
      instance({ status: 'starting' }),
      workload(),
      startFailed,
      { status: 'backoff', node: null, retryAtMs: NOW + 1_000, triedNodes: ['n1'] },
    ],
    [
      'a failed start out of attempts',
      instance({ status: 'starting' }),
      workload(),
      { ...startFailed, attempts: 3 },
      { status: 'failed' },
    ],
    [
      'a failed start of a new revision is no reason to start over',
      instance({ status: 'starting', replacing: 'revision', revision: 2 }),
      workload({ revision: 2 }),
      { ...startFailed, attempts: 3 },
      { status: 'failed' },
    ],
    [
      'recovering until it runs',
      instance({ status: 'recovering' }),
      workload(),
      report({ status: 'starting', exit: null }),
      { status: 'recovering' },
    ],
    [
      'runs again',
      instance({ status: 'recovering', replacing: 'drain' }),
      workload(),
      report({ status: 'running', pid: 7, exit: null }),
      { status: 'running', pid: 7, replacing: null },
    ],
  ])('%s', (_name, record, w, heard, expected) => {
    expect(take(record, w, heard).patch).toMatchObject(expected);
  });

  it('tells an exit once', () => {
    const backoff = report({ status: 'backoff' });
    const first = take(instance(), workload(), backoff);
    expect(first.events.map((e) => e.type)).toEqual(['instance.exited', 'instance.backoff']);
    const again = take(instance({ ...first.patch }), workload(), { ...backoff, status: 'running', rev: 17, run: 2 });
    expect(again.events.map((e) => e.type)).toEqual(['instance.started']);
  });
});

/**
 * A scheduler that holds one node and one workload and does what it is told at once. It stands in for the real
 * one because these tests are of the HTTP layer alone: each answer, also the rare ones, must be to be had on demand.
 */
import type { BlackBoxRecord } from '../../../contract/blackBox';
import { ERRORS, MorchError } from '../../../contract/errors';
import type { MorchEvent } from '../../../contract/events';
import type { Node } from '../../../contract/node';
import type { Secret } from '../../../contract/secrets';
import { specWithDefaults, type Workload, workloadInputSchema } from '../../../contract/workload';
import type { IdempotencyKey, LogSource, ReadyCheck, SchedulerApi } from '../../../scheduler/api';
import { JsonText } from '../../../scheduler/jsonText';

const AT = '2026-01-02T03:04:05.678Z';

export const NODE: Node = {
  id: 'n1',
  host: '127.0.0.1',
  port: 8080,
  labels: {},
  status: 'healthy',
  statusReason: null,
  schedulable: true,
  drain: 'none',
  capacity: { cpuMillis: 2000, memoryBytes: 1 << 30 },
  allocated: { cpuMillis: 0, memoryBytes: 0 },
  usage: { cpuPercent: 1, memoryPercent: 2, loadAverage: [0, 0, 0] },
  features: [],
  version: '0.1.0',
  lastContactAt: AT,
  instanceCount: 0,
  staleCopies: 0,
};

export const WORKLOAD: Workload = {
  ...specWithDefaults(workloadInputSchema.parse({ command: ['sleep', '1'] }), 'web'),
  uid: 'u1',
  status: 'running',
  statusReason: null,
  counts: { running: 1 },
  version: 3,
  createdAt: AT,
  updatedAt: AT,
  attempts: 1,
  instances: [],
  node: 'n1',
  pid: 42,
};

export const BLACK_BOX_RECORD: BlackBoxRecord = {
  instance: 'web.0',
  generation: 2,
  run: 3,
  node: 'n1',
  lostAt: AT,
  reason: 'its node n1 is lost: connection refused',
  pid: 42,
  startedAt: AT,
  exit: null,
  attempts: 1,
  usage: [{ at: AT, cpuPercent: 1.5, memoryBytes: 4_096 }],
  lastLines: { stdout: 'last words\n', stderr: '' },
  reportedAt: AT,
};

const SECRET: Secret = { name: 'web', version: 1, updatedAt: AT, readable: true, usedBy: ['web'] };

export interface FakeApi extends SchedulerApi {
  calls: { method: string; args: unknown[] }[];
  checks: ReadyCheck[];
  sources: LogSource[];
  /** Thrown by every act until it is taken away. */
  failure: unknown;
  idempotency: IdempotencyKey | undefined;
  backupChunks: string[];
  endWorkload(): void;
}

export function fakeApi(): FakeApi {
  let endWorkload = () => {};
  const terminal = new Promise<void>((resolve) => {
    endWorkload = resolve;
  });
  const workloadOf = (id: string) => {
    if (id !== 'web') throw new MorchError('WORKLOAD_NOT_FOUND', `There is no workload ${id}`);
    return WORKLOAD;
  };
  const nodeOf = (id: string) => {
    if (id !== 'n1') throw new MorchError('NODE_NOT_FOUND', `There is no node ${id}`);
    return NODE;
  };
  const matching = (id: string, ifMatch: number | undefined) => {
    const workload = workloadOf(id);
    if (ifMatch !== undefined && ifMatch !== workload.version) {
      throw new MorchError('VERSION_MISMATCH', `Version ${workload.version}, not ${ifMatch}`);
    }
    return workload;
  };
  const act = <T>(method: string, args: unknown[], result: () => T): Promise<T> => {
    api.calls.push({ method, args });
    if (api.failure !== undefined) return Promise.reject(api.failure);
    return Promise.resolve().then(result);
  };
  const api: FakeApi = {
    calls: [],
    checks: [{ name: 'store', ok: true }],
    sources: [],
    failure: undefined,
    idempotency: undefined,
    backupChunks: ['one\n', 'two\n'],
    endWorkload: () => endWorkload(),
    health: () => ({
      status: 'healthy',
      reasons: [],
      version: '0.1.0',
      clusterId: 'c',
      epoch: 1,
      uptimeMs: 5,
      store: { kind: 'memory', writable: true },
      nodes: { total: 1, healthy: 1 },
      workloads: { total: 1, running: 1 },
    }),
    healthSummary: () => ({
      status: 'healthy',
      checkedAt: AT,
      nodes: [],
      totals: {
        nodes: 1,
        byStatus: {},
        instances: {},
        cpuMillis: 0,
        memoryBytes: 0,
        allocated: { cpuMillis: 0, memoryBytes: 0 },
      },
      workloads: { byStatus: {} },
      recentVerdicts: [],
    }),
    checkNodes: () => act('checkNodes', [], () => ({ checkedAt: AT, results: [] })),
    readyChecks: () => api.checks,
    releaseRecovery: () => act('releaseRecovery', [], () => ({ released: ['brake' as const] })),
    recoveryMetrics: () => {
      const none = { last: null, mean: null, p50: null, p95: null, max: null };
      return {
        verdicts: 0,
        falseVerdicts: 0,
        recoveries: { started: 0, succeeded: 0, failed: 0, inFlight: 0 },
        successRate: null,
        detectionMs: none,
        recoveryMs: none,
        attemptsUsed: 0,
        recent: [],
      };
    },
    backup: async function* () {
      yield* api.backupChunks;
      if (api.failure !== undefined) throw api.failure;
    },
    listSecrets: () => ({ secrets: [SECRET], nextCursor: null }),
    setSecret: (name, value) => act('setSecret', [name, value], () => ({ created: name !== 'web', secret: SECRET })),
    removeSecret: (name) =>
      act('removeSecret', [name], () => {
        if (name !== 'web') throw new MorchError('SECRET_NOT_FOUND', `There is no secret ${name}`);
      }),
    listNodes: (page) => {
      api.calls.push({ method: 'listNodes', args: [page] });
      return { nodes: [NODE], nextCursor: null };
    },
    node: (id) => ({ ...nodeOf(id), instances: [] }),
    nodeMetrics: async (id) => `morch_name{node="${nodeOf(id).id}"} 1\n`,
    issueNodeCertificate: (...args) => act('issueNodeCertificate', args, () => ({ certificate: 'x', ca: 'y' })),
    registerNode: (input) => act('registerNode', [input], () => ({ created: input.port !== NODE.port, node: NODE })),
    forgetNode: (id, force) => act('forgetNode', [id, force], () => void nodeOf(id)),
    cordonNode: (id) => act('cordonNode', [id], () => nodeOf(id)),
    uncordonNode: (id) => act('uncordonNode', [id], () => nodeOf(id)),
    drainNode: (id, deadlineMs) => act('drainNode', [id, deadlineMs], () => nodeOf(id)),
    previewDrill: (id) => ({ node: nodeOf(id).id, instances: [], refusal: null }),
    drillNode: (id, { kind, durationMs = null }) =>
      act('drillNode', [id, kind, durationMs], () => ({ node: nodeOf(id).id, kind, durationMs, at: AT, since: 7 })),
    listWorkloads: async (filter, page) => {
      api.calls.push({ method: 'listWorkloads', args: [filter, page] });
      return new JsonText(JSON.stringify({ workloads: [WORKLOAD], nextCursor: null }));
    },
    workload: workloadOf,
    listInstances: (id) => {
      workloadOf(id);
      return { instances: [], nextCursor: null };
    },
    submit: (input, idempotency) => {
      api.idempotency = idempotency;
      return act('submit', [input], () => {
        const { id, version } = WORKLOAD;
        return { id, version, answer: new JsonText<Workload>(JSON.stringify(WORKLOAD)), replayed: false };
      });
    },
    apply: (id, input, ifMatch) =>
      act('apply', [id, input, ifMatch], () => {
        if (id !== 'web') return { created: true, workload: { ...WORKLOAD, id } };
        return { created: false, workload: matching(id, ifMatch) };
      }),
    stop: (id, purge, ifMatch) => act('stop', [id, purge, ifMatch], () => matching(id, ifMatch)),
    restart: (id, ifMatch) => act('restart', [id, ifMatch], () => matching(id, ifMatch)),
    scale: (id, replicas, ifMatch) => act('scale', [id, replicas, ifMatch], () => matching(id, ifMatch)),
    history: async (id) => {
      workloadOf(id);
      return { events: [] as MorchEvent[], nextCursor: null };
    },
    blackBoxRecords: async (id, instance, page) => {
      api.calls.push({ method: 'blackBoxRecords', args: [id, instance, page.limit] });
      workloadOf(id);
      return { records: [BLACK_BOX_RECORD], nextCursor: null };
    },
    logSources: (id, instance) => {
      workloadOf(id);
      const sources = structuredClone(api.sources);
      if (instance === undefined) return sources;
      const found = sources.filter((source) => source.instanceId === instance);
      if (found.length === 0) throw new MorchError('INSTANCE_NOT_FOUND', `There is no instance ${instance}`);
      return found;
    },
    untilTerminal: (_id, signal) =>
      Promise.race([
        terminal,
        new Promise<void>((resolve) => {
          if (signal.aborted) resolve();
          signal.addEventListener('abort', () => resolve());
        }),
      ]),
  };
  return api;
}

export const ALL_CODES = Object.keys(ERRORS) as (keyof typeof ERRORS)[];

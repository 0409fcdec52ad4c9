/** What the scheduler tells Prometheus, `GET /metrics`. docs/metrics.md */
import type { Histogram } from 'prom-client';
import type { ErrorCode } from '../contract/errors';
import type { MorchEvent } from '../contract/events';
import { INSTANCE_STATUSES, NODE_STATUSES, WORKLOAD_STATUSES } from '../contract/states';
import { Exposition } from '../metrics/exposition';
import type { ReadyCheck } from './api';
import type { State } from './state';

const SHORT_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
/** Around what is promised: 5 s until a verdict, 15 s until all runs again. */
const FAILURE_SECONDS = [0.5, 1, 2, 3, 3.5, 4, 4.5, 5, 7.5, 10, 15, 30, 60];

export class SchedulerMetrics {
  private readonly exposition = new Exposition();
  private readonly eventCounts = new Map<string, number>();
  private readonly refusalCounts = new Map<string, number>();
  private readonly detection: Histogram;
  private readonly recovery: Histogram;
  private readonly commits: Histogram;
  private recordsWritten = 0;
  private readonly requests: Histogram<'method' | 'route' | 'status'>;
  private readonly requestsBy = new Map<string, { observe(seconds: number): void }>();

  constructor(
    private readonly state: State,
    readyChecks: () => readonly ReadyCheck[],
  ) {
    const { exposition } = this;
    const { recoveries } = state;
    exposition.addProcess();
    exposition.gauge(
      'ready',
      'Whether it can take work, by what that takes: 1 or 0',
      () => readyChecks().map(({ name, ok }) => [{ check: name }, ok ? 1 : 0]),
      ['check'],
    );
    exposition.gauge('scheduler_epoch', 'Its term: one more with every start', () => state.meta.epoch);
    exposition.gauge('nodes', 'Nodes', () => countedBy('status', NODE_STATUSES, countStatuses(state.nodes.values())), [
      'status',
    ]);
    exposition.gauge(
      'workloads',
      'Workloads that are on record',
      () => countedBy('status', WORKLOAD_STATUSES, state.lists.workloadsByStatus),
      ['status'],
    );
    exposition.gauge(
      'instances',
      'Instances that are on record',
      () => countedBy('status', INSTANCE_STATUSES, new Map(Object.entries(state.statusCounts))),
      ['status'],
    );
    exposition.gauge('instances_unplaced', 'Instances that wait for a node', () => state.unplacedCount);
    exposition.gauge('capacity_cpu_cores', 'CPU of the nodes that are not lost', () => this.sum('capacity').cores);
    exposition.gauge(
      'capacity_memory_bytes',
      'Memory of the nodes that are not lost',
      () => this.sum('capacity').bytes,
    );
    exposition.gauge('reserved_cpu_cores', 'CPU of it that instances have reserved', () => this.sum('reserved').cores);
    exposition.gauge(
      'reserved_memory_bytes',
      'Memory of it that instances have reserved',
      () => this.sum('reserved').bytes,
    );
    exposition.counter('verdicts_total', 'Nodes that were found lost', () => recoveries.verdicts);
    exposition.counter('false_verdicts_total', 'Of these, nodes that had never failed', () => recoveries.falseVerdicts);
    exposition.counter(
      'recoveries_total',
      'Instances of lost nodes, by what came of their start elsewhere',
      () => [
        [{ outcome: 'succeeded' }, recoveries.succeeded],
        [{ outcome: 'failed' }, recoveries.failed],
      ],
      ['outcome'],
    );
    exposition.gauge('recoveries_in_flight', 'Those under way', () => recoveries.open.size);
    this.detection = exposition.histogram('detection_seconds', 'From the last contact to the verdict', FAILURE_SECONDS);
    this.recovery = exposition.histogram(
      'recovery_seconds',
      'From the last contact to running elsewhere',
      FAILURE_SECONDS,
    );
    state.onRecovered = (ms) => this.recovery.observe(ms / 1_000);
    exposition.counter(
      'events_total',
      'Events since its start',
      () => countedBy('type', ['scheduler.started'], this.eventCounts),
      ['type'],
    );
    this.commits = exposition.histogram(
      'store_commit_seconds',
      'Writes to the store until they were durable',
      SHORT_SECONDS,
    );
    exposition.counter('store_records_written_total', 'Records in them', () => this.recordsWritten);
    this.requests = exposition.histogram(
      'http_request_seconds',
      'Requests until their answer, streams apart',
      SHORT_SECONDS,
      ['method', 'route', 'status'],
    );
    exposition.counter(
      'http_requests_refused_total',
      'Requests that were not let in',
      () => countedBy('code', ['UNAUTHENTICATED'], this.refusalCounts),
      ['code'],
    );
  }

  text(): Promise<string> {
    return this.exposition.text();
  }

  heardEvents(events: readonly MorchEvent[]): void {
    for (const { type, data } of events) {
      this.eventCounts.set(type, (this.eventCounts.get(type) ?? 0) + 1);
      if (type === 'node.lost' && typeof data.silentMs === 'number') this.detection.observe(data.silentMs / 1_000);
    }
  }

  committed(records: number, ms: number): void {
    this.recordsWritten += records;
    this.commits.observe(ms / 1_000);
  }

  /** @param route as in the table of routes: never what was asked for, of which there is no end */
  answered(method: string, route: string, status: number, ms: number): void {
    const key = `${method} ${route} ${status}`;
    let observer = this.requestsBy.get(key);
    if (observer === undefined) {
      observer = this.requests.labels(method, route, String(status));
      this.requestsBy.set(key, observer);
    }
    observer.observe(ms / 1_000);
  }

  refused(code: ErrorCode): void {
    this.refusalCounts.set(code, (this.refusalCounts.get(code) ?? 0) + 1);
  }

  private sum(of: 'capacity' | 'reserved'): { cores: number; bytes: number } {
    const sum = { cores: 0, bytes: 0 };
    for (const node of this.state.nodes.values()) {
      if (node.status === 'lost') continue;
      const { cpuMillis, memoryBytes } = of === 'capacity' ? node.capacity : this.state.allocatedOn(node.id);
      sum.cores += cpuMillis / 1_000;
      sum.bytes += memoryBytes;
    }
    return sum;
  }
}

function countStatuses(records: Iterable<{ status: string }>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { status } of records) counts.set(status, (counts.get(status) ?? 0) + 1);
  return counts;
}

/** @param expected those that are told of also where there are none */
function countedBy(
  label: string,
  expected: readonly string[],
  counts: ReadonlyMap<string, number>,
): [Record<string, string>, number][] {
  const names = new Set([...expected, ...counts.keys()]);
  return [...names].map((name) => [{ [label]: name }, counts.get(name) ?? 0]);
}

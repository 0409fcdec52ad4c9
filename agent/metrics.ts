/**
 * What the agent tells Prometheus, `GET /metrics`. The library is loaded when it is asked for the first time: most agents
 * never are, and each has to be small. docs/metrics.md
 */
import type { AgentProcess, InstanceReport, System } from '../contract/agentApi';
import { AGENT_INSTANCE_STATUSES } from '../contract/agentApi';
import type { Exposition, Reading } from '../metrics/exposition';

export interface MetricsSources {
  system(): System;
  processes(): readonly AgentProcess[];
  withoutSchedulerMs(): number;
  hasSession(): boolean;
}

export class AgentMetrics {
  readonly #changes = new Map<string, number>();
  #exposition: Exposition | null = null;

  noteChange({ status }: Pick<InstanceReport, 'status'>): void {
    this.#changes.set(status, (this.#changes.get(status) ?? 0) + 1);
  }

  async text(sources: MetricsSources): Promise<string> {
    this.#exposition ??= this.#open(sources);
    return this.#exposition.text();
  }

  #open({ system, processes, withoutSchedulerMs, hasSession }: MetricsSources): Exposition {
    const { Exposition } = require('../metrics/exposition') as typeof import('../metrics/exposition');
    const exposition = new Exposition();
    exposition.gauge(
      'instances',
      'Instances that are on record here',
      () => {
        const counts = new Map<string, number>();
        for (const { status } of processes()) counts.set(status, (counts.get(status) ?? 0) + 1);
        return countedBy(counts);
      },
      ['status'],
    );
    exposition.counter(
      'instance_changes_total',
      'How often an instance came to a status',
      () => countedBy(this.#changes),
      ['status'],
    );
    const ofEach = (read: (process: AgentProcess) => number) => (): Reading[] => {
      const running = processes().filter(({ pid }) => pid !== null);
      return running.map((process) => [{ instance: process.instanceId }, read(process)]);
    };
    exposition.gauge(
      'instance_cpu_cores',
      'CPU of its processes, lately',
      ofEach(({ cpuPercent }) => cpuPercent / 100),
      ['instance'],
    );
    exposition.gauge(
      'instance_memory_bytes',
      'Resident memory of its processes',
      ofEach(({ memoryBytes }) => memoryBytes),
      ['instance'],
    );
    exposition.gauge('node_cpu_ratio', 'CPU of the node in use, of 1', () => system().cpuPercent / 100);
    exposition.gauge('node_memory_total_bytes', 'Memory of the node', () => system().memoryTotalBytes);
    exposition.gauge(
      'node_memory_available_bytes',
      'Memory of it that can be had',
      () => system().memoryAvailableBytes,
    );
    exposition.gauge('scheduler_session', 'Whether its scheduler has a session with it: 1 or 0', () =>
      hasSession() ? 1 : 0,
    );
    exposition.gauge(
      'scheduler_unheard_seconds',
      'How long no scheduler has been connected',
      () => withoutSchedulerMs() / 1_000,
    );
    exposition.counter('process_cpu_seconds_total', 'CPU of the agent itself', () => {
      const { user, system: kernel } = process.cpuUsage();
      return (user + kernel) / 1e6;
    });
    exposition.gauge('process_resident_memory_bytes', 'Memory of the agent itself', () => process.memoryUsage.rss());
    exposition.gauge('process_start_time_seconds', 'When it started', () => Date.now() / 1_000 - process.uptime());
    return exposition;
  }
}

function countedBy(counts: ReadonlyMap<string, number>): Reading[] {
  return AGENT_INSTANCE_STATUSES.map((status) => [{ status }, counts.get(status) ?? 0]);
}

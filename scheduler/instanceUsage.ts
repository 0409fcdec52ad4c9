/**
 * What instances use, as their agents last measured it; not kept across restarts. Every agent tells it of all that it runs every
 * few seconds, and hardly anybody asks: it is kept as it came, and looked up when somebody does.
 */
import type { HeartbeatMessage } from '../contract/agentApi';
import type { Usage } from '../contract/workload';
import type { InstanceRecord } from './core/model';

type Told = NonNullable<HeartbeatMessage['usage']>;

export class InstanceUsage {
  private readonly byNode = new Map<string, { told: Told; index: Map<string, Usage> | null }>();

  heard(nodeId: string, told: Told): void {
    this.byNode.set(nodeId, { told, index: null });
  }

  /** Nothing that was told there holds any more. */
  forget(nodeId: string): void {
    this.byNode.delete(nodeId);
  }

  /** Of its present generation; null: not told yet. */
  of({ id, generation, node }: Pick<InstanceRecord, 'id' | 'generation' | 'node'>): Usage | null {
    const latest = node === null ? undefined : this.byNode.get(node);
    if (latest === undefined) return null;
    latest.index ??= indexOf(latest.told);
    return latest.index.get(`${id}/${generation}`) ?? null;
  }
}

function indexOf(told: Told): Map<string, Usage> {
  return new Map(
    told.map(([id, generation, cpuPercent, memoryBytes]) => [`${id}/${generation}`, { cpuPercent, memoryBytes }]),
  );
}

/**
 * What instances use, as their agents last measured it; not kept across restarts. Every agent tells it of all that it runs every
 * few seconds, and hardly anybody asks: it is kept as the text that came, and read when somebody does.
 */
import { heartbeatMessageSchema } from '../contract/agentApi';
import type { Usage } from '../contract/workload';
import type { InstanceRecord } from './core/model';

const usageSchema = heartbeatMessageSchema.shape.usage.unwrap();

export class InstanceUsage {
  private readonly byNode = new Map<string, { text: string; index: Map<string, Usage> | null }>();

  /** @param text the `usage` of a heartbeat, which nobody has looked at */
  heard(nodeId: string, text: string): void {
    this.byNode.set(nodeId, { text, index: null });
  }

  /** Nothing that was told there holds any more. */
  forget(nodeId: string): void {
    this.byNode.delete(nodeId);
  }

  /** Of its present generation; null: not told yet. */
  of({ id, generation, node }: Pick<InstanceRecord, 'id' | 'generation' | 'node'>): Usage | null {
    const latest = node === null ? undefined : this.byNode.get(node);
    if (latest === undefined) return null;
    latest.index ??= new Map(
      readUsage(latest.text).map(([id, generation, cpuPercent, memoryBytes]) => [
        `${id}/${generation}`,
        { cpuPercent, memoryBytes },
      ]),
    );
    return latest.index.get(`${id}/${generation}`) ?? null;
  }
}

/** [instanceId, generation, cpuPercent, memoryBytes] each; none when the agent told something else. */
export function readUsage(text: string): ReturnType<typeof usageSchema.parse> {
  try {
    return usageSchema.parse(JSON.parse(text));
  } catch {
    return [];
  }
}

/**
 * What instances use, as their agents last measured it; not kept across restarts. Every agent tells it of all that it runs every
 * few seconds, and hardly anybody asks: it is kept as the text that came, and read when somebody does.
 */
import { heartbeatMessageSchema } from '../contract/agentApi';
import type { Usage } from '../contract/workload';
import type { InstanceRecord } from './core/model';

const usageSchema = heartbeatMessageSchema.shape.usage.unwrap();

/** So many instances of a node are looked for in the text; whoever asks for more of them has all of it read. */
const SOUGHT_AT_MOST = 8;

interface Latest {
  text: string;
  sought: number;
  index: Map<string, Usage> | null;
}

export class InstanceUsage {
  private readonly byNode = new Map<string, Latest>();

  /** @param text the `usage` of a heartbeat, which nobody has looked at */
  heard(nodeId: string, text: string): void {
    this.byNode.set(nodeId, { text, sought: 0, index: null });
  }

  /** Nothing that was told there holds any more. */
  forget(nodeId: string): void {
    this.byNode.delete(nodeId);
  }

  /** Of its present generation; null: not told yet. */
  of({ id, generation, node }: Pick<InstanceRecord, 'id' | 'generation' | 'node'>): Usage | null {
    const latest = node === null ? undefined : this.byNode.get(node);
    if (latest === undefined) return null;
    latest.sought += 1;
    if (latest.index === null && latest.sought <= SOUGHT_AT_MOST) return seek(latest.text, id, generation);
    latest.index ??= new Map(
      readUsage(latest.text).map(([id, generation, cpuPercent, memoryBytes]) => [
        `${id}/${generation}`,
        { cpuPercent, memoryBytes },
      ]),
    );
    return latest.index.get(`${id}/${generation}`) ?? null;
  }
}

/** A page of a list has instances of as many nodes as lines: all that those tell would be hundreds of times as much. */
function seek(text: string, id: string, generation: number): Usage | null {
  const at = text.indexOf(`[${JSON.stringify(id)},${generation},`);
  if (at === -1) return null;
  const [found] = readUsage(`[${text.slice(at, text.indexOf(']', at) + 1)}]`);
  return found === undefined ? null : { cpuPercent: found[2], memoryBytes: found[3] };
}

/** [instanceId, generation, cpuPercent, memoryBytes] each; none when the agent told something else. */
export function readUsage(text: string): ReturnType<typeof usageSchema.parse> {
  try {
    return usageSchema.parse(JSON.parse(text));
  } catch {
    return [];
  }
}

/**
 * The last measurements of each node's instances. They come every few seconds for all instances of a node and are hardly
 * ever asked for: so the messages are kept as they came, and read again when they are needed.
 */
import type { BlackBoxRecord } from '../../contract/blackBox';
import { readUsage } from '../instanceUsage';

type UsageSample = BlackBoxRecord['usage'][number];

export interface HeardUsage {
  at: string;
  /** The `usage` of a heartbeat, as it came. */
  text: string;
}

export const SAMPLES_KEPT = 6;

export class UsageLog {
  readonly #byNode = new Map<string, HeardUsage[]>();

  heard(nodeId: string, usage: HeardUsage): void {
    this.#byNode.set(nodeId, [...(this.#byNode.get(nodeId) ?? []), usage].slice(-SAMPLES_KEPT));
  }

  /** Oldest first; not changed later. */
  of(nodeId: string): readonly HeardUsage[] {
    return this.#byNode.get(nodeId) ?? [];
  }

  forget(nodeId: string): void {
    this.#byNode.delete(nodeId);
  }
}

/** @returns the samples of each instance, oldest first, by `<instance id>/<generation>` */
export function samplesIn(heard: readonly HeardUsage[]): Map<string, UsageSample[]> {
  const samples = new Map<string, UsageSample[]>();
  for (const { at, text } of heard) {
    for (const [id, generation, cpuPercent, memoryBytes] of readUsage(text)) {
      const key = `${id}/${generation}`;
      const known = samples.get(key);
      if (known === undefined) samples.set(key, [{ at, cpuPercent, memoryBytes }]);
      else known.push({ at, cpuPercent, memoryBytes });
    }
  }
  return samples;
}

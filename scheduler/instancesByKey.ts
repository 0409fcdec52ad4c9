/**
 * All instances by their `uid/slot`, as they are kept by workload: a table of their own would take a text and an entry for each, 140 MB
 * of a million.
 */
import type { InstanceRecord } from './core/model';

export class InstancesByKey {
  constructor(private readonly byWorkload: ReadonlyMap<string, ReadonlyMap<string, InstanceRecord>>) {}

  get(key: string): InstanceRecord | undefined {
    const at = key.indexOf('/');
    return this.byWorkload.get(key.slice(0, at))?.get(key.slice(at + 1));
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  *values(): Generator<InstanceRecord> {
    for (const instances of this.byWorkload.values()) yield* instances.values();
  }

  *keys(): Generator<string> {
    for (const [uid, instances] of this.byWorkload) for (const slot of instances.keys()) yield `${uid}/${slot}`;
  }
}

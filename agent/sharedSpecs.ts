/**
 * What the instances of a workload have in common is kept once. Each is started by a command of its own, parsed for it alone,
 * and differs from the one before it in hardly more than its slot. Used for every spec that is kept.
 */
import { isDeepStrictEqual } from 'node:util';

export class SharedSpecs {
  /** Instances of one workload mostly come one after the other. */
  #latest: Readonly<Record<string, unknown>> = {};

  /** @returns the same spec, what equals the one before being that one's. Specs are never changed. */
  share<Spec extends object>(spec: Spec): Spec {
    const fields = spec as Record<string, unknown>;
    for (const [name, value] of Object.entries(fields)) {
      const before = this.#latest[name];
      if (value !== before && isDeepStrictEqual(value, before)) fields[name] = before;
    }
    this.#latest = fields;
    return spec;
  }
}

/**
 * What a node may offer beyond the plain running of programs, and which of it a workload needs. Told by the agent in
 * its status and hello; asked by the scheduler's placement, and by an agent used alone before it starts something.
 */
import type { ProcessSpec } from './workload';

/** `offers` and `missing` are sentences without a subject: the node … */
export const FEATURES = {
  'limits.cpu': { offers: 'bounds the CPU time of a whole process tree', missing: 'has no cgroup v2 cpu controller' },
  'limits.memory': {
    offers: 'bounds the memory of a whole process tree',
    missing: 'has no cgroup v2 memory controller',
  },
  'limits.pids': { offers: 'bounds the number of processes of a tree', missing: 'has no cgroup v2 pids controller' },
  user: { offers: 'runs programs as any of its users', missing: 'has an agent that does not run as root' },
  cgroup: { offers: 'kills a whole process tree by its cgroup, whatever it does', missing: 'has no cgroup v2' },
} as const;

export type Feature = keyof typeof FEATURES;

/** @returns what `spec` needs and is not among `features`, in the order of the table */
export function missingFeatures(
  { user, limits = {} }: Pick<ProcessSpec, 'user' | 'limits'>,
  features: readonly string[],
): Feature[] {
  const needed: [Feature, unknown][] = [
    ['limits.cpu', limits.cpuMillis],
    ['limits.memory', limits.memoryBytes],
    ['limits.pids', limits.pids],
    ['user', user],
  ];
  return needed.flatMap(([feature, asked]) => (asked === undefined || features.includes(feature) ? [] : [feature]));
}

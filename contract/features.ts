/**
 * What a node may offer beyond the plain running of programs, and which of it a workload needs. Told by the agent in
 * its status and hello; asked by the scheduler's placement, and by an agent used alone before it starts something.
 */
import type { ProcessSpec } from './workload';

/** `offers` is what such a node does, `lack` why another does not. */
export const FEATURES = {
  'limits.cpu': { offers: 'bounds the CPU time of a whole process tree', lack: 'no cgroup v2 cpu controller' },
  'limits.memory': { offers: 'bounds the memory of a whole process tree', lack: 'no cgroup v2 memory controller' },
  'limits.pids': { offers: 'bounds the processes and threads of a tree', lack: 'no cgroup v2 pids controller' },
  user: {
    offers: 'runs programs as users that are named',
    lack: 'its agent allows no user to be named, see --allow-user and --allow-root',
  },
  'user.own': { offers: 'runs each instance as a user of its own', lack: 'its agent runs them as its own user' },
  secrets: { offers: 'gives programs secrets, which it keeps in memory only', lack: 'no tmpfs of its own at /dev/shm' },
  cgroup: { offers: 'kills a whole process tree by its cgroup, whatever it does', lack: 'no cgroup v2' },
} as const;

export type Feature = keyof typeof FEATURES;
type Asking = Pick<ProcessSpec, 'user' | 'limits' | 'secrets'>;

/** In the order of the table. */
export function neededFeatures({ user, limits = {}, secrets = [] }: Asking): Feature[] {
  const asked: [Feature, unknown][] = [
    ['limits.cpu', limits.cpuMillis],
    ['limits.memory', limits.memoryBytes],
    ['limits.pids', limits.pids],
    ['user', user],
    ['secrets', secrets[0]],
  ];
  return asked.flatMap(([feature, value]) => (value === undefined ? [] : [feature]));
}

/** What `spec` needs and is not among a node's `features`. */
export function missingFeatures(spec: Asking, features: readonly string[]): Feature[] {
  return neededFeatures(spec).filter((feature) => !features.includes(feature));
}

/** `limits.cpu (no cgroup v2 cpu controller), user (its agent does not run as root)` */
export function lackInWords(missing: readonly Feature[]): string {
  return missing.map((feature) => `${feature} (${FEATURES[feature].lack})`).join(', ');
}

/** What a new spec means for instances that run the old one. Pure. */
import { type WorkloadSpec, withProcessDefaults } from '../../contract/workload';

/** `adjust`: only the number of replicas or the labels differ, and nothing is restarted. */
export type SpecChange = 'none' | 'adjust' | 'replace';

export function compareSpecs(before: WorkloadSpec, after: WorkloadSpec): SpecChange {
  // A default that is spelt out changes nothing.
  const [specBefore, specAfter] = [withProcessDefaults(before), withProcessDefaults(after)];
  if (canonical(specBefore) === canonical(specAfter)) return 'none';
  const { replicas: _r1, labels: _l1, ...runBefore } = specBefore;
  const { replicas: _r2, labels: _l2, ...runAfter } = specAfter;
  return canonical(runBefore) === canonical(runAfter) ? 'adjust' : 'replace';
}

/** Equal for specs that differ in the order of their keys only. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}

/** A DNS label from a program's path: `/opt/My_Job.sh` → `my-job`. */
export function idFromProgram(spec: { script?: string | undefined; command?: string[] | undefined }): string {
  const path = spec.script ?? spec.command?.[0] ?? '';
  const base = path.slice(path.lastIndexOf('/') + 1).replace(/\.[A-Za-z0-9]{1,5}$/, '');
  const label = base
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 50)
    .replace(/-+$/, '');
  return label === '' ? 'workload' : label;
}

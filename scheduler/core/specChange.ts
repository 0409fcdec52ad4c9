/** What a new spec means for instances that run the old one. Pure. */
import { isDeepStrictEqual } from 'node:util';
import type { WorkloadSpec } from '../../contract/workload';

/** `adjust`: only the number of replicas or the labels differ, and nothing is restarted. */
export type SpecChange = 'none' | 'adjust' | 'replace';

export function compareSpecs(before: WorkloadSpec, after: WorkloadSpec): SpecChange {
  if (isDeepStrictEqual(before, after)) return 'none';
  const { replicas: _r1, labels: _l1, ...runBefore } = before;
  const { replicas: _r2, labels: _l2, ...runAfter } = after;
  return isDeepStrictEqual(runBefore, runAfter) ? 'adjust' : 'replace';
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

import { specWithDefaults, type WorkloadInput, workloadInputSchema } from '../../../contract/workload';
import { compareSpecs } from '../../../scheduler/core/specChange';

const spec = (more: Partial<WorkloadInput> = {}) =>
  specWithDefaults(workloadInputSchema.parse({ command: ['serve'], ...more }), 'web');

describe('what a new spec means for what runs', () => {
  it.each<[string, Partial<WorkloadInput>, Partial<WorkloadInput>, string]>([
    ['the same', {}, {}, 'none'],
    ['a default spelt out', {}, { nice: 0, umask: '022', limits: { coreBytes: 0 } }, 'none'],
    ['keys in another order', { env: { A: '1', B: '2' } }, { env: { B: '2', A: '1' } }, 'none'],
    ['more replicas', {}, { replicas: 2 }, 'adjust'],
    ['other labels', {}, { labels: { tier: 'web' } }, 'adjust'],
    ['another user', { user: 'www-data' }, { user: 'nobody' }, 'replace'],
    ['a limit added', {}, { limits: { memoryBytes: 2 ** 26 } }, 'replace'],
    ['a limit changed', { limits: { pids: 10 } }, { limits: { pids: 11 } }, 'replace'],
    ['a limit taken away', { limits: { pids: 10, openFiles: 64 } }, { limits: { openFiles: 64 } }, 'replace'],
    ['another nice value', {}, { nice: 5 }, 'replace'],
    ['another umask', {}, { umask: '077' }, 'replace'],
    ['another argument', {}, { args: ['-v'] }, 'replace'],
  ])('%s', (_name, before, after, expected) => {
    expect(compareSpecs(spec(before), spec(after))).toBe(expected);
  });
});

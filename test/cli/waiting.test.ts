import { hasRestarted } from '../../cli/commands/restart';
import { isScaled } from '../../cli/commands/scale';
import { byNumber, decideWait, defaultGoal, exitCodeOfTimeout, exitCodeOfWorkload } from '../../cli/waiting';
import type { InstanceStatus, WorkloadStatus } from '../../contract/states';
import type { Instance, Workload } from '../../contract/workload';
import { anInstance, aWorkload } from './samples';

type Ended = [status: InstanceStatus, code: number | null, signal?: string];

function ended(status: WorkloadStatus, ...instances: Ended[]): Workload {
  return aWorkload('job', {
    status,
    instances: instances.map(([instanceStatus, code, signal = null], index) =>
      anInstance(`job.${index}`, {
        status: instanceStatus,
        exit:
          code === null && signal === null ? null : { code, signal, at: '2026-01-01T00:00:00.000Z', oomKilled: false },
      }),
    ),
  });
}

describe('the exit code of a workload that has ended', () => {
  test.each<[string, Workload, number]>([
    ['completed', ended('completed', ['completed', 0]), 0],
    ['its own code', ended('failed', ['failed', 42]), 42],
    ['128 + signal', ended('failed', ['failed', null, 'SIGSEGV']), 139],
    ['128 + SIGKILL', ended('failed', ['failed', null, 'SIGKILL']), 137],
    ['lowest-numbered non-zero', ended('failed', ['completed', 0], ['failed', 3], ['failed', 4]), 3],
    ['failed without a run', ended('failed', ['failed', null]), 1],
    ['failed though its program ended with 0', ended('failed', ['failed', 0]), 1],
    ['stopped by a user, whatever the program did', ended('stopped', ['stopped', 0]), 143],
    ['stopped by a user before it was placed', ended('stopped', ['stopped', null]), 143],
  ])('%s', (_, workload, exitCode) => {
    expect(exitCodeOfWorkload(workload)).toBe(exitCode);
    expect(decideWait(workload, 'terminal')).toEqual({ kind: 'over', exitCode });
    expect(decideWait(workload, 'running')).toEqual({ kind: 'over', exitCode });
  });

  test('numbers instances as numbers', () => {
    const workload = ended('failed', ...Array.from({ length: 11 }, (): Ended => ['completed', 0]));
    const instances = workload.instances ?? [];
    instances[2] = anInstance('job.2', { status: 'failed', exit: { code: 2, signal: null, at: '', oomKilled: false } });
    instances[10] = anInstance('job.10', {
      status: 'failed',
      exit: { code: 10, signal: null, at: '', oomKilled: false },
    });
    expect(exitCodeOfWorkload({ ...workload, instances: [...instances].reverse() })).toBe(2);
    expect(['d.b', 'd.a'].map((id) => ({ id })).sort(byNumber)[0]).toEqual({ id: 'd.a' });
  });
});

describe('waiting for running', () => {
  test.each<[WorkloadStatus, Workload['counts'], boolean]>([
    ['pending', { pending: 1 }, false],
    ['running', { running: 1 }, true],
    ['running', { running: 1, pending: 1 }, false],
    ['running', { running: 1, completed: 2 }, true],
    ['running', { running: 1, backoff: 1 }, false],
    ['recovering', { running: 1, recovering: 1 }, false],
    ['running', {}, true],
  ])('%s with %o is over: %s', (status, counts, over) => {
    expect(decideWait(aWorkload('web', { status, counts }), 'running').kind).toBe(over ? 'over' : 'waiting');
  });

  test('is the default of what does not end by itself', () => {
    expect([defaultGoal({ kind: 'batch' }), defaultGoal({ kind: 'service' }), defaultGoal({ kind: 'daemon' })]).toEqual(
      ['terminal', 'running', 'running'],
    );
  });

  test('a timeout is 2 while something has no place, else 1', () => {
    expect(exitCodeOfTimeout({ counts: { running: 1, pending: 1 } })).toBe(2);
    expect(exitCodeOfTimeout({ counts: { backoff: 1 } })).toBe(1);
  });
});

test('a restart is over when every instance has a new generation that runs or has ended', () => {
  const before = aWorkload('web', { instances: [anInstance('web.0', { generation: 3 }), anInstance('web.1', {})] });
  const now = (...instances: Instance[]) => aWorkload('web', { instances });
  const [fresh, other] = [anInstance('web.0', { generation: 4 }), anInstance('web.1', { generation: 2 })];
  expect(hasRestarted(before, now(fresh, other))).toBe(true);
  expect(hasRestarted(before, now(fresh, anInstance('web.1', {})))).toBe(false);
  expect(hasRestarted(before, now({ ...fresh, status: 'starting' }, other))).toBe(false);
  expect(hasRestarted(before, now(fresh))).toBe(true);
});

test('a scale is over when that many instances are there and all are up', () => {
  expect(isScaled(aWorkload('web', { status: 'running', counts: { running: 2 } }), 2)).toBe(true);
  expect(isScaled(aWorkload('web', { status: 'running', counts: { running: 2, stopping: 1 } }), 2)).toBe(false);
  expect(isScaled(aWorkload('web', { status: 'running', counts: { running: 1, pending: 1 } }), 2)).toBe(false);
  expect(isScaled(aWorkload('web', { status: 'running', counts: {} }), 0)).toBe(true);
});

import { type StatusCounts, workloadStatusOf } from '../../../scheduler/core/workloadStatus';

describe('workload status', () => {
  it.each<[string, 'run' | 'stop', StatusCounts, string]>([
    ['stop asked and a process alive', 'stop', { stopping: 1, stopped: 2 }, 'stopping'],
    ['stop asked, nothing alive', 'stop', { stopped: 2, completed: 1, failed: 1 }, 'stopped'],
    ['any recovering wins over running', 'run', { recovering: 1, running: 9 }, 'recovering'],
    ['any running', 'run', { running: 1, pending: 5, failed: 1 }, 'running'],
    ['waiting in backoff', 'run', { backoff: 1, completed: 1 }, 'pending'],
    ['starting', 'run', { starting: 1 }, 'pending'],
    ['no replicas wanted', 'run', {}, 'running'],
    ['one failed of many completed', 'run', { failed: 1, completed: 9 }, 'failed'],
    ['all completed', 'run', { completed: 3 }, 'completed'],
  ])('%s', (_name, goal, counts, expected) => {
    expect(workloadStatusOf(goal, counts).status).toBe(expected);
  });

  it('is not stopped by being scaled to 0 and up again before its instances are forgotten', () => {
    expect(workloadStatusOf('run', { stopped: 4 }, 0).status).toBe('running');
    expect(workloadStatusOf('run', { stopped: 4 }, 2).status).toBe('pending');
  });

  it('says how many of how many', () => {
    expect(workloadStatusOf('run', { running: 9, pending: 1 }).reason).toBe('9 of 10 running');
  });
});

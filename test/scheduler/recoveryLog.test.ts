import {
  beginRecovery,
  emptyRecoveryLog,
  endRecovery,
  metricsOf,
  type RecoveryLog,
  recoveryPlaced,
  recoveryStarted,
} from '../../scheduler/recoveryLog';

const at = (seconds: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, seconds)).toISOString();
const LOSS = { instance: 'web.0', fromNode: 'n1', lastContactAt: at(0), suspectAt: at(1), verdictAt: at(4) };

function begun(): RecoveryLog {
  const log = emptyRecoveryLog();
  beginRecovery(log, 'web/0', LOSS);
  return log;
}

describe('a recovery', () => {
  it('has its times one by one, and counts from the last contact until it runs', () => {
    const log = begun();
    const timeline = () => metricsOf(log).recent[0]!.timeline;
    const known = { lastContactAt: at(0), suspectAt: at(1), verdictAt: at(4) };
    expect(timeline()).toEqual({ ...known, placedAt: null, startedAt: null, runningAt: null });
    recoveryPlaced(log, 'web/0', 'n2', at(5));
    expect(timeline()).toEqual({ ...known, placedAt: at(5), startedAt: null, runningAt: null });
    expect(recoveryStarted(log, 'web/0', at(6))).toBe(true);
    // Its next runs are no news.
    expect(recoveryStarted(log, 'web/0', at(7))).toBe(false);
    expect(metricsOf(log)).toMatchObject({ recoveries: { inFlight: 1 }, recoveryMs: { last: null } });
    endRecovery(log, 'web/0', 'succeeded', 'n2', at(8));
    expect(timeline()).toEqual({ ...known, placedAt: at(5), startedAt: at(6), runningAt: at(8) });
    expect(metricsOf(log)).toMatchObject({ recoveries: { succeeded: 1, inFlight: 0 }, recoveryMs: { last: 8_000 } });
  });

  it('that is placed again is started again', () => {
    const log = begun();
    recoveryPlaced(log, 'web/0', 'n2', at(5));
    recoveryStarted(log, 'web/0', at(6));
    recoveryPlaced(log, 'web/0', 'n3', at(7));
    expect(metricsOf(log).recent[0]).toMatchObject({ toNode: 'n3', timeline: { placedAt: at(7), startedAt: null } });
    expect(metricsOf(log).attemptsUsed).toBe(2);
  });

  it('of which nothing was heard until it ran was started then', () => {
    const log = begun();
    endRecovery(log, 'web/0', 'succeeded', 'n1', at(9));
    expect(metricsOf(log).recent[0]!.timeline).toMatchObject({ placedAt: null, startedAt: at(9), runningAt: at(9) });
  });

  it('is none for an instance that is not being recovered', () => {
    const log = emptyRecoveryLog();
    expect(recoveryStarted(log, 'web/0', at(1))).toBe(false);
    expect(endRecovery(log, 'web/0', 'succeeded', 'n1', at(2))).toBe(false);
    expect(metricsOf(log).recent).toEqual([]);
  });

  it('of records of an earlier version has no time that was not kept', () => {
    const log = begun();
    endRecovery(log, 'web/0', 'succeeded', 'n2', at(8));
    const { runningAt: _, ...earlier } = log.recent[0]!.timeline;
    log.recent[0]!.timeline = earlier as (typeof log.recent)[0]['timeline'];
    expect(metricsOf(log).recent[0]!.timeline.runningAt).toBeNull();
  });
});

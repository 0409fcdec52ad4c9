/** The judge of the fault suite is judged itself: histories made by hand, each with what it must find in them. */
import { type Judgement, judge } from './checker';
import type { Fault, History, Stop, Submission, Trace, Verdict } from './history';

const END_MS = 100_000;

/** Generation 1 run 1 of web.0 on n1, alive from 1 s to the end, unless told otherwise. */
function trace(more: Partial<Trace> = {}): Trace {
  return {
    tag: 'web-1',
    instance: 'web.0',
    generation: 1,
    run: 1,
    node: 'n1',
    pid: 100,
    role: 'main',
    startMs: 1_000,
    aliveMs: END_MS + 10,
    toldMs: null,
    exit: null,
    ...more,
  };
}

function submission(more: Partial<Submission> = {}): Submission {
  return {
    tag: 'web-1',
    workload: 'web',
    kind: 'service',
    onDisconnect: 'replace',
    expectation: 'lives',
    instances: ['web.0'],
    graceMs: 1_000,
    everyMs: 25,
    acknowledgedMs: 900,
    ...more,
  };
}

function fault(more: Partial<Fault> = {}): Fault {
  return { what: 'cut off', node: 'n1', fromMs: 10_000, toMs: 30_000, failed: true, plain: true, apart: true, ...more };
}

function lost(node: string, atMs: number): Verdict {
  return { node, atMs, what: 'lost' };
}

function judged(more: Partial<History>): Judgement {
  return judge({
    originMs: 0,
    traces: [trace()],
    submissions: [submission()],
    stops: [],
    faults: [],
    verdicts: [],
    stallsMs: [],
    endMs: END_MS,
    ...more,
  });
}

/** n1 was cut off at 10 s and back at 30 s; its copy lived until then, and the next generation from 14.1 s on. */
function replaced(old: Partial<Trace> = {}, next: Partial<Trace> = {}, more: Partial<History> = {}): Judgement {
  return judged({
    traces: [
      trace({ aliveMs: 30_500, ...old }),
      trace({ generation: 2, node: 'n2', pid: 200, startMs: 14_100, ...next }),
    ],
    faults: [fault()],
    verdicts: [lost('n1', 14_000)],
    ...more,
  });
}

const NOTHING = { doubleRuns: [], losses: [], falseVerdicts: [], missedVerdicts: [] };

describe('finds nothing wrong in', () => {
  test('a quiet life', () => expect(judged({})).toMatchObject({ ...NOTHING, overlaps: [] }));

  test('a restart in place', () => {
    const traces = [trace({ aliveMs: 5_000 }), trace({ run: 2, pid: 101, startMs: 5_030 })];
    expect(judged({ traces })).toMatchObject({ ...NOTHING, overlaps: [] });
  });

  test('a replaced copy on a cut-off node, and tells how long it went on', () => {
    expect(replaced()).toMatchObject({
      ...NOTHING,
      overlaps: [{ allowed: true, ms: 16_400, afterReturnMs: 500 }],
      verdictMs: [4_000],
      recoveryMs: [4_100],
    });
  });

  test('a restart in place on a node that is not heard', () => {
    const traces = [
      trace({ aliveMs: 20_000 }),
      trace({ run: 2, startMs: 20_030, aliveMs: 30_500 }),
      trace({ generation: 2, node: 'n2', pid: 200, startMs: 14_100 }),
    ];
    const verdicts = [lost('n1', 14_000)];
    expect(judged({ traces, verdicts, faults: [fault()] })).toMatchObject(NOTHING);
  });

  test('what had ended before its node was cut off, and was wanted again', () => {
    const submissions = [submission({ onDisconnect: 'keep' })];
    const exit = { atMs: 9_000, code: 0 };
    expect(replaced({ aliveMs: 9_000, toldMs: 8_990, exit }, {}, { submissions })).toMatchObject(NOTHING);
  });

  test('a batch that has ended, and one that is still at it', () => {
    const batch = submission({ kind: 'batch', expectation: 'completes', instances: ['web.0', 'web.1'] });
    const traces = [trace({ aliveMs: 5_000, exit: { atMs: 5_000, code: 0 } }), trace({ instance: 'web.1' })];
    expect(judged({ submissions: [batch], traces })).toMatchObject(NOTHING);
  });

  test('a stop that is kept', () => {
    const traces = [trace({ aliveMs: 6_000, toldMs: 5_900, exit: { atMs: 6_000, code: 0 } })];
    expect(judged({ traces, stops: [stop()] })).toMatchObject(NOTHING);
  });

  test('a copy on a cut-off node that outlives the stop of the one that has replaced it', () => {
    const stops = [stop({ confirmedMs: 20_000 })];
    expect(replaced({}, { aliveMs: 19_000 }, { stops })).toMatchObject(NOTHING);
  });

  test('a copy that outlives the return of its node while the scheduler is away', () => {
    const away = fault({ what: 'scheduler killed', node: null, fromMs: 29_000, toMs: 50_000, plain: false });
    expect(replaced({ aliveMs: 51_000 }, {}, { faults: [fault(), away] })).toMatchObject({ doubleRuns: [] });
  });
});

function stop(more: Partial<Stop> = {}): Stop {
  return { tag: 'web-1', acknowledgedMs: 5_800, confirmedMs: 6_100, ...more };
}

describe('finds a double run in', () => {
  function expectDouble(judgement: Judgement, text: string): void {
    expect(judgement.doubleRuns).toEqual([expect.stringContaining(text)]);
  }

  test('a run that was started twice, one after the other', () => {
    const traces = [trace({ aliveMs: 5_000 }), trace({ pid: 101, startMs: 8_000 })];
    expectDouble(judged({ traces }), 'was started twice, as pids 100 and 101');
  });

  test('a generation on two nodes', () => {
    const traces = [trace({ aliveMs: 5_000 }), trace({ run: 2, node: 'n2', startMs: 8_000 })];
    expectDouble(judged({ traces }), 'on n2 was on n1 as well');
  });

  test('a run that began before the one ahead of it was gone', () => {
    const traces = [trace({ aliveMs: 5_040 }), trace({ run: 2, startMs: 5_000 })];
    expectDouble(judged({ traces }), 'was alive for 40 ms beside web.0 (web-1) generation 1 run 2');
  });

  test('a descendant that outlived its run', () => {
    const traces = [
      trace({ aliveMs: 5_000 }),
      trace({ role: 'child', pid: 102, aliveMs: 7_000 }),
      trace({ run: 2, startMs: 5_030 }),
    ];
    expectDouble(judged({ traces }), '(child) was alive for 1970 ms');
  });

  test('numbers that go down', () => {
    const traces = [trace({ generation: 3, aliveMs: 5_000 }), trace({ generation: 2, startMs: 8_000 })];
    expectDouble(judged({ traces }), 'generation 2 run 1 on n1 was started after web.0 (web-1) generation 3');
  });

  test('a fenced generation that is started again after the next one', () => {
    const traces = [
      trace({ aliveMs: 20_000 }),
      trace({ generation: 2, node: 'n2', startMs: 24_000 }),
      trace({ run: 2, startMs: 30_100, aliveMs: 30_100 }),
    ];
    const { doubleRuns } = judged({ traces, submissions: [submission({ onDisconnect: 'stop' })], faults: [fault()] });
    expect(doubleRuns).toContainEqual(expect.stringContaining('generation 1 run 2 on n1 was started after'));
  });

  test('two generations at once where nothing was wrong', () => {
    expectDouble(replaced({}, {}, { faults: [], verdicts: [] }), 'was alive for 16400 ms');
  });

  test('a replacement that began before its node was cut off', () => {
    expectDouble(replaced({}, { startMs: 8_000 }), 'was alive for 22500 ms');
  });

  test('a copy that outlived the return of its node by far', () => {
    expectDouble(replaced({ aliveMs: 40_000 }), 'was alive for 25900 ms');
  });

  test('a copy whose own node was never away, though another was', () => {
    expectDouble(replaced({}, {}, { faults: [fault({ node: 'n3' })], verdicts: [] }), 'was alive for 16400 ms');
  });

  test('any overlap of fenced generations, be it of 10 ms', () => {
    const submissions = [submission({ onDisconnect: 'stop' })];
    expectDouble(replaced({ aliveMs: 24_010 }, { startMs: 24_000 }, { submissions }), 'was alive for 10 ms');
  });

  test('what was to wait for its node, though no copy of it was left', () => {
    const submissions = [submission({ onDisconnect: 'keep' })];
    expectDouble(replaced({ aliveMs: 10_000 }, {}, { submissions }), 'generation 2 run 1 on n2 did not wait for');
  });

  test('a copy of what was to wait for its node', () => {
    const { doubleRuns } = replaced({}, {}, { submissions: [submission({ onDisconnect: 'keep' })] });
    expect(doubleRuns).toContainEqual(expect.stringContaining('was alive for 16400 ms'));
  });

  test('two that live at the end', () => {
    const traces = [trace(), trace({ pid: 101, run: 2, startMs: 3_000 })];
    expect(judged({ traces }).doubleRuns).toHaveLength(2);
  });

  test('what was never acknowledged, too', () => {
    const traces = [trace({ aliveMs: 5_000 }), trace({ pid: 101, startMs: 8_000 })];
    expectDouble(judged({ traces, submissions: [] }), 'was started twice');
  });
});

describe('finds a loss in', () => {
  function expectLoss(judgement: Judgement, text: string): void {
    expect(judgement.losses).toEqual([expect.stringContaining(text)]);
  }

  test('an acknowledged instance that never ran', () => {
    expectLoss(judged({ traces: [] }), 'web.0 of web-1: nothing of it lives at the end');
  });

  test('one that ran and is gone', () => {
    expectLoss(judged({ traces: [trace({ aliveMs: 50_000 })] }), 'nothing of it lives at the end');
  });

  test('a batch that only failed', () => {
    const traces = [trace({ aliveMs: 5_000, exit: { atMs: 5_000, code: 1 } })];
    expectLoss(judged({ traces, submissions: [submission({ expectation: 'completes' })] }), 'nothing of it lives');
  });

  test('a batch that was told to stop, and ended well for that', () => {
    const traces = [trace({ aliveMs: 5_000, toldMs: 4_900, exit: { atMs: 5_000, code: 0 } })];
    expectLoss(judged({ traces, submissions: [submission({ expectation: 'completes' })] }), 'nothing of it lives');
  });

  test('a process that is alive after its stop was confirmed', () => {
    expectLoss(judged({ traces: [trace({ aliveMs: 6_500 })], stops: [stop()] }), 'was alive 400 ms after');
  });

  test('one on a cut-off node whose stop was confirmed though nobody had replaced it', () => {
    const traces = [trace({ aliveMs: 30_500 })];
    expectLoss(
      judged({ traces, faults: [fault({ plain: false })], stops: [stop({ confirmedMs: 20_000 })] }),
      'was alive 10500 ms after',
    );
  });

  test('one that came back to life after its stop was confirmed', () => {
    const traces = [trace({ aliveMs: 6_000 }), trace({ generation: 2, startMs: 9_000, aliveMs: 9_500 })];
    expectLoss(judged({ traces, stops: [stop()] }), 'generation 2 run 1 on n1 (main) was started 2900 ms after');
  });

  test('one that lives at the end though its stop was acknowledged', () => {
    expectLoss(judged({ stops: [stop({ confirmedMs: null })] }), 'lives at the end, and is not wanted');
  });

  test('one that was scaled away and lives', () => {
    expectLoss(judged({ traces: [trace(), trace({ instance: 'web.1' })] }), 'web.1 (web-1) generation 1');
  });

  test('a descendant of what was stopped', () => {
    expectLoss(judged({ traces: [trace({ role: 'child' })], stops: [stop({ confirmedMs: null })] }), '(child) lives');
  });
});

describe('of verdicts', () => {
  test('finds one false on a node that nothing was done to', () => {
    const { falseVerdicts } = judged({ verdicts: [lost('n2', 14_000)], faults: [fault({ plain: false })] });
    expect(falseVerdicts).toEqual(['n2 at +14.000 s, which had not failed']);
  });

  test('finds one false that comes when the node is back, unless a probe that was sent before may have decided it', () => {
    const faults = [fault({ toMs: 12_000, plain: false })];
    expect(judged({ verdicts: [lost('n1', 14_600)], faults }).falseVerdicts).toHaveLength(1);
    expect(judged({ verdicts: [lost('n1', 14_000)], faults }).falseVerdicts).toEqual([]);
  });

  test('finds one false where the network only loses packets', () => {
    const faults = [fault({ what: 'lossy', failed: false, plain: false })];
    expect(judged({ verdicts: [lost('n1', 14_000)], faults }).falseVerdicts).toHaveLength(1);
  });

  test('misses one that should have come, or that came late', () => {
    expect(judged({ faults: [fault()] }).missedVerdicts).toEqual(['n1 (cut off at +10.000 s): none']);
    const late = replaced({}, {}, { verdicts: [lost('n1', 16_000)] });
    expect(late).toMatchObject({ missedVerdicts: ['n1 (cut off at +10.000 s): after 6000 ms'], verdictMs: [6_000] });
  });

  test('counts from when the scheduler noted last that it was late itself', () => {
    const verdicts = [lost('n1', 16_000)];
    expect(replaced({}, {}, { stallsMs: [11_500], verdicts }).missedVerdicts).toEqual([]);
    expect(replaced({}, {}, { stallsMs: [10_900], verdicts }).missedVerdicts).toHaveLength(1);
    expect(replaced({}, {}, { stallsMs: [9_000], verdicts }).missedVerdicts).toHaveLength(1);
    expect(replaced({}, {}, { stallsMs: [16_500], verdicts }).missedVerdicts).toHaveLength(1);
  });

  test('misses none where the failure was too short, or the scheduler stood still', () => {
    expect(judged({ faults: [fault({ toMs: 13_000 })] }).missedVerdicts).toEqual([]);
    const still = fault({ what: 'scheduler paused', node: null, fromMs: 12_000, toMs: 22_000, plain: false });
    expect(judged({ faults: [fault(), still] }).missedVerdicts).toEqual([]);
    const before = fault({ fromMs: 2_000, toMs: 7_000, plain: false });
    expect(judged({ faults: [before, fault()], verdicts: [lost('n1', 6_000)] }).missedVerdicts).toEqual([]);
    const back: Verdict = { node: 'n1', atMs: 7_000, what: 'returned' };
    expect(judged({ faults: [before, fault()], verdicts: [lost('n1', 6_000), back] }).missedVerdicts).toHaveLength(1);
  });
});

test('finds a recovery that took too long', () => {
  expect(replaced({}, { startMs: 26_000 }).lateRecoveries).toEqual([
    'web.0 (web-1) generation 2 run 1 on n2, 16000 ms after +10.000 s',
  ]);
});

test('measures fenced recoveries by themselves, and the gap between two generations', () => {
  const submissions = [submission({ onDisconnect: 'stop' })];
  expect(replaced({ aliveMs: 20_000 }, { startMs: 21_200 }, { submissions })).toMatchObject({
    ...NOTHING,
    fencedRecoveryMs: [11_200],
    recoveryMs: [],
    leastFenceGapMs: 1_200,
  });
});

test('judges a history that goes on by what can be known already', () => {
  expect(judged({ traces: [], endMs: null })).toMatchObject(NOTHING);
  const traces = [trace({ aliveMs: 5_000 }), trace({ pid: 101, startMs: 8_000 })];
  expect(judged({ traces, endMs: null }).doubleRuns).toHaveLength(1);
});

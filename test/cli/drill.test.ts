/** What a drill comes to, told by its events. Real nodes are made to fail in test/system/drill.test.ts. */

import { previewText } from '../../cli/drill/preview';
import { type DrillResult, type Objectives, renderResult, resultOf } from '../../cli/drill/result';
import { DrillTimeline } from '../../cli/drill/timeline';
import type { Drill, Loss } from '../../contract/drill';
import type { EventType, MorchEvent } from '../../contract/events';

const BEGAN_MS = Date.UTC(2026, 0, 1);
const at = (ms: number) => new Date(BEGAN_MS + ms).toISOString();
const OBJECTIVES: Objectives = { detectionMs: 5_000, recoveryMs: 15_000 };
const KILL: Drill = { node: 'n1', kind: 'kill', durationMs: null, at: at(0), since: 7 };
const CUT: Drill = { ...KILL, kind: 'cut', durationMs: 20_000 };

const loss = (instance: string, more: Partial<Loss> = {}): Loss => ({
  instance,
  workload: instance.split('.')[0]!,
  onDisconnect: 'replace',
  fate: 'moves',
  toNode: 'n2',
  reason: null,
  ...more,
});
const OPTIONS = { format: 'table', quiet: false, headers: true, colour: false, width: undefined } as const;
const LOSSES = [loss('web.0'), loss('web.1'), loss('home.0', { onDisconnect: 'keep', fate: 'waits', toNode: null })];

/** `4000 lost` is an event of n1; `4010 placed web.0 n2` one of an instance; `5000 scheduler.started` as it is. */
function play(drill: Drill, transcript: string, losses = LOSSES): DrillTimeline {
  const timeline = new DrillTimeline(drill, losses);
  for (const line of transcript.trim().split('\n')) {
    const [ms, what = '', instance, node] = line.trim().split(' ');
    const about = instance === undefined ? { node: 'n1' } : { instance, node: node ?? 'n1' };
    const type = (what.includes('.') ? what : `${instance === undefined ? 'node' : 'instance'}.${what}`) as EventType;
    timeline.take({ seq: 8, at: at(Number(ms)), type, ...about, data: {} } as MorchEvent);
  }
  return timeline;
}

const RECOVERED = `
  30 suspect
  4000 lost
  4001 recovering web.0
  4001 recovering web.1
  4001 recovering home.0
  4005 placed web.0 n2
  4006 placed web.1 n3
  4020 started web.0 n2
  4090 started web.1 n3`;
const RETURNED = `
  10000 returned
  10001 started home.0 n1
  10002 healthy`;

test('all that was to be moved runs again: both times count from the failure', () => {
  const result = resultOf(play(KILL, RECOVERED + RETURNED), OBJECTIVES, at(10_500));
  expect(result).toMatchObject({ outcome: 'recovered', met: true, detectionMs: 4_000, recoveryMs: 4_090 });
  expect(result.timeline).toEqual({
    injectedAt: at(0),
    suspectAt: at(30),
    verdictAt: at(4_000),
    recoveredAt: at(4_090),
    returnedAt: at(10_000),
    staleGoneAt: at(10_500),
    schedulerStartedAt: null,
  });
  expect(result.instances).toMatchObject([
    { instance: 'web.0', outcome: 'running', toNode: 'n2', placedAt: at(4_005), startedAt: null, runningAt: at(4_020) },
    { instance: 'web.1', outcome: 'running', toNode: 'n3', placedAt: at(4_006), runningAt: at(4_090) },
    { instance: 'home.0', outcome: 'running', toNode: 'n1', placedAt: null, runningAt: at(10_001) },
  ]);
});

test.each<[string, Drill, string, Objectives, Partial<DrillResult>]>([
  [
    'a verdict that is late',
    KILL,
    RECOVERED,
    { detectionMs: 3_999, recoveryMs: 15_000 },
    { outcome: 'recovered', met: false },
  ],
  [
    'a recovery that is late',
    KILL,
    RECOVERED,
    { detectionMs: 5_000, recoveryMs: 4_089 },
    { outcome: 'recovered', met: false },
  ],
  [
    'one that does not run',
    KILL,
    RECOVERED.replace(/.*4090.*/, ''),
    OBJECTIVES,
    { outcome: 'notRecovered', met: false, recoveryMs: null },
  ],
  [
    'one that was stopped meanwhile',
    KILL,
    RECOVERED.replace('started web.1 n3', 'stopped web.1 n3'),
    OBJECTIVES,
    { outcome: 'recovered', met: true, recoveryMs: 4_020 },
  ],
  [
    'an agent that is back in time',
    KILL,
    '30 suspect\n900 healthy',
    OBJECTIVES,
    { outcome: 'backInTime', met: true, detectionMs: null, recoveryMs: null },
  ],
  ['a killed agent that nobody missed', KILL, '30 suspect', OBJECTIVES, { outcome: 'notDetected', met: false }],
  ['a cut that nobody saw', CUT, '2200 suspect\n20100 healthy', OBJECTIVES, { outcome: 'notDetected', met: false }],
  [
    'a cut shorter than it may take to see',
    { ...CUT, durationMs: 3_000 },
    '2200 suspect\n3100 healthy',
    OBJECTIVES,
    { outcome: 'backInTime', met: true },
  ],
  [
    'a cut that ended early, its agent having been started anew',
    CUT,
    '30 suspect\n3650 healthy',
    OBJECTIVES,
    { outcome: 'backInTime', met: true },
  ],
  [
    'a cut too short to be seen',
    { ...CUT, durationMs: 1_000 },
    '0 drill',
    OBJECTIVES,
    { outcome: 'notMeasured', met: false },
  ],
  [
    'a cut for most of which there was no scheduler',
    { ...CUT, durationMs: 10_000 },
    '2200 suspect\n5500 scheduler.started\n10100 healthy',
    OBJECTIVES,
    { outcome: 'notMeasured', met: false },
  ],
  [
    'a cut that a scheduler started anew had time to see',
    CUT,
    '2200 suspect\n5500 scheduler.started\n20100 healthy',
    OBJECTIVES,
    { outcome: 'notDetected', met: false },
  ],
  [
    'a node with nothing to move',
    KILL,
    '30 suspect\n4000 lost',
    OBJECTIVES,
    { outcome: 'recovered', met: true, recoveryMs: null },
  ],
])('%s', (_, drill, transcript, objectives, expected) => {
  expect(resultOf(play(drill, transcript), objectives, null)).toMatchObject(expected);
});

test('what has ended without a verdict, and was started anew, is told', () => {
  const transcript = `
    5500 scheduler.started
    10100 healthy
    10105 placed web.0 n2
    10120 started web.0 n2`;
  const result = resultOf(play({ ...CUT, durationMs: 10_000 }, transcript), OBJECTIVES, null);
  expect(result.instances).toMatchObject([
    { instance: 'web.0', outcome: 'running', toNode: 'n2', placedAt: at(10_105), runningAt: at(10_120) },
    { instance: 'web.1', outcome: 'untouched' },
    { instance: 'home.0', outcome: 'untouched' },
  ]);
  const text = renderResult(result, OPTIONS);
  expect(text).toContain('nothing was measured: the scheduler was started anew at +5.5s');
  expect(text).toContain('1 instance had ended meanwhile and was started anew');
});

test('what the scheduler has measured is taken over, of this failure only', () => {
  const timeline = play(KILL, RECOVERED);
  const told = (startedAt: string, verdictAt: string, fromNode = 'n1') => ({
    ...{ instance: 'web.0', fromNode, toNode: 'n2', outcome: 'succeeded' as const },
    timeline: {
      lastContactAt: at(-500),
      suspectAt: at(30),
      verdictAt,
      placedAt: at(4_004),
      startedAt,
      runningAt: at(4_019),
    },
  });
  timeline.takeRecoveries([
    told(at(4_010), at(3_999)),
    told(at(5_555), at(4_100), 'n9'),
    { ...told(at(-9_000), at(-9_500)) },
  ]);
  expect(timeline.instances[0]).toMatchObject({ placedAt: at(4_004), startedAt: at(4_010), runningAt: at(4_019) });
  expect(timeline.instances[1]).toMatchObject({ startedAt: null });
});

test('the tables tell each step, and which objective was missed', () => {
  const text = renderResult(resultOf(play(KILL, RECOVERED), { detectionMs: 3_000, recoveryMs: 15_000 }, null), OPTIONS);
  expect(text).toMatch(/^suspect +\S+ +\+30ms$/m);
  expect(text).toMatch(/^verdict +\S+ +\+4s +3s +missed$/m);
  expect(text).toMatch(/^all running again +\S+ +\+4.09s +15s +met$/m);
  expect(text).toMatch(/^node returned +- +-$/m);
  expect(text).toMatch(/^web.0 +replace +running +n2 +\+4s +- +\+4.02s$/m);
  expect(text).toContain('the objectives are missed');
});

test('before it, each workload is told once, with what will become of it', () => {
  const text = previewText(
    { node: 'n1', instances: [...LOSSES, loss('big.0', { fate: 'nowhere', toNode: null, reason: 'no node fits' })] },
    { kind: 'cut', durationMs: 90_000 },
  );
  expect(text.split('\n')).toEqual([
    'This cuts the agent of n1 off for 1m30s: it neither sends nor answers anything. What it runs goes on,',
    expect.any(String),
    '4 instances there:',
    expect.stringMatching(/^ {2}web {3}2 × replace: started elsewhere at the verdict/),
    expect.stringMatching(/^ {2}home {2}1 × keep: waits for n1/),
    '  big   1 × replace: no other node could take it: no node fits',
  ]);
});

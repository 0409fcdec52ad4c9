import type { Flaps } from '../../../scheduler/core/model';
import { flapsAfterLoss, quarantineOf } from '../../../scheduler/core/quarantine';

const policy = { flapLosses: 3, flapWindowMs: 1_000, quarantineMs: 5_000 };
const afterLosses = (...atMs: number[]) =>
  atMs.reduce<Flaps | undefined>((flaps, nowMs) => flapsAfterLoss(flaps, nowMs, policy), undefined)!;
const leftMs = (flaps: Flaps, nowMs: number, asked = policy) => quarantineOf({ id: 'n1', flaps }, nowMs, asked)?.leftMs;

it('begins with the last of so many losses within the window, and counts from it', () => {
  expect(leftMs(afterLosses(0, 400), 500)).toBeUndefined();
  expect(leftMs(afterLosses(0, 400, 1_001), 1_100)).toBeUndefined();
  expect(leftMs(afterLosses(0, 400, 900), 1_000)).toBe(4_900);
  expect(leftMs(afterLosses(0, 400, 900, 1_300), 1_400)).toBe(4_900);
  expect(leftMs(afterLosses(0, 400, 900), 5_900)).toBeUndefined();
});

it('is not shortened by a loss that comes alone', () => {
  expect(leftMs(afterLosses(0, 400, 900, 3_000), 3_000)).toBe(2_900);
});

it('is never longer than it is set, where the clock was set back while no scheduler ran', () => {
  expect(leftMs(afterLosses(100_000, 100_100, 100_200), 0)).toBe(5_000);
  expect(afterLosses(100_000, 100_100, 0)).toEqual({ lossesAtMs: [0], untilMs: null });
});

it('is for none where no number of losses makes a node flapping', () => {
  expect(flapsAfterLoss(undefined, 0, { ...policy, flapLosses: 0 }).untilMs).toBeNull();
  expect(leftMs(afterLosses(0, 400, 900), 1_000, { ...policy, flapLosses: 0 })).toBeUndefined();
});

it('says why, and how to end it', () => {
  const { reason } = quarantineOf({ id: 'n1', flaps: afterLosses(0, 400, 900) }, 1_000, policy)!;
  expect(reason).toContain('lost 3 times');
  expect(reason).toContain('morch uncordon n1');
});

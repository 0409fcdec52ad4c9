import { RequestRate } from '../../access/requestRate';

test('each caller has its own, which is full again with the next second', () => {
  const rate = new RequestRate(2);
  const take = (caller: string, nowMs: number) => {
    try {
      rate.take(caller, nowMs);
      return true;
    } catch (error) {
      expect(error).toMatchObject({ code: 'TOO_MANY_REQUESTS', status: 429 });
      return false;
    }
  };
  expect([1_000, 1_100, 1_900, 1_999].map((nowMs) => take('a', nowMs))).toEqual([true, true, false, false]);
  expect(take('b', 1_999)).toBe(true);
  expect([2_000, 2_001, 2_002].map((nowMs) => take('a', nowMs))).toEqual([true, true, false]);
});

test('0 is no limit', () => {
  const rate = new RequestRate(0);
  for (let i = 0; i < 10_000; ++i) expect(() => rate.take('a', 0)).not.toThrow();
});

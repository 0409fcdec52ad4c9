import { AfterBurst } from '../../agent/afterBurst';
import { until } from '../support/until';

test('a burst is over once nothing changes any more, and few changes are none', async () => {
  const overAtMs: number[] = [];
  const few = new AfterBurst(() => overAtMs.push(-1) > 0, 1);
  const burst = new AfterBurst(() => overAtMs.push(performance.now()) > 0, 50);
  for (let n = 0; n < 99; n += 1) few.note();
  let notedAtMs = 0;
  for (let turns = 0; turns < 100; turns += 1) {
    for (let n = 0; n < 10; n += 1) burst.note();
    notedAtMs = performance.now();
    await new Promise(setImmediate);
  }
  await until(() => overAtMs.length > 0, { what: 'the burst is over' });
  expect(overAtMs).toHaveLength(1);
  expect(overAtMs[0]! - notedAtMs).toBeGreaterThan(40);
});

test('what it did not do is tried again, some times and no more', () => {
  jest.useFakeTimers();
  try {
    const answers = { second: [false, true], never: Array(20).fill(false) as boolean[] };
    const second = new AfterBurst(() => answers.second.shift()!, 5);
    const never = new AfterBurst(() => answers.never.shift()!, 5);
    for (const one of [second, never]) for (let n = 0; n < 100; n += 1) one.note();
    jest.advanceTimersByTime(1_000);
    expect([answers.second.length, answers.never.length]).toEqual([0, 20 - 6]);
  } finally {
    jest.useRealTimers();
  }
});

import { AfterBurst } from '../../agent/afterBurst';
import { until } from '../support/until';

test('a burst is over once nothing changes any more, and few changes are none', async () => {
  const overAtMs: number[] = [];
  const few = new AfterBurst(() => overAtMs.push(-1), 1);
  const burst = new AfterBurst(() => overAtMs.push(performance.now()), 50);
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

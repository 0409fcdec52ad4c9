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

test('what it did not do is tried again, some times and no more', async () => {
  let calls = 0;
  const inThree = new AfterBurst(() => {
    calls += 1;
    return calls === 3;
  }, 5);
  for (let n = 0; n < 100; n += 1) inThree.note();
  await until(() => calls === 3, { what: 'it has done it' });
  let never = 0;
  const hopeless = new AfterBurst(() => {
    never += 1;
    return false;
  }, 5);
  for (let n = 0; n < 100; n += 1) hopeless.note();
  await until(() => never === 6, { what: 'it has tried' });
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect({ calls, never }).toEqual({ calls: 3, never: 6 });
});

/** Who waits for a place: fresh, parked with those that want the same, or asleep until a later moment. */
import type { InstanceRecord } from '../../scheduler/core/model';
import { steadyNowMs } from '../../scheduler/steadyClock';
import { WaitingList } from '../../scheduler/waiting';

const CIRCUMSTANCES = { reason: 'no node fits', roomVersion: 1, reasonVersion: 1, explainedAtMs: 0 };
const instance = (id: string, more: Partial<InstanceRecord> = {}): InstanceRecord =>
  ({ id, retryAtMs: 0, fenced: false, ...more }) as InstanceRecord;
const ids = (some: Iterable<InstanceRecord>): string[] => [...some].map(({ id }) => id);

let list: WaitingList;
beforeEach(() => {
  list = new WaitingList();
});

it('keeps those that nobody has looked at in the order in which they came, whatever else changes of them', () => {
  const [a, b] = [instance('a'), instance('b')];
  for (const one of [a, b, a]) list.note(one);
  expect(ids(list.fresh)).toEqual(['a', 'b']);
  list.drop(a);
  expect(ids(list)).toEqual(['b']);
});

it('parks what is refused with all that want the same, and forgets a want that nobody has any more', () => {
  const [a, b, c] = [instance('a'), instance('b'), instance('c')];
  for (const one of [a, b, c]) list.note(one);
  list.park(a, 'much', CIRCUMSTANCES);
  list.park(b, 'little', CIRCUMSTANCES);
  list.park(c, 'much', { ...CIRCUMSTANCES, reason: 'still none', roomVersion: 2 });
  expect(list.fresh.size).toBe(0);
  expect([...list.parked].map(([want, { instances, reason }]) => [want, ids(instances), reason])).toEqual([
    ['much', ['a', 'c'], 'still none'],
    ['little', ['b'], 'no node fits'],
  ]);
  // A new reason is no reason to look at it again.
  list.note(a);
  expect(list.fresh.size).toBe(0);
  list.lookAnew(a);
  expect(ids(list.fresh)).toEqual(['a']);
  list.park(b, 'much', CIRCUMSTANCES);
  expect([...list.parked.keys()]).toEqual(['much']);
});

it('wakes each when its moment has come, the earliest first, and none that does not sleep any more', () => {
  const nowMs = steadyNowMs();
  const sleepers = [5, 1, 4, 2, 3].map((n) => instance(`s${n}`, { retryAtMs: nowMs + n * 100_000 }));
  for (const one of sleepers) list.note(one);
  expect(list.fresh.size).toBe(0);
  expect(list.nextAtMs).toBe(nowMs + 100_000);
  const [s5, s1, , s2] = sleepers as [InstanceRecord, InstanceRecord, InstanceRecord, InstanceRecord];
  list.drop(s1);
  expect(list.nextAtMs).toBe(nowMs + 200_000);
  s2.retryAtMs = nowMs + 600_000;
  list.note(s2);
  list.wakeUp(nowMs + 450_000);
  expect(ids(list.fresh)).toEqual(['s3', 's4']);
  s5.retryAtMs = 0;
  list.note(s5);
  expect(ids(list.fresh)).toEqual(['s3', 's4', 's5']);
  expect(list.nextAtMs).toBe(nowMs + 600_000);
  expect(ids(list)).toEqual(['s3', 's4', 's5', 's2']);
});

it('leaves out who is held by a fence until that is over', () => {
  const held = instance('held', { fenced: true });
  list.note(held);
  expect(ids(list)).toEqual([]);
  held.fenced = false;
  list.note(held);
  expect(ids(list.fresh)).toEqual(['held']);
});

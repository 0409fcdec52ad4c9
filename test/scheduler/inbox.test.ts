import { Inbox } from '../../scheduler/inbox';
import { until } from '../support/until';

/** Takes longer than a turn of it may. */
function dawdle(): void {
  const endsAtMs = performance.now() + 10;
  while (performance.now() < endsAtMs);
}

it('takes at once what comes alone', () => {
  const inbox = new Inbox('common');
  const taken: string[] = [];
  const take = (text: string) => taken.push(text);
  inbox.put(take, 'a');
  expect(taken).toEqual(['a']);
});

it('leaves to later turns what would take too long, in the order of each sender', async () => {
  const inbox = new Inbox('common');
  const taken: string[] = [];
  const slow = (text: string) => {
    dawdle();
    taken.push(text);
  };
  const other = (text: string) => taken.push(text);
  for (const text of ['a', 'b', 'c']) inbox.put(slow, text);
  inbox.put(other, 'x');
  expect(taken).toEqual(['a']);
  const turns: number[] = [];
  const count = (): void => {
    turns.push(taken.length);
    if (taken.length < 4) setImmediate(count);
  };
  setImmediate(count);
  await until(() => taken.length === 4, { what: 'all are taken' });
  expect(taken).toEqual(['a', 'b', 'c', 'x']);
  // The other's had its turn apart from those of the slow one.
  expect(turns).toContain(3);
});

it('takes at once what waits of one that is about to be asked for something else', () => {
  const inbox = new Inbox('common');
  const taken: string[] = [];
  const slow = (text: string) => {
    dawdle();
    taken.push(text);
  };
  for (const text of ['a', 'b', 'c']) inbox.put(slow, text);
  inbox.flush(slow);
  expect(taken).toEqual(['a', 'b', 'c']);
});

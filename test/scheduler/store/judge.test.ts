import type { BatchEntry } from '../../../scheduler/store/batchEntries';
import { judge, type Reading } from '../../../scheduler/store/damage';

const entry = (first: number, more: Partial<BatchEntry> = {}): BatchEntry => ({
  first,
  bytes: 0,
  count: 2,
  sum: 5,
  ...more,
});
const reading = (batches: Reading['batches'], more: Partial<Reading> = {}): Reading => ({
  digest: { count: 2, sum: 5 },
  batches,
  unreadable: [],
  error: null,
  ...more,
});
const run = (from: number, to: number, first = from): Reading['batches'] =>
  Array.from({ length: to - from + 1 }, (_, i) => [from + i, entry(first)] as const);
const empty = { digest: { count: 0, sum: 0 } };

it.each<[what: string, reading: Reading, mark: number, problems: RegExp[], missing: object | null]>([
  ['a new store', reading([], empty), 0, [], null],
  ['a sound store', reading(run(1, 3)), 3, [], null],
  ['one that ends beyond the mark', reading(run(1, 4)), 3, [], null],
  ['one whose older entries were trimmed', reading(run(7, 9)), 9, [], null],
  ['one with entries from before it began anew', reading([...run(1, 2), ...run(10, 11)]), 11, [], null],
  [
    'an end below the mark',
    reading(run(1, 3)),
    5,
    [/batch 4 to 5 /, /ends with batch 3, where number 5/],
    { count: 2, first: 4, last: 5 },
  ],
  [
    'a hole',
    reading([...run(1, 2), ...run(4, 6, 1)]),
    6,
    [/^batch 3 of its journal is missing$/],
    { count: 1, first: 3, last: 3 },
  ],
  [
    'two holes',
    reading([...run(2, 2), ...run(4, 4), ...run(7, 7, 1)]),
    7,
    [/batch 1 to 6/],
    { count: 4, first: 1, last: 6 },
  ],
  ['a record too few', reading(run(1, 3), { digest: { count: 1, sum: 3 } }), 3, [/1 record where there were 2/], null],
  ['another record', reading(run(1, 3), { digest: { count: 2, sum: 6 } }), 3, [/not those/], null],
  [
    'an unreadable record',
    reading(run(1, 3), { unreadable: ['a', 'b'] }),
    3,
    [/^2 records failed the check, such as a$/],
    null,
  ],
  ['a reading that broke off', reading(run(1, 3), { error: 'EIO' }), 3, [/EIO/], null],
  ['no journal', reading([]), 0, [/journal is missing, with 2 records/], null],
  ['nothing, where there was something', reading([], empty), 8, [/no batch, where number 8/], null],
])('judges %s', (_what, read, mark, problems, missing) => {
  const judgement = judge(read, mark);
  expect(judgement.problems).toEqual(problems.map((problem) => expect.stringMatching(problem)));
  expect(judgement.missing).toEqual(missing);
});

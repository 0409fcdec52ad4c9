import { BatchEntries, type BatchEntry } from '../../../scheduler/store/batchEntries';
import { keys } from '../../../scheduler/store/keys';

const DIGEST = { count: 1, sum: 2 };
const MIB = 1024 * 1024;

/** What the store would hold after these batches. */
function written(entries: BatchEntries, sizes: readonly number[], held = new Map<number, BatchEntry>()) {
  for (const bytes of sizes) {
    const { number, entry, trims, commit } = entries.next(bytes, DIGEST);
    held.set(number, entry);
    for (const { key } of trims) expect(held.delete([...held.keys()].find((n) => keys.batch(n) === key)!)).toBe(true);
    commit();
  }
  return held;
}

it('numbers batches without a gap, and takes the number of a batch that failed again', () => {
  const entries = new BatchEntries();
  expect(entries.next(10, DIGEST).number).toBe(1);
  const again = entries.next(10, DIGEST);
  expect(again).toMatchObject({ number: 1, entry: { first: 1, bytes: 10, ...DIGEST } });
  again.commit();
  expect(entries.last).toBe(1);
  expect(entries.next(10, DIGEST).number).toBe(2);
});

it.each([
  ['small', Array.from({ length: 3_000 }, () => 32 * 1024)],
  ['large', Array.from({ length: 20 }, () => 9 * MIB)],
  ['mixed', Array.from({ length: 500 }, (_, i) => (i % 50 === 0 ? 6 * MIB : 1_000))],
])('keeps entries for 16 MiB of %s batches and not for much more, and says from which on', (_what, sizes) => {
  const held = written(new BatchEntries(), sizes);
  const numbers = [...held.keys()];
  expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, i) => sizes.length - numbers.length + i + 1));
  expect(held.get(sizes.length)!.first).toBe(numbers[0]);
  const sum = [...held.values()].reduce((bytes, entry) => bytes + entry.bytes, 0);
  expect(sum).toBeGreaterThanOrEqual(16 * MIB);
  expect(sum - held.get(numbers[0]!)!.bytes).toBeLessThan(16 * MIB);
});

it('goes on where an earlier process was, and trims its entries', () => {
  const sizes = Array.from({ length: 100 }, () => MIB);
  const held = written(new BatchEntries(), sizes);
  const entries = new BatchEntries([...held].sort(([a], [b]) => a - b));
  expect(entries.last).toBe(100);
  written(entries, sizes, held);
  expect([...held.keys()]).toEqual(Array.from({ length: 16 }, (_, i) => 185 + i));
});

it('begins anew far ahead, from an entry before which none is missed', () => {
  const entries = new BatchEntries();
  written(entries, [1, 1]);
  entries.skipAhead();
  const next = entries.next(1, DIGEST);
  expect(next).toMatchObject({ number: 2 ** 32, entry: { first: 2 ** 32 } });
  // It failed: the next one begins anew all the same.
  expect(entries.next(1, DIGEST).number).toBe(2 ** 32);
  next.commit();
  expect(entries.next(1, DIGEST)).toMatchObject({ number: 2 ** 32 + 1, entry: { first: 2 ** 32 } });
});

/** Ids in their order, whatever comes and goes. */
import fc from 'fast-check';
import { SortedIds } from '../../scheduler/sortedIds';

it('holds what a sorted set would, and goes on after any id, there or not', () => {
  const id = fc.nat(5_000).map((n) => `job-${n}`);
  const acts = fc.array(fc.record({ id, adds: fc.boolean() }), { maxLength: 200 });
  // Enough in a row to have runs divided, as they come in their order and in any other.
  const many = fc.constantFrom(0, 3_000).map((count) => Array.from({ length: count }, (_, n) => `job-${n}`));
  fc.assert(
    fc.property(many, fc.boolean(), acts, id, (first, inOrder, changes, after) => {
      const ids = new SortedIds();
      const model = new Set(first);
      for (const one of inOrder ? [...first].sort() : first) ids.add(one);
      for (const change of changes) {
        if (change.adds) ids.add(change.id);
        else ids.delete(change.id);
        if (change.adds) model.add(change.id);
        else model.delete(change.id);
      }
      const sorted = [...model].sort();
      expect(ids.size).toBe(model.size);
      expect([...ids.after(null)]).toEqual(sorted);
      expect([...ids.after(after)]).toEqual(sorted.filter((one) => one > after));
    }),
    { numRuns: 40 },
  );
});

import { Fingerprints } from '../../../scheduler/store/fingerprints';
import { checkOf } from '../../../scheduler/store/values';
import { random } from '../../support/random';

function digestOf(records: ReadonlyMap<string, number>) {
  return { count: records.size, sum: [...records.values()].reduce((sum, check) => (sum + check) % 2 ** 48, 0) };
}

it.each([1, 2, 3])(
  'is the sum of what is there, whatever was put, replaced, deleted and taken back (seed %i)',
  (seed) => {
    const next = random(seed);
    const fingerprints = new Fingerprints();
    let records = new Map<string, number>();
    for (let round = 0; round < 60; round++) {
      const before = new Map(records);
      fingerprints.begin();
      for (let i = next(200); i >= 0; i--) {
        const key = `key/${next(3_000)}`;
        if (next(3) === 0) {
          fingerprints.delete(key);
          records.delete(key);
        } else {
          const check = next(2 ** 32);
          fingerprints.put(key, check);
          records.set(key, check);
        }
      }
      expect(fingerprints.digest).toEqual(digestOf(records));
      if (next(3) === 0) {
        fingerprints.rollback();
        records = before;
        expect(fingerprints.digest).toEqual(digestOf(records));
      } else {
        fingerprints.commit();
      }
    }
    for (const key of records.keys()) fingerprints.delete(key);
    expect(fingerprints.digest).toEqual({ count: 0, sum: 0 });
  },
);

it('goes on from what another thread has handed over', () => {
  const [first, alone] = [new Fingerprints(100), new Fingerprints(100)];
  for (let i = 0; i < 5_000; i++) {
    first.put(`key/${i}`, i);
    alone.put(`key/${i}`, i);
  }
  const next = new Fingerprints(structuredClone(first.pack()));
  expect(next.digest).toEqual(alone.digest);
  for (const one of [next, alone]) {
    for (let i = 0; i < 5_000; i += 2) one.put(`key/${i}`, 7);
    for (let i = 1; i < 5_000; i += 4) one.delete(`key/${i}`);
    for (let i = 0; i < 20_000; i++) one.put(`other/${i}`, i);
  }
  expect(next.digest).toEqual(alone.digest);
});

it('tells a value under another key, and an older value, from the right one', () => {
  expect(checkOf('a', '1')).not.toBe(checkOf('b', '1'));
  const [right, wrong] = [new Fingerprints(), new Fingerprints()];
  right.put('a', checkOf('a', '2'));
  wrong.put('a', checkOf('a', '1'));
  expect(wrong.digest).not.toEqual(right.digest);
});

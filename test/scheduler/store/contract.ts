/** What every store owes its user; run against each implementation. */
import { MorchError } from '../../../contract/errors';
import type { RangeOptions, Store, StoreOp } from '../../../scheduler/store/store';

export const put = (key: string, value: unknown): StoreOp => ({ type: 'put', key, value });
export const del = (key: string): StoreOp => ({ type: 'del', key });

export async function entriesOf(store: Store, prefix: string, options?: RangeOptions): Promise<[string, unknown][]> {
  const entries: [string, unknown][] = [];
  for await (const entry of store.range(prefix, options)) entries.push(entry);
  return entries;
}

export async function keysOf(store: Store, prefix: string, options?: RangeOptions): Promise<string[]> {
  return (await entriesOf(store, prefix, options)).map(([key]) => key);
}

export function describeStore(name: string, open: () => Promise<Store>): void {
  describe(`${name} keeps the contract of a store:`, () => {
    let store: Store;
    beforeEach(async () => {
      store = await open();
    });
    afterEach(() => store.close());

    it('gives back what was written, and undefined for what was not', async () => {
      const value = { text: 'ä\u0000"', list: [1, null, { deep: true }], zero: 0 };
      await store.write([put('a', value), put('null', null)]);
      expect(await store.get('a')).toEqual(value);
      expect(await store.get('null')).toBeNull();
      expect(await store.get('b')).toBeUndefined();
    });

    it('applies the operations of a batch in their order', async () => {
      await store.write([put('a', 1), del('a'), put('b', 1), put('b', 2), del('c')]);
      expect(await entriesOf(store, '')).toEqual([['b', 2]]);
    });

    it('applies overlapping writes in the order of the calls', async () => {
      await Promise.all(Array.from({ length: 200 }, (_, i) => store.write([put('last', i), put(`k/${i}`, i)])));
      expect(await store.get('last')).toBe(199);
      expect(await keysOf(store, 'k/')).toHaveLength(200);
    });

    it('takes the values as they are at the time of the call, and shares none', async () => {
      const value = { n: 1 };
      const first = store.write([put('other', 0)]);
      const second = store.write([put('a', value)]);
      value.n = 2;
      await Promise.all([first, second]);
      const read = (await store.get('a')) as { n: number };
      expect(read).toEqual({ n: 1 });
      read.n = 3;
      expect(await store.get('a')).toEqual({ n: 1 });
    });

    it('refuses a whole batch that holds a value without JSON form, and that batch alone', async () => {
      const bad = store.write([put('bad', 1), put('worse', undefined)]);
      const good = store.write([put('good', 1)]);
      await expect(bad).rejects.toThrow(/worse/);
      await good;
      expect(await keysOf(store, '')).toEqual(['good']);
    });

    it('takes an empty batch', async () => {
      await store.write([]);
      expect(await keysOf(store, '')).toEqual([]);
    });

    describe('range', () => {
      const keys = ['event', 'event/1', 'event/2', 'event/3', 'eventual', 'node/a', 'workload/1'];
      beforeEach(() => store.write(keys.toReversed().map((key) => put(key, key))));

      it.each<[string, string, RangeOptions, string[]]>([
        ['all', '', {}, keys],
        ['a prefix and nothing beside it', 'event/', {}, ['event/1', 'event/2', 'event/3']],
        ['a prefix that is a key itself', 'event', {}, ['event', 'event/1', 'event/2', 'event/3', 'eventual']],
        ['nothing under an unknown prefix', 'x', {}, []],
        ['after a key', 'event/', { after: 'event/1' }, ['event/2', 'event/3']],
        ['after a key that is not there', 'event/', { after: 'event/15' }, ['event/2', 'event/3']],
        ['after a key before the prefix', 'event/', { after: 'a' }, ['event/1', 'event/2', 'event/3']],
        ['after a key behind the prefix', 'event/', { after: 'z' }, []],
        ['at most so many', 'event/', { limit: 2 }, ['event/1', 'event/2']],
        ['none of them', 'event/', { limit: 0 }, []],
        ['backwards', 'event/', { reverse: true }, ['event/3', 'event/2', 'event/1']],
        ['backwards before a key', 'event/', { reverse: true, after: 'event/3' }, ['event/2', 'event/1']],
        ['backwards, few', 'event/', { reverse: true, limit: 1 }, ['event/3']],
        ['backwards before a key behind the prefix', 'event/', { reverse: true, after: 'z', limit: 1 }, ['event/3']],
        ['backwards before a key ahead of the prefix', 'event/', { reverse: true, after: 'a' }, []],
      ])('gives %s', async (_what, prefix, options, expected) => {
        expect(await keysOf(store, prefix, options)).toEqual(expected);
      });

      it('may be left early and taken up again behind a key', async () => {
        const seen: string[] = [];
        for await (const [key] of store.range('event/')) {
          seen.push(key);
          if (seen.length === 2) break;
        }
        for await (const [key] of store.range('event/', { after: seen.at(-1)! })) seen.push(key);
        expect(seen).toEqual(['event/1', 'event/2', 'event/3']);
      });
    });

    it('shows all or nothing of a batch to a reader', async () => {
      const size = 50;
      let writing = true;
      const writer = (async () => {
        for (let n = 0; n < 40; n++) {
          await store.write(Array.from({ length: size }, (_, i) => put(`set/${String(i).padStart(2, '0')}`, n)));
        }
        writing = false;
      })();
      while (writing) {
        const values = new Set((await entriesOf(store, 'set/')).map(([, value]) => value));
        expect(values.size).toBeLessThanOrEqual(1);
      }
      await writer;
    });

    it('counts its batches: the mark rises with every acknowledged write, and by far where it is to begin anew', async () => {
      expect(store.mark).toBe(0);
      await store.write([put('a', 1)]);
      const first = store.mark;
      expect(first).toBeGreaterThan(0);
      await Promise.all([store.write([put('a', 2)]), store.write([put('b', 2)])]);
      const second = store.mark;
      expect(second).toBeGreaterThan(first);
      await store.write([]);
      expect(store.mark).toBe(second);
      store.skipAhead();
      expect(store.mark).toBe(second);
      await store.write([put('a', 3)]);
      expect(store.mark).toBe(2 ** 32);
      await store.write([put('a', 4)]);
      expect(store.mark).toBe(2 ** 32 + 1);
    });

    it('gives a snapshot in which nothing changes any more', async () => {
      await store.write([put('b', { n: 1 }), put('a', 'ä'), put('c', 1)]);
      const snapshot = await store.snapshot();
      const { mark } = store;
      await store.write([put('a', 2), del('b'), put('d', 1)]);
      expect(snapshot.mark).toBe(mark);
      expect(await snapshot.get('a')).toBe('ä');
      expect(await snapshot.get('d')).toBeUndefined();
      const entries: [string, string][] = [];
      for await (const entry of snapshot.entries()) entries.push(entry);
      expect(entries).toEqual([
        ['a', '"ä"'],
        ['b', '{"n":1}'],
        ['c', '1'],
      ]);
      await snapshot.close();
      expect(await keysOf(store, '')).toEqual(['a', 'c', 'd']);
    });

    it('refuses writes once it is closed', async () => {
      await store.close();
      const refusal = await store.write([put('a', 1)]).catch((error: unknown) => error);
      expect(refusal).toBeInstanceOf(MorchError);
      expect((refusal as MorchError).code).toBe('STORE_UNWRITABLE');
    });
  });
}

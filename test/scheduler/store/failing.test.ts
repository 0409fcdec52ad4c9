import { FailingStore } from '../../../scheduler/store/failing';
import { openMemoryStore } from '../../../scheduler/store/memory';
import { describeStore, keysOf, put } from './contract';

describeStore('a failing store that does not fail', async () => new FailingStore(openMemoryStore()));

describe('a failing store', () => {
  it('refuses as many writes as it was told, and leaves nothing of them', async () => {
    const store = new FailingStore(openMemoryStore());
    store.failWrites(2);
    await expect(store.write([put('a', 1)])).rejects.toMatchObject({ code: 'STORE_UNWRITABLE' });
    await expect(store.write([put('b', 1)])).rejects.toMatchObject({ code: 'STORE_UNWRITABLE' });
    await store.write([put('c', 1)]);
    expect(await keysOf(store, '')).toEqual(['c']);
  });

  it('holds writes back and lets them go in their order', async () => {
    const store = new FailingStore(openMemoryStore());
    store.holdWrites();
    const writes = [store.write([put('a', 1)]), store.write([put('a', 2)])];
    expect(await store.get('a')).toBeUndefined();
    store.releaseWrites();
    await Promise.all(writes);
    expect(await store.get('a')).toBe(2);
  });
});

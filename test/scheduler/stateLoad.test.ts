/** What the scheduler makes of records of which damage has taken a part. */
import type { InstanceRecord, NodeRecord, WorkloadRecord } from '../../scheduler/core/model';
import { beginRecovery, emptyRecoveryLog, metricsOf } from '../../scheduler/recoveryLog';
import { State } from '../../scheduler/state';
import { keys } from '../../scheduler/store/keys';
import { openMemoryStore } from '../../scheduler/store/memory';
import type { Store } from '../../scheduler/store/store';
import { PROOFS } from './openAccess';
import { del, keysOf, put } from './store/contract';

const META = { clusterId: 'c1', epoch: 4, schema: 4, firstEventSeq: 1, joined: true, keyId: 'key' };
const DAMAGE = { at: '2026-01-02T03:04:05.678Z', reason: 'a test', missing: null, unreadable: [], complete: false };
const event = (seq: number) => put(keys.event(seq), { seq, at: '', type: 'node.joined', data: {} });
const workload = (uid: string) =>
  put(keys.workload(uid), {
    uid,
    spec: { id: uid },
    version: 1,
    generationFloor: 0,
    status: 'running',
  } as WorkloadRecord);
const instance = (uid: string, node: string) =>
  put(keys.instance(uid, '0'), {
    uid,
    slot: '0',
    id: `${uid}.0`,
    generation: 3,
    status: 'running',
    node,
    lingersOn: null,
    exit: null,
    reserved: { cpuMillis: 0, memoryBytes: 0 },
  } as unknown as InstanceRecord);
const node = (id: string) => put(keys.node(id), { id, status: 'healthy' } as NodeRecord);

async function whole(): Promise<Store> {
  const store = openMemoryStore();
  const events = Array.from({ length: 9 }, (_, i) => event(i + 1));
  await store.write([
    put(keys.meta, META),
    put(keys.metaCopy, META),
    ...events,
    workload('w1'),
    instance('w1', 'n1'),
    node('n1'),
  ]);
  return store;
}

/** As the next process would find it. */
async function committed(state: State, store: Store): Promise<void> {
  await store.write(state.takeChanges().ops);
}

it('has nothing to say of whole records, and of none', async () => {
  const state = await State.load(await whole(), 'new', PROOFS);
  expect({ notes: state.notes, changes: state.changeCount }).toEqual({ notes: [], changes: 0 });
  expect(state.meta).toEqual(META);
  const empty = await State.load(openMemoryStore(), 'new', PROOFS);
  expect(empty.notes).toEqual([]);
  expect(empty.meta).toEqual({ clusterId: 'new', epoch: 0, schema: 4, firstEventSeq: 1, keyId: 'key' });
});

it('takes the copy of the meta record where that is missing', async () => {
  const store = await whole();
  await store.write([del(keys.meta)]);
  const state = await State.load(store, 'new', PROOFS);
  expect(state.meta).toEqual(META);
  expect(state.notes).toEqual([expect.stringContaining('its copy was taken')]);
});

it('begins a new cluster where both are missing, and goes on with the events that are there', async () => {
  const store = await whole();
  await store.write([del(keys.meta), del(keys.metaCopy), del(keys.event(4))]);
  const state = await State.load(store, 'new', PROOFS);
  expect(state.meta).toEqual({ clusterId: 'new', epoch: 0, schema: 4, firstEventSeq: 5, keyId: 'key' });
  expect(state.lastEventSeq).toBe(9);
  expect(state.notes).toEqual([expect.stringContaining('the cluster has the new id new')]);
});

it('writes the copy whenever it writes the record', async () => {
  const store = await whole();
  const state = await State.load(store, 'new', PROOFS);
  state.meta.epoch = 5;
  state.saveMeta();
  await committed(state, store);
  expect(await store.get(keys.metaCopy)).toEqual({ ...META, epoch: 5 });
  expect(await store.get(keys.meta)).toEqual({ ...META, epoch: 5 });
});

it('sets an instance without its workload aside, and says so once', async () => {
  const store = await whole();
  await store.write([instance('gone', 'n1')]);
  const before = await store.get(keys.instance('gone', '0'));
  const state = await State.load(store, 'new', PROOFS);
  expect([...state.instances.keys()]).toEqual(['w1/0']);
  expect(state.notes).toEqual([expect.stringMatching(/workload of instance gone\.0 .* set aside/)]);
  await committed(state, store);
  expect(await store.get(keys.setAside(keys.instance('gone', '0')))).toMatchObject(before as object);
  expect(await keysOf(store, 'instance/')).toEqual([keys.instance('w1', '0')]);
  expect((await State.load(store, 'new', PROOFS)).notes).toEqual([]);
});

it('keeps an instance whose node is missing, and says so', async () => {
  const store = await whole();
  await store.write([del(keys.node('n1'))]);
  const state = await State.load(store, 'new', PROOFS);
  expect(state.instances.get('w1/0')).toMatchObject({ status: 'running', node: 'n1' });
  expect(state.notes).toEqual([expect.stringContaining('node n1 is missing: w1.0 waits until it joins again')]);
});

it('is to be rebuilt after damage, durably, with the events from the last gap on', async () => {
  const store = await whole();
  await store.write([put(keys.damage, DAMAGE), del(keys.event(3)), del(keys.event(7))]);
  const state = await State.load(store, 'new', PROOFS);
  expect(state.meta).toMatchObject({ clusterId: 'c1', rebuilding: { reason: 'damaged' }, firstEventSeq: 8 });
  // Not committed: the next process finds the same.
  const again = await State.load(store, 'new', PROOFS);
  expect(again.meta.rebuilding).toMatchObject({ reason: 'damaged' });
  await committed(again, store);
  const third = await State.load(store, 'new', PROOFS);
  expect(third.meta).toEqual(again.meta);
  expect(third.changeCount).toBe(0);
  expect(await store.get(keys.damage)).toBeUndefined();
});

it('refuses records of a later version', async () => {
  const store = openMemoryStore();
  await store.write([put(keys.meta, { ...META, schema: 5 })]);
  await expect(State.load(store, 'new', PROOFS)).rejects.toMatchObject({ code: 'INVALID_INPUT' });
});

it('keeps recoveries under way one by one, also those that an earlier version kept in one record', async () => {
  const store = await whole();
  const earlier = emptyRecoveryLog();
  const at = '2026-01-02T03:04:05.678Z';
  const loss = { instance: 'w1.0', fromNode: 'n0', lastContactAt: at, suspectAt: null, verdictAt: at };
  beginRecovery(earlier, 'w1/0', loss);
  await store.write([put(keys.recovery, { ...earlier, open: [...earlier.open.values()] })]);
  const inFlight = (state: State) => metricsOf(state.recoveries).recoveries.inFlight;

  const state = await State.load(store, 'new', PROOFS);
  expect(inFlight(state)).toBe(1);
  await committed(state, store);
  expect(await store.get(keys.recovery)).not.toHaveProperty('open');
  expect(await store.get(keys.openRecovery('w1/0'))).toMatchObject({ fromNode: 'n0', toNode: null });

  const next = await State.load(store, 'new', PROOFS);
  expect(inFlight(next)).toBe(1);
  next.placeRecovery(next.instances.get('w1/0')!, 'n1');
  await committed(next, store);
  expect(await store.get(keys.openRecovery('w1/0'))).toMatchObject({ toNode: 'n1' });
  next.endRecovery(next.instances.get('w1/0')!, 'succeeded');
  await committed(next, store);
  expect(await store.get(keys.openRecovery('w1/0'))).toBeUndefined();
  expect(metricsOf((await State.load(store, 'new', PROOFS)).recoveries).recoveries).toMatchObject({
    succeeded: 1,
    inFlight: 0,
  });
});

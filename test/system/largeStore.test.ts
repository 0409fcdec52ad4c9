/** A store so large that a thread of its own reads it at a start is the same to the scheduler, and damage to it is found as well. */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Level } from 'level';
import type { WorkloadRecord } from '../../scheduler/core/model';
import { newInstance } from '../../scheduler/reconcile';
import { StateRecords } from '../../scheduler/stateRecords';
import { keys } from '../../scheduler/store/keys';
import { type OpenedStore, openLevelStore } from '../../scheduler/store/open';
import { checkOf, encodeValue } from '../../scheduler/store/values';
import { storedInstance } from '../../scheduler/storedInstance';

const INSTANCES = 6_000;
/** Of the built tree: a thread executes a file. */
const { readingThreadFor } = require(
  path.resolve(__dirname, '../../dist/scheduler/readOnThread.js'),
) as typeof import('../../scheduler/readOnThread');
const WORKLOAD = { uid: randomUUID(), spec: { id: 'web' }, revision: 1, generationFloor: 0 } as WorkloadRecord;

let directory: string;
beforeEach(async () => {
  directory = path.join(await mkdtemp(path.join(tmpdir(), 'morch-large-')), 'store');
  const { store } = await openLevelStore(directory);
  await store.write([{ type: 'put', key: keys.workload(WORKLOAD.uid), value: WORKLOAD }]);
  for (let slot = 0; slot < INSTANCES; ) {
    const ops = Array.from({ length: 1_000 }, () => {
      const statusReason = randomBytes(600).toString('hex');
      const value = storedInstance({ ...newInstance(WORKLOAD, String(slot)), statusReason });
      slot += 1;
      return { type: 'put', key: keys.instance(WORKLOAD.uid, String(slot - 1)), value } as const;
    });
    await store.write(ops);
  }
  await store.close();
});
afterEach(() => rm(path.dirname(directory), { recursive: true, force: true }));

async function openOnThread(): Promise<OpenedStore<StateRecords>> {
  const thread = await readingThreadFor(directory);
  if (thread === null) throw new Error('the store is too small for a thread');
  try {
    return await openLevelStore(directory, () => new StateRecords(), thread.read);
  } finally {
    await thread.end();
  }
}

it('has the records that reading it here gives, and goes on from them', async () => {
  const there = await openOnThread();
  await there.store.write([{ type: 'del', key: keys.instance(WORKLOAD.uid, '7') }]);
  await there.store.close();
  expect([there.damage, there.notes]).toEqual([null, []]);
  // What the thread handed over holds for what was written since, or this would find damage.
  const here = await openLevelStore(directory, () => new StateRecords());
  await here.store.close();
  expect([here.damage, here.notes]).toEqual([null, []]);
  expect(here.records.instances.get(WORKLOAD.uid)?.size).toBe(INSTANCES - 1);
  there.records.instances.get(WORKLOAD.uid)?.delete('7');
  expect(there.records.instances).toEqual(here.records.instances);
}, 60_000);

it('finds a record that fails its check, and reads on the same thread what is left', async () => {
  const db = new Level<string, string>(directory);
  await db.put(keys.instance(WORKLOAD.uid, '7'), 'deadbeef{"generation":1}');
  await db.close();
  const { store, damage, records } = await openOnThread();
  await store.close();
  expect(damage).toMatchObject({ unreadable: [keys.instance(WORKLOAD.uid, '7')] });
  expect(records.instances.get(WORKLOAD.uid)?.size).toBe(INSTANCES - 1);
}, 60_000);

it('says of a value that passes its check and cannot be parsed what reading it here says', async () => {
  const db = new Level<string, string>(directory);
  const key = keys.instance(WORKLOAD.uid, '7');
  await db.put(key, encodeValue(checkOf(key, '[1,'), '[1,'));
  await db.close();
  const said = await openOnThread().catch((error: Error) => error.message);
  expect(said).toMatch(/was damaged, and so is what was written anew in its place: LevelDB broke off: .*JSON/);
}, 60_000);

it('takes no thread for a small one', async () => {
  expect(await readingThreadFor(path.join(path.dirname(directory), 'none'))).toBeNull();
});

/** Records that one thread gives to another are those that it read. */
import type { InstanceRecord, WorkloadRecord } from '../../scheduler/core/model';
import { type PackedRecords, RecordPacker } from '../../scheduler/packedRecords';
import { newInstance } from '../../scheduler/reconcile';
import { StateRecords } from '../../scheduler/stateRecords';
import { keys } from '../../scheduler/store/keys';
import { storedInstance } from '../../scheduler/storedInstance';

const BEFORE = 'deadbeef';
const workload = (uid: string) =>
  ({ uid, spec: { id: `job-${uid}`, replicas: 3 }, revision: 1, generationFloor: 0 }) as WorkloadRecord;
const instance = (uid: string, slot: string, node: string | null) => {
  const placed: Partial<InstanceRecord> = node === null ? {} : { status: 'running', generation: 2, node };
  const stored = storedInstance({ ...newInstance(workload(uid), slot), ...placed });
  return [keys.instance(uid, slot), stored] as const;
};

/** In the order in which a store is read. */
const RECORDS: (readonly [key: string, value: unknown])[] = [
  ...Array.from({ length: 20 }, (_, seq) => [keys.event(seq), { seq, at: '', data: { uid: `u${seq % 3}` } }] as const),
  ['idempotency/abc', { bodyHash: 'of none of these' }],
  [keys.node('n1'), { id: 'n1', host: 'a,b/c' }],
  [keys.node('n2'), { id: 'n2', host: '"[]"' }],
  [keys.openRecovery('u1/0'), { key: 'u1/0' }],
  [keys.workload('u0'), workload('u0')],
  [keys.workload('u1'), workload('u1')],
  [keys.workload('u10'), workload('u10')],
  instance('u0', '0', 'n1'),
  instance('u0', 'a-node-with-a-long-name', 'n2'),
  instance('u1', '0', null),
  instance('u10', '0', 'n1'),
  instance('u10', '1', 'n1'),
  instance('u9', '0', 'n1'),
];

it.each([1, 2, 5, 100])('are the same whether taken as they are or packed, %i at a time', async (atOnce) => {
  const [taken, unpacked] = [new StateRecords(), new StateRecords()];
  const packets: PackedRecords[] = [];
  const packer = new RecordPacker(async (packed) => {
    packets.push(packed);
  });
  const texts = RECORDS.map(([key, value]) => [key, BEFORE + JSON.stringify(value)] as const);
  for (let at = 0; at < texts.length; at += atOnce) {
    taken.take(texts.slice(at, at + atOnce), BEFORE.length);
    await packer.take(texts.slice(at, at + atOnce), BEFORE.length);
  }
  for (const packed of packets) unpacked.takePacked(structuredClone(packed));
  unpacked.takeHistory(structuredClone(packer.packedHistory()));
  expect(taken.instances.get('u10')?.get('1')).toMatchObject({ id: 'job-u10.1', node: 'n1', generation: 2 });
  expect(taken.orphans).toEqual([instance('u9', '0', 'n1')]);
  expect([taken.nodes.size, taken.workloads.size, taken.openRecoveries.length]).toEqual([2, 3, 1]);
  expect(taken.history.after('u1', 4, 3)).toEqual([7, 10, 13]);
  expect(unpacked).toEqual(taken);
});

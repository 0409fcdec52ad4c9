/** What lists, health and metrics go by, against a look at all records, whatever has changed. */
import fc from 'fast-check';
import type { WorkloadRecord } from '../../scheduler/core/model';
import { slotKey } from '../../scheduler/pages';
import { newInstance } from '../../scheduler/reconcile';
import { State } from '../../scheduler/state';
import { openMemoryStore } from '../../scheduler/store/memory';
import { orderedInstances, workloadView } from '../../scheduler/views';
import { PROOFS } from './openAccess';

const workloadOf = (uid: string): WorkloadRecord =>
  ({
    uid,
    spec: { id: `job-${uid}`, kind: 'batch', replicas: 3, resources: { cpuMillis: 0, memoryBytes: 0 } },
    version: 1,
    revision: 1,
    generationFloor: 0,
    goal: 'run',
    purge: false,
    status: 'pending',
    createdAt: '',
    updatedAt: '',
  }) as unknown as WorkloadRecord;

const uid = fc.constantFrom('a', 'b', 'c');
const slot = fc.nat(12).map(String);
const change = fc.oneof(
  fc.record({ act: fc.constant('submit' as const), uid }),
  fc.record({ act: fc.constant('status' as const), uid, status: fc.constantFrom('running', 'completed', 'failed') }),
  fc.record({ act: fc.constant('instance' as const), uid, slot, attempts: fc.nat(4) }),
  fc.record({ act: fc.constant('drop' as const), uid, slot }),
  fc.record({ act: fc.constant('purge' as const), uid }),
);

type Change = typeof change extends fc.Arbitrary<infer C> ? C : never;

function apply(state: State, one: Change): void {
  const workload = state.workloads.get(one.uid);
  if (workload === undefined) {
    if (one.act === 'submit') state.addWorkload(workloadOf(one.uid));
    return;
  }
  const instances = state.instancesOf(workload);
  const instance = 'slot' in one ? instances.get(one.slot) : undefined;
  if (one.act === 'status') {
    workload.status = one.status as WorkloadRecord['status'];
    state.saveWorkload(workload);
  } else if (one.act === 'instance') {
    if (instance === undefined) state.addInstance({ ...newInstance(workload, one.slot), attempts: one.attempts });
    else state.updateInstance(instance, { attempts: one.attempts, statusReason: `${one.attempts}` });
  } else if (one.act === 'drop' && instance !== undefined) {
    state.removeInstance(instance);
  } else if (one.act === 'purge') {
    for (const each of [...instances.values()]) state.removeInstance(each);
    state.removeWorkload(workload);
  }
}

it('is what a look at all records would show', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(change, { maxLength: 60 }), fc.nat(12), async (changes, after) => {
      const state = await State.load(openMemoryStore(), 'c', PROOFS);
      const { lists } = state;
      for (const one of changes) {
        apply(state, one);
        const all = [...state.workloads.values()];
        expect([...lists.workloadIds.after(null)]).toEqual(all.map(({ spec }) => spec.id).sort());
        const ended = all.filter(({ status }) => status === 'completed' || status === 'failed');
        expect(new Set(lists.ended)).toEqual(new Set(ended.map((workload) => workload.uid)));
        expect(lists.workloadsByStatus.get('running') ?? 0).toBe(all.filter((w) => w.status === 'running').length);
        for (const workload of all) {
          const instances = [...state.instancesOf(workload).values()];
          const byIndex = instances.sort((a, b) => Number(a.slot) - Number(b.slot));
          expect(orderedInstances(state, workload)).toEqual(byIndex);
          const behind = byIndex.filter((i) => Number(i.slot) > after);
          expect(orderedInstances(state, workload, { after: slotKey(String(after)), limit: 2 })).toEqual(
            behind.slice(0, 2),
          );
          const view = workloadView(state, workload);
          expect(view.attempts).toBe(Math.max(0, ...instances.map((i) => i.attempts)));
          // Kept from the change before, unless this one has to do with it.
          const line = () => JSON.stringify(workloadView(state, workload));
          expect(lists.lineOf(workload.uid, line)).toBe(JSON.stringify(view));
        }
      }
    }),
    { numRuns: 50 },
  );
});

/** Which changes of an instance have the control loop look at all instances of its workload, and which at its status alone. */
import { type InstanceRecord, instanceKey, type WorkloadRecord } from '../../scheduler/core/model';
import { newInstance } from '../../scheduler/reconcile';
import { State } from '../../scheduler/state';
import { openMemoryStore } from '../../scheduler/store/memory';
import { PROOFS } from './openAccess';

const AMOUNTS = { cpuMillis: 0, memoryBytes: 0 };

async function prepared(kind = 'service') {
  const state = await State.load(openMemoryStore(), 'c1', PROOFS);
  const spec = { id: 'web', kind, replicas: 2, resources: AMOUNTS };
  const record = { uid: 'u1', spec, goal: 'run', revision: 1, version: 1, generationFloor: 0, status: 'pending' };
  const workload = record as unknown as WorkloadRecord;
  state.addWorkload(workload);
  const instance = newInstance(workload, '0');
  state.addInstance(instance);
  const visitedBy = (act: () => void): string => {
    state.workloadsToVisit.clear();
    state.workloadsToSettle.clear();
    act();
    if (state.workloadsToVisit.has(workload)) return 'all';
    return state.workloadsToSettle.has(workload) ? 'status' : 'nothing';
  };
  const change = (patch: Partial<InstanceRecord>) => visitedBy(() => state.updateInstance(instance, patch));
  return { state, workload, instance, visitedBy, change };
}

it('looks at the status alone when an instance that is wanted as it is starts, runs and ends', async () => {
  const { change } = await prepared();
  expect(change({ status: 'starting', node: 'n1', generation: 1 })).toBe('status');
  expect(change({ status: 'running', run: 1 })).toBe('status');
  expect(change({ status: 'failed' })).toBe('status');
});

it('looks at all when an instance is replaced, until the next has taken its place', async () => {
  const { change } = await prepared();
  change({ status: 'starting', node: 'n1' });
  change({ status: 'running' });
  expect(change({ status: 'stopping', replacing: 'revision' })).toBe('all');
  expect(change({ status: 'pending', node: null })).toBe('all');
  expect(change({ status: 'starting', node: 'n1' })).toBe('all');
  expect(change({ status: 'running', replacing: null })).toBe('all');
  expect(change({ pid: 7 })).toBe('status');
});

it('looks at all when an instance is of an earlier revision, or is one too many', async () => {
  const { workload, change } = await prepared();
  workload.revision = 2;
  expect(change({ status: 'starting', node: 'n1' })).toBe('all');
  expect(change({ revision: 2 })).toBe('all');
  expect(change({ status: 'running' })).toBe('status');
  expect(change({ surplus: true })).toBe('all');
  expect(change({ status: 'stopping' })).toBe('all');
});

it('looks at all of a workload that is to stop, and of a daemon', async () => {
  const stopping = await prepared();
  stopping.workload.goal = 'stop';
  expect(stopping.change({ status: 'stopped' })).toBe('all');
  const daemon = await prepared('daemon');
  expect(daemon.change({ status: 'starting', node: 'n1' })).toBe('all');
});

it('looks at the status alone when an instance comes, and at all when one that is wanted goes', async () => {
  const { state, workload, instance, visitedBy } = await prepared();
  expect(visitedBy(() => state.addInstance(newInstance(workload, '1')))).toBe('status');
  expect(visitedBy(() => state.removeInstance(instance))).toBe('all');
  expect([...state.instances.keys()]).toEqual([instanceKey({ uid: 'u1', slot: '1' })]);
});

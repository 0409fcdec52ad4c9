/**
 * Takes the change of a workload back that could not be made durable: it was refused, so nothing may come of it later.
 * The workload is as the store has it, or gone where the store has none. A part of the journal's failing write.
 */
import { type InstanceRecord, instanceKey, type WorkloadRecord } from './core/model';
import type { State } from './state';
import { keys, prefixes } from './store/keys';
import type { Store } from './store/store';
import { instanceOf, type StoredInstance } from './storedInstance';

/** @returns the nodes that have to tell once more what they run, as what they have told meanwhile is lost */
export async function revertWorkload(
  state: State,
  store: Pick<Store, 'get' | 'range'>,
  uid: string,
): Promise<Set<string>> {
  const record = (await store.get(keys.workload(uid))) as WorkloadRecord | undefined;
  const instances = new Map<string, InstanceRecord>();
  for await (const [key, value] of store.range(prefixes.instancesOf(uid))) {
    const instance = instanceOf(key, value as StoredInstance, record);
    instances.set(instanceKey(instance), instance);
  }
  const nodes = new Set<string>();
  const present = state.workloads.get(uid);
  if (present !== undefined) {
    for (const instance of [...state.instancesOf(present).values()]) {
      for (const node of [instance.node, instance.lingersOn]) if (node !== null) nodes.add(node);
      if (!instances.has(instanceKey(instance))) state.removeInstance(instance);
    }
  }
  if (record === undefined) {
    if (present !== undefined) state.removeWorkload(present);
  } else {
    if (present === undefined) state.addWorkload(record);
    else state.saveWorkload(Object.assign(present, record));
    for (const [key, before] of instances) {
      const instance = state.instances.get(key);
      if (instance === undefined) state.addInstance(before);
      else state.adoptInstance(instance, before);
    }
  }
  state.untell(({ data }) => data.uid === uid);
  return nodes;
}

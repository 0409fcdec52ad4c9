/**
 * The records that State is made of, read once: as the store is read through at its opening, or from a store that is open.
 * Instances come last, when their workloads and nodes are known.
 */
import type { MorchEvent } from '../contract/events';
import type { InstanceRecord, NodeRecord, WorkloadRecord } from './core/model';
import { WorkloadHistory } from './events/history';
import type { OpenRecovery } from './recoveryLog';
import { prefixes, seqOfEvent } from './store/keys';
import type { RecordsReader } from './store/reading';
import type { Store } from './store/store';
import { instanceOf, parseStored, SharedParts, type StoredInstance } from './storedInstance';

export class StateRecords implements RecordsReader {
  readonly last = prefixes.instance;
  private readonly shared = new SharedParts();
  readonly nodes = new Map<string, NodeRecord>();
  readonly workloads = new Map<string, WorkloadRecord>();
  readonly openRecoveries: OpenRecovery[] = [];
  readonly history = new WorkloadHistory();
  readonly instances: InstanceRecord[] = [];
  /** Of which the workload is missing, as they stand in the store. */
  readonly orphans: [key: string, stored: StoredInstance][] = [];

  static async of(store: Pick<Store, 'range'>): Promise<StateRecords> {
    const records = new StateRecords();
    for (const prefix of [prefixes.event, prefixes.node, prefixes.workload, prefixes.openRecovery, prefixes.instance])
      for await (const [key, value] of store.range(prefix)) records.put(key, value);
    return records;
  }

  take(key: string, text: string, start: number): void {
    if (key.startsWith(prefixes.event)) this.history.addText(seqOfEvent(key), text, start);
    else if (key.startsWith(prefixes.instance)) this.put(key, parseStored(text.slice(start)));
    else if (isOfState(key)) this.put(key, JSON.parse(text.slice(start)));
  }

  private put(key: string, value: unknown): void {
    if (key.startsWith(prefixes.instance)) {
      const uid = key.slice(prefixes.instance.length, key.indexOf('/', prefixes.instance.length));
      const workload = this.workloads.get(uid);
      if (workload === undefined) this.orphans.push([key, value as StoredInstance]);
      else this.instances.push(instanceOf(key, value as StoredInstance, workload, this.shared));
    } else if (key.startsWith(prefixes.node)) {
      const node = value as NodeRecord;
      this.nodes.set(node.id, node);
    } else if (key.startsWith(prefixes.workload)) {
      const workload = value as WorkloadRecord;
      this.workloads.set(workload.uid, workload);
    } else if (key.startsWith(prefixes.event)) {
      this.history.add(value as MorchEvent);
    } else {
      this.openRecoveries.push(value as OpenRecovery);
    }
  }
}

function isOfState(key: string): boolean {
  return (
    key.startsWith(prefixes.instance) ||
    key.startsWith(prefixes.event) ||
    key.startsWith(prefixes.workload) ||
    key.startsWith(prefixes.node) ||
    key.startsWith(prefixes.openRecovery)
  );
}

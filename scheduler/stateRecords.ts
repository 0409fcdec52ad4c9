/**
 * The records that State is made of, read once: as the store is read through at its opening, by this thread or another, or from a
 * store that is open. Instances come last, when their workloads and nodes are known.
 */
import type { MorchEvent } from '../contract/events';
import type { InstanceRecord, NodeRecord, WorkloadRecord } from './core/model';
import { type PackedHistory, WorkloadHistory } from './events/history';
import { isEvent, isOfState, type PackedRecords } from './packedRecords';
import type { OpenRecovery } from './recoveryLog';
import { prefixes, startOfName } from './store/keys';
import type { ReadRecords, RecordsReader } from './store/reading';
import type { Store } from './store/store';
import { instanceAs, SharedParts, type StoredInstance } from './storedInstance';

export class StateRecords implements RecordsReader {
  readonly last = prefixes.instance;
  private readonly shared = new SharedParts();
  readonly nodes = new Map<string, NodeRecord>();
  readonly workloads = new Map<string, WorkloadRecord>();
  readonly openRecoveries: OpenRecovery[] = [];
  readonly history = new WorkloadHistory();
  /** By the uid of their workload, then by slot. */
  readonly instances = new Map<string, Map<string, InstanceRecord>>();
  /** Of which the workload is missing, as they stand in the store. */
  readonly orphans: [key: string, stored: StoredInstance][] = [];

  static async of(store: Pick<Store, 'range'>): Promise<StateRecords> {
    const records = new StateRecords();
    for await (const [, event] of store.range(prefixes.event)) records.history.add(event as MorchEvent);
    for (const prefix of [prefixes.node, prefixes.workload, prefixes.openRecovery, prefixes.instance])
      for await (const [key, value] of store.range(prefix)) records.put(key, value);
    return records;
  }

  take(records: ReadRecords, start: number): void {
    this.history.addTexts(records.filter(isEvent), start);
    for (const [key, text] of records.filter(isOfState)) this.put(key, JSON.parse(text.slice(start)));
  }

  /** The same for what another thread has read. */
  takePacked({ groups, values: json }: PackedRecords): void {
    const values = JSON.parse(json) as unknown[];
    let at = 0;
    for (const { prefix, names: joined } of groups) {
      const names = joined.split('/');
      const end = at + names.length;
      this.putAll(prefix, names, values.slice(at, end));
      at = end;
    }
  }

  takeHistory(history: PackedHistory): void {
    this.history.addPacked(history);
  }

  private put(key: string, value: unknown): void {
    const end = startOfName(key);
    this.putAll(key.slice(0, end), [key.slice(end)], [value]);
  }

  /** @param prefix of their keys, up to the last `/`; @param names what follows */
  private putAll(prefix: string, names: readonly string[], values: readonly unknown[]): void {
    if (prefix.startsWith(prefixes.instance)) this.putInstances(prefix, names, values as StoredInstance[]);
    else if (prefix.startsWith(prefixes.node)) for (const node of values as NodeRecord[]) this.nodes.set(node.id, node);
    else if (prefix.startsWith(prefixes.workload))
      for (const workload of values as WorkloadRecord[]) this.workloads.set(workload.uid, workload);
    else this.openRecoveries.push(...(values as OpenRecovery[]));
  }

  private putInstances(prefix: string, slots: readonly string[], stored: readonly StoredInstance[]): void {
    const workload = this.workloads.get(prefix.slice(prefixes.instance.length, -1));
    if (workload === undefined) {
      for (const [at, slot] of slots.entries()) this.orphans.push([prefix + slot, stored[at]!]);
      return;
    }
    const { uid } = workload;
    let instances = this.instances.get(uid);
    if (instances === undefined) {
      instances = new Map();
      this.instances.set(uid, instances);
    }
    const prefixOfIds = `${workload.spec.id}.`;
    for (let at = 0; at < slots.length; at++) {
      const slot = this.shared.name(slots[at]!);
      const ids = { uid, slot, id: prefixOfIds + slot };
      instances.set(slot, instanceAs(ids, stored[at]!, workload, this.shared));
    }
  }
}

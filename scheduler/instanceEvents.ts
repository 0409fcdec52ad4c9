/** Events about a workload or one of its instances, in the form they all have. */
import type { EventType } from '../contract/events';
import type { InstanceRecord, WorkloadRecord } from './core/model';
import type { State } from './state';

/** @param instance null: about the workload as a whole */
export function emitAbout(
  state: State,
  type: EventType,
  workload: WorkloadRecord,
  instance: InstanceRecord | null,
  more: { node?: string; data?: Record<string, unknown> | undefined } = {},
): void {
  state.emit(
    {
      type,
      workload: workload.spec.id,
      ...(instance === null ? {} : { instance: instance.id, generation: instance.generation }),
      ...(more.node === undefined ? {} : { node: more.node }),
      data: { uid: workload.uid, ...(instance === null ? {} : { reason: instance.statusReason }), ...more.data },
    },
    new Date().toISOString(),
  );
}

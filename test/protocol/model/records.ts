/** Records of the model as the product's functions take them, and the one way to change them. */
import { revOf } from '../../../agent/instanceStatus';
import type { InstanceReport } from '../../../contract/agentApi';
import { assertTransition, INSTANCE_TRANSITIONS } from '../../../contract/states';
import type { InstanceRecord, WorkloadRecord } from '../../../scheduler/core/model';
import { newInstance } from '../../../scheduler/reconcile';
import { failed, type Placed, type Report, type World } from './world';

/** As the product makes one. */
const RECORD = newInstance(
  { uid: 'u', spec: { id: 'web' }, generationFloor: 0, revision: 1 } as unknown as WorkloadRecord,
  '0',
);

export function recordOf(placed: Placed): InstanceRecord {
  return { ...RECORD, ...placed };
}

export function workloadOf({ scheduler }: World): WorkloadRecord {
  const restart = { policy: 'always', attempts: 0, backoffMs: 0, maxBackoffMs: 0, resetAfterMs: 60_000 };
  const spec = { id: 'web', kind: 'service', restart } as WorkloadRecord['spec'];
  const times = { createdAt: '', updatedAt: '' };
  const { goal } = scheduler.records;
  return {
    uid: 'u',
    spec,
    version: 1,
    revision: 1,
    generationFloor: 0,
    goal,
    purge: false,
    status: 'pending',
    ...times,
  };
}

export function instanceReportOf({ generation, run, status, lost }: Report): InstanceReport {
  return {
    uid: 'u',
    slot: '0',
    instanceId: 'web.0',
    generation,
    run,
    rev: revOf(run, status),
    status,
    statusReason: null,
    pid: null,
    shimPid: null,
    startedAt: null,
    exit: null,
    attempts: 0,
    lost,
    startError: null,
  };
}

export function update(w: World, patch: Partial<InstanceRecord>): void {
  const { instance } = w.scheduler.records;
  try {
    if (patch.status !== undefined)
      assertTransition(INSTANCE_TRANSITIONS, instance.status, patch.status, 'the instance');
  } catch (error) {
    failed(w, (error as Error).message);
  }
  for (const key of Object.keys(instance) as (keyof Placed)[]) {
    if (patch[key] !== undefined) (instance[key] as unknown) = patch[key];
  }
  w.scheduler.passDue = true;
}

/**
 * What becomes of an instance whose node is not there any more, and of one that its node's inventory lacks. Pure
 * decisions, applied by ../controlLoop.ts; docs/protocol.md tells why they are as they are.
 */
import { attemptsWithoutLost, isUnwanted } from './intake';
import type { InstanceRecord, WorkloadRecord } from './model';

/**
 * stopping: its stop is confirmed when the node is back, or the fence over; waits: for its node; moves: is placed
 * elsewhere, a fenced one when the fence is over. `fenced` in the patch: a fence is to be raised.
 */
export interface Loss {
  kind: 'stopping' | 'waits' | 'moves';
  patch: Partial<InstanceRecord>;
}

/** @param lastContactMs with the node (epoch ms) */
export function afterVerdict(
  instance: InstanceRecord,
  workload: WorkloadRecord,
  nodeId: string,
  lastContactMs: number,
): Loss {
  const fenced = instance.onDisconnect === 'stop';
  if (isUnwanted(instance, workload))
    return { kind: 'stopping', patch: { status: 'stopping', statusReason: 'node-lost', fenced } };
  if (instance.onDisconnect === 'keep') {
    const statusReason = `waits for its node ${nodeId}, which is lost`;
    return { kind: 'waits', patch: { status: 'recovering', statusReason, pid: null, shimPid: null } };
  }
  const { spec } = workload;
  return {
    kind: 'moves',
    patch: {
      status: 'recovering',
      statusReason: fenced ? `waits for its lease on ${nodeId}, which is lost, to end` : `its node ${nodeId} is lost`,
      fenced,
      node: null,
      lingersOn: nodeId,
      ...(spec.kind === 'daemon' ? { preferredNode: nodeId } : {}),
      pid: null,
      shimPid: null,
      attempts:
        instance.rev < 0
          ? instance.attempts
          : attemptsWithoutLost(instance, spec.restart, instance.attempts, lastContactMs),
      replacing: null,
      retryAtMs: 0,
    },
  };
}

/**
 * A fenced instance whose node's record goes, or has become another agent's: whoever else may be the node now, the copy
 * that was there lives as long as its lease. Others are taken for lost.
 */
export function outlastLease(
  instance: InstanceRecord,
  workload: WorkloadRecord | undefined,
  reason: string,
): Partial<InstanceRecord> {
  const stopping = workload !== undefined && isUnwanted(instance, workload);
  return {
    status: stopping ? 'stopping' : 'recovering',
    statusReason: `${reason}; waits for its lease to end`,
    fenced: true,
    node: null,
    lingersOn: null,
    pid: null,
    shimPid: null,
    replacing: null,
  };
}

/**
 * An instance placed on a node whose inventory lacks it. awaited: a start under way, settled or repeated by its own
 * answer, or heard of since the inventory was asked for; gone: lost with its agent.
 */
export function judgeAbsence({ rev }: InstanceRecord, isHeardSince: boolean): 'awaited' | 'gone' {
  return rev < 0 || isHeardSince ? 'awaited' : 'gone';
}

/** Its last copy, waited for or waited out on a lost node, is not there: nothing is to be waited for. */
export const NOT_LINGERING = { lingersOn: null, fenced: false } as const satisfies Partial<InstanceRecord>;

/**
 * What a report of an agent means for the scheduler's record: pure decisions, applied by ../controlLoop.ts. Reports
 * may come twice and in any order (answer to a start, event connection, inventory); `rev` tells which is later.
 */
import type { InstanceReport } from '../../contract/agentApi';
import type { EventType } from '../../contract/events';
import { attemptsAfterRun, decideRestart } from '../../contract/restartPolicy';
import { type InstanceStatus, isTerminal } from '../../contract/states';
import type { Restart } from '../../contract/workload';
import type { InstanceRecord, WorkloadRecord } from './model';

/**
 * current: of the generation the scheduler knows there, and news; old: nothing new; stale: a generation that is
 * not wanted there (any more).
 */
export type ReportJudgement = 'current' | 'old' | 'stale';

export function judgeReport(
  instance: InstanceRecord | undefined,
  nodeId: string,
  report: InstanceReport,
): ReportJudgement {
  if (instance === undefined || report.generation !== instance.generation) return 'stale';
  // Ended for the scheduler: what is alive all the same is not wanted.
  if (isTerminal(instance.status)) return hasEnded(report) ? 'old' : 'stale';
  if (instance.node === nodeId) {
    // It was taken for lost and waited for, with nothing new to tell.
    const isWaitedFor = instance.status === 'recovering' || instance.fenced;
    if (isWaitedFor && report.rev === instance.rev) return 'current';
    if (isEcho(instance, report)) return 'old';
    // A generation is `stopping` before and after its main process has ended, with one rev.
    return report.rev > instance.rev || (report.rev === instance.rev && report.status === 'stopping')
      ? 'current'
      : 'old';
  }
  // Not placed elsewhere yet: its node was lost with it, or was forgotten, and is back. No other node's word ends a fence.
  if (instance.node === null && isHeldBy(instance, nodeId)) return 'current';
  return 'stale';
}

/** The stop that was asked for has begun, with nothing else to tell: not worth a write for each of thousands. */
function isEcho({ status, fenced, run, pid, exit }: InstanceRecord, report: InstanceReport): boolean {
  const isStopping = status === 'stopping' && report.status === 'stopping' && !fenced;
  return isStopping && report.run === run && report.pid === pid && report.exit?.at === exit?.at;
}

/** Of one that is placed nowhere: a fenced one without a node may come back by any. */
function isHeldBy({ lingersOn, fenced }: InstanceRecord, nodeId: string): boolean {
  return lingersOn === nodeId || (lingersOn === null && fenced);
}

export function hasEnded(report: InstanceReport): boolean {
  return report.status === 'completed' || report.status === 'failed' || report.status === 'stopped';
}

/** A stop was asked for, of the workload or of this instance. */
export function isUnwanted(instance: InstanceRecord, workload: WorkloadRecord): boolean {
  return workload.goal === 'stop' || instance.surplus;
}

/**
 * The count of attempts for the next start after this one was lost with its node or agent, or moved by a drain: that
 * start does not count, unless it had ended by itself (then the instance was waiting in backoff).
 */
export function attemptsWithoutLost(
  instance: InstanceRecord,
  restart: Restart,
  attempts: number,
  endMs: number,
): number {
  if (instance.status === 'backoff') return attempts;
  const ranMs = instance.startedAt === null ? 0 : endMs - Date.parse(instance.startedAt);
  return Math.max(0, attemptsAfterRun(restart, { attempts, ranMs }) - 1);
}

export interface Intake {
  patch: Partial<InstanceRecord>;
  events: { type: EventType; data?: Record<string, unknown> }[];
}

/** @param jitter uniform in [0, 1) */
export function takeInReport(
  instance: InstanceRecord,
  workload: WorkloadRecord,
  nodeId: string,
  report: InstanceReport,
  nowMs: number,
  jitter: number,
): Intake {
  const events: Intake['events'] = [];
  const known = {
    node: nodeId,
    lingersOn: null,
    fenced: false,
    run: report.run,
    rev: report.rev,
    attempts: attemptsOf(instance, report),
    startedAt: report.startedAt ?? instance.startedAt,
    exit: report.exit ?? instance.exit,
  };
  if (report.exit !== null && report.exit.at !== instance.exit?.at) {
    events.push({
      type: 'instance.exited',
      data: { run: runOfExit(report), exit: report.exit, attempts: report.attempts, reason: report.statusReason },
    });
  }
  if (!hasEnded(report)) {
    const status = livingStatus(instance, workload, report);
    const alive = report.status === 'running' || report.status === 'stopping';
    if (report.status === 'running' && (instance.status !== 'running' || report.run > instance.run)) {
      events.push({ type: 'instance.started', data: { run: report.run, pid: report.pid, attempts: report.attempts } });
    }
    if (report.status === 'backoff')
      events.push({ type: 'instance.backoff', data: { run: report.run, reason: report.statusReason } });
    return {
      patch: {
        ...known,
        status,
        statusReason:
          status === 'stopping' && instance.status === 'stopping' ? instance.statusReason : report.statusReason,
        pid: alive ? report.pid : null,
        shimPid: alive ? report.shimPid : null,
        ...(report.status === 'running' ? { triedNodes: [], preferredNode: null } : {}),
        ...(report.status === 'running' && instance.status !== 'stopping' ? { replacing: null } : {}),
      },
      events,
    };
  }
  const end = endOf(instance, workload, nodeId, report, nowMs, jitter);
  if (end.patch.status === 'stopped') events.push({ type: 'instance.stopped', data: { run: report.run } });
  return { patch: { ...known, pid: null, shimPid: null, ...end.patch }, events: [...events, ...end.events] };
}

/** An inventory may tell of the next run together with the exit of the one before. */
function runOfExit({ status, run }: InstanceReport): number {
  return status === 'starting' || status === 'running' ? run - 1 : run;
}

/** A generation that never ran has counted nothing. */
function attemptsOf(instance: InstanceRecord, report: InstanceReport): number {
  return report.run === 0 ? instance.attempts : report.attempts;
}

function livingStatus(instance: InstanceRecord, workload: WorkloadRecord, report: InstanceReport): InstanceStatus {
  if (instance.status === 'stopping' && (isUnwanted(instance, workload) || instance.replacing !== null))
    return 'stopping';
  // It is recovering until it runs again.
  if (instance.status === 'recovering' && report.status === 'starting') return 'recovering';
  return report.status as InstanceStatus;
}

/** The generation is over: the instance is over with it, or waits to be placed anew. */
function endOf(
  instance: InstanceRecord,
  workload: WorkloadRecord,
  nodeId: string,
  report: InstanceReport,
  nowMs: number,
  jitter: number,
): Intake {
  const reason = report.statusReason;
  const stay = { replacing: null };
  if (isUnwanted(instance, workload)) {
    const status =
      report.status === 'completed' || (report.status === 'failed' && !report.lost && report.startError === null)
        ? report.status
        : 'stopped';
    return {
      patch: { ...stay, status, statusReason: status === 'stopped' ? 'stopped by request' : reason },
      events: [],
    };
  }
  if (instance.revision < workload.revision) {
    return placeAnew(instance, `to be started anew, version ${workload.version}`, {
      revision: workload.revision,
      attempts: 0,
      preferredNode: nodeId,
      triedNodes: [],
      retryAtMs: 0,
    });
  }
  const attempts = attemptsOf(instance, report);
  // What is stopped with no other exit than was known was waiting for its next run.
  const hadEnded = report.status === 'stopped' && report.exit !== null && report.exit.at === instance.exit?.at;
  const uncounted = {
    // A daemon belongs to its node, also to a cordoned one.
    ...(workload.spec.kind === 'daemon' ? { preferredNode: nodeId } : {}),
    attempts:
      report.run === 0 || hadEnded ? attempts : attemptsWithoutLost(instance, workload.spec.restart, attempts, nowMs),
    retryAtMs: 0,
  };
  if (report.lost) return placeAnew(instance, `lost with its agent on ${nodeId}: ${reason ?? 'unknown'}`, uncounted);
  if (report.startError !== null) return afterFailedStart(instance, workload, nodeId, report, nowMs, jitter);
  if (report.status === 'stopped') {
    return instance.replacing === 'drain'
      ? placeAnew(instance, `moved off ${nodeId}, which is being drained`, uncounted)
      : placeAnew(instance, `was stopped on ${nodeId}, though it is wanted`, uncounted);
  }
  return { patch: { ...stay, status: report.status as InstanceStatus, statusReason: reason }, events: [] };
}

/** `replacing` stays set until it runs again, so that a workload is replaced one instance at a time. */
function placeAnew(instance: InstanceRecord, statusReason: string, patch: Partial<InstanceRecord>): Intake {
  const status = instance.status === 'recovering' ? 'recovering' : 'pending';
  return { patch: { status, statusReason, node: null, startedAt: null, ...patch }, events: [] };
}

/** A start that failed counts as an attempt and is next tried on a node not tried yet. */
function afterFailedStart(
  instance: InstanceRecord,
  workload: WorkloadRecord,
  nodeId: string,
  report: InstanceReport,
  nowMs: number,
  jitter: number,
): Intake {
  const detail = report.startError?.detail ?? report.statusReason ?? 'the start failed';
  const decision = decideRestart(
    workload.spec.restart,
    { outcome: 'failure', attempts: report.attempts, ranMs: 0 },
    jitter,
  );
  if (decision.kind === 'end') {
    const tries = `${report.attempts} ${report.attempts === 1 ? 'attempt' : 'attempts'}`;
    return { patch: { status: 'failed', statusReason: `${detail} (${tries})`, replacing: null }, events: [] };
  }
  return {
    patch: {
      status: 'backoff',
      statusReason: `${detail}; next start in ${(decision.delayMs / 1_000).toFixed(1)} s`,
      node: null,
      startedAt: null,
      retryAtMs: nowMs + decision.delayMs,
      triedNodes: instance.triedNodes.includes(nodeId) ? instance.triedNodes : [...instance.triedNodes, nodeId],
    },
    events: [{ type: 'instance.backoff', data: { reason: detail, attempts: report.attempts, node: nodeId } }],
  };
}

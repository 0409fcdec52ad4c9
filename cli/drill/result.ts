/** What a drill has come to, against its objectives, and how that is printed. Pure. */
import type { DrillKind } from '../../contract/drill';
import { type Column, type OutputOptions, renderTable } from '../output';
import { formatMs } from '../quantities';
import type { DrilledInstance, DrillTimeline } from './timeline';

export interface Objectives {
  detectionMs: number;
  recoveryMs: number;
}

/**
 * recovered: all that was to be moved runs again; notRecovered: not all of it; backInTime: the node was well again
 * before it was given up; notDetected: it was not given up, though it failed for longer than the objective; notMeasured:
 * it did not fail for so long, or not under the eyes of the same scheduler, and nobody saw it.
 */
export type DrillOutcome = 'recovered' | 'notRecovered' | 'backInTime' | 'notDetected' | 'notMeasured';

export interface DrillResult {
  node: string;
  kind: DrillKind;
  durationMs: number | null;
  outcome: DrillOutcome;
  met: boolean;
  /** Both since the failure; null: it did not come to that, or there was nothing to move. */
  detectionMs: number | null;
  recoveryMs: number | null;
  objectives: Objectives;
  timeline: {
    injectedAt: string;
    suspectAt: string | null;
    verdictAt: string | null;
    /** The last of what was moved runs. */
    recoveredAt: string | null;
    returnedAt: string | null;
    staleGoneAt: string | null;
    /** In the middle of it: what follows is measured by another one. */
    schedulerStartedAt: string | null;
  };
  instances: Omit<DrilledInstance, 'fate'>[];
}

/** @param staleGoneAt when no old copy was left on the node that had come back */
export function resultOf(timeline: DrillTimeline, objectives: Objectives, staleGoneAt: string | null): DrillResult {
  const { drill, suspectAt, verdictAt, returnedAt, backAt, moved, pending } = timeline;
  const { node, kind, durationMs } = drill;
  const runningAt = moved.flatMap((instance) => instance.runningAt ?? []).sort();
  const recoveredAt = verdictAt !== null && pending.length === 0 ? (runningAt.at(-1) ?? null) : null;
  const detectionMs = verdictAt === null ? null : timeline.afterMs(verdictAt);
  const recoveryMs = recoveredAt === null ? null : timeline.afterMs(recoveredAt);
  const outcome = outcomeOf(timeline, objectives);
  return {
    ...{ node, kind, durationMs, outcome },
    met: isMet(outcome, { detectionMs, recoveryMs }, objectives),
    ...{ detectionMs, recoveryMs, objectives },
    timeline: {
      injectedAt: drill.at,
      ...{ suspectAt, verdictAt, recoveredAt },
      returnedAt: returnedAt ?? backAt,
      staleGoneAt,
      schedulerStartedAt: timeline.schedulerStartedAt,
    },
    instances: timeline.instances.map(({ fate: _, ...instance }) => instance),
  };
}

function outcomeOf(timeline: DrillTimeline, objectives: Objectives): DrillOutcome {
  const { drill, suspectAt, verdictAt, backAt, schedulerStartedAt, pending } = timeline;
  if (verdictAt !== null) return pending.length === 0 ? 'recovered' : 'notRecovered';
  const endsMs = drill.durationMs ?? Number.POSITIVE_INFINITY;
  // Also a cut is over when its agent is started anew.
  if (backAt !== null && timeline.afterMs(backAt) < endsMs) return 'backInTime';
  const watchedFromMs = schedulerStartedAt === null ? 0 : timeline.afterMs(schedulerStartedAt);
  if (endsMs - watchedFromMs >= objectives.detectionMs) return 'notDetected';
  // A cut that was shorter than detection may take need not have been seen at all.
  return suspectAt === null || schedulerStartedAt !== null ? 'notMeasured' : 'backInTime';
}

function isMet(
  outcome: DrillOutcome,
  { detectionMs, recoveryMs }: Pick<DrillResult, 'detectionMs' | 'recoveryMs'>,
  objectives: Objectives,
): boolean {
  if (outcome === 'backInTime') return true;
  if (outcome !== 'recovered') return false;
  return (detectionMs ?? 0) <= objectives.detectionMs && (recoveryMs ?? 0) <= objectives.recoveryMs;
}

interface Step {
  step: string;
  at: string | null;
  objectiveMs?: number;
}

/** Two tables: the steps, and what was moved. */
export function renderResult(result: DrillResult, options: OutputOptions): string {
  const { timeline, objectives, instances } = result;
  const after = (at: string | null): string =>
    at === null ? '-' : `+${formatMs(Math.max(0, Date.parse(at) - Date.parse(timeline.injectedAt)))}`;
  const steps: Step[] = [
    { step: 'failure injected', at: timeline.injectedAt },
    { step: 'suspect', at: timeline.suspectAt },
    { step: 'verdict', at: timeline.verdictAt, objectiveMs: objectives.detectionMs },
    { step: 'all running again', at: timeline.recoveredAt, objectiveMs: objectives.recoveryMs },
    { step: 'node returned', at: timeline.returnedAt },
    { step: 'stale copies gone', at: timeline.staleGoneAt },
  ];
  const missed = ({ at, objectiveMs }: Step): boolean =>
    objectiveMs !== undefined && at !== null && Date.parse(at) - Date.parse(timeline.injectedAt) > objectiveMs;
  const columns: Column<Step>[] = [
    { title: 'STEP', value: ({ step }) => step },
    { title: 'AT', value: ({ at }) => at ?? '-' },
    { title: 'AFTER', value: ({ at }) => after(at), align: 'right' },
    {
      title: 'OBJECTIVE',
      value: ({ objectiveMs }) => (objectiveMs === undefined ? '' : formatMs(objectiveMs)),
      align: 'right',
    },
    {
      title: 'RESULT',
      value: (step) => (step.objectiveMs === undefined || step.at === null ? '' : missed(step) ? 'missed' : 'met'),
    },
  ];
  const shown: Column<(typeof instances)[number]>[] = [
    { title: 'INSTANCE', value: ({ instance }) => instance },
    { title: 'ON DISCONNECT', value: ({ onDisconnect }) => onDisconnect },
    { title: 'OUTCOME', value: ({ outcome }) => outcome, status: true },
    { title: 'TO', value: ({ toNode }) => toNode ?? '-' },
    { title: 'PLACED', value: ({ placedAt }) => after(placedAt), align: 'right' },
    { title: 'STARTED', value: ({ startedAt }) => after(startedAt), align: 'right' },
    { title: 'RUNNING', value: ({ runningAt }) => after(runningAt), align: 'right' },
  ];
  const table = instances.length === 0 ? '' : `\n${renderTable(instances, shown, options)}`;
  return `${renderTable(steps, columns, options)}${table}\n${verdictText(result)}\n`;
}

function verdictText(result: DrillResult): string {
  const { outcome, met, node, kind, durationMs, objectives, instances, timeline } = result;
  const pending = instances.filter((instance) => instance.outcome === 'recovering').length;
  const moved = instances.filter((instance) => instance.outcome !== 'untouched').length;
  const cutFor = `it was cut off for ${formatMs(durationMs ?? 0)}`;
  const told: Record<DrillOutcome, string> = {
    recovered: `${node} was given up${instances.length === 0 ? '; nothing of it was to be moved' : ' and what was to be moved runs again'}: the objectives are ${met ? 'met' : 'missed'}`,
    notRecovered: `${pending} of ${instances.length} instances do not run again: the objectives are missed`,
    backInTime: `${node} was well again before it was given up: ${moved === 0 ? 'nothing had to be moved' : startedAnew(moved)}`,
    notDetected: `${node} was not given up, though ${kind === 'kill' ? 'its agent is away' : cutFor}; the objective was ${formatMs(objectives.detectionMs)}: missed`,
    notMeasured: `nothing was measured: ${cutFor}, too short to be seen as a failure (--for)${moved === 0 ? '' : `; ${startedAnew(moved)}`}`,
  };
  const { injectedAt, schedulerStartedAt } = timeline;
  if (schedulerStartedAt === null) return told[outcome];
  const afterMs = Math.max(0, Date.parse(schedulerStartedAt) - Date.parse(injectedAt));
  const restarted = `the scheduler was started anew at +${formatMs(afterMs)}`;
  if (outcome !== 'notMeasured') return `${told[outcome]}; ${restarted}, which is part of these times`;
  return `nothing was measured: ${restarted}, and ${node} failed too short a time after that${moved === 0 ? '' : `; ${startedAnew(moved)}`}`;
}

function startedAnew(count: number): string {
  return `${count} ${count === 1 ? 'instance' : 'instances'} had ended meanwhile and ${count === 1 ? 'was' : 'were'} started anew`;
}

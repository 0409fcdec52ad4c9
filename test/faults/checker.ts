/**
 * Judges a history by the guarantees, from what the workloads themselves wrote and from what was acknowledged. Pure. What the
 * scheduler says counts for nothing here, save for its verdicts, which are compared with what was really done to the nodes.
 */
import type { Fault, History, Submission, Trace } from './history';

export interface Policy {
  /** A failure that lasts longer has to have its verdict. */
  verdictWithinMs: number;
  /** From a failure that lasts, within which what ran there is to run elsewhere. */
  recoveryWithinMs: number;
  /** From the end of a fault, within which copies of `replace` may still overlap, their grace apart. */
  shortlyMs: number;
  /** From the end of a fault, within which a probe that was sent under it may still run out of time. */
  probeMs: number;
  /** Between a fact and its being noted by the harness. */
  slackMs: number;
}

export const DEFAULT_POLICY: Policy = {
  verdictWithinMs: 5_000,
  recoveryWithinMs: 15_000,
  shortlyMs: 5_000,
  probeMs: 2_000,
  slackMs: 500,
};

/** Two generations of one instance, alive at once. */
export interface Overlap {
  tag: string;
  instance: string;
  older: number;
  newer: number;
  fromMs: number;
  ms: number;
  /** The part of it after the older one's node was back, if that is why it was allowed; 0 while it was away. */
  afterReturnMs: number;
  allowed: boolean;
}

export interface Judgement {
  /** In words, one each: what must not run at the same time or twice did; a number went down. */
  doubleRuns: string[];
  /** Acknowledged and not there, or stopped and there. */
  losses: string[];
  falseVerdicts: string[];
  /** Failures that lasted and got no verdict in time. */
  missedVerdicts: string[];
  overlaps: Overlap[];
  /** What had to wait for too long to run elsewhere. */
  lateRecoveries: string[];
  /** From each plain failure to its verdict. */
  verdictMs: number[];
  /** From each plain failure to the start of each replacement. */
  recoveryMs: number[];
  /** The same of `onDisconnect: stop`. */
  fencedRecoveryMs: number[];
  /** Between the last sign of life of a fenced generation and the start of the next on another node: the least. */
  leastFenceGapMs: number | null;
}

/** @param history may still be going on (`endMs` null): then nothing is judged that only its end can show */
export function judge(history: History, policy: Policy = DEFAULT_POLICY): Judgement {
  const judgement: Judgement = {
    doubleRuns: [],
    losses: [],
    falseVerdicts: [],
    missedVerdicts: [],
    lateRecoveries: [],
    overlaps: [],
    verdictMs: [],
    recoveryMs: [],
    fencedRecoveryMs: [],
    leastFenceGapMs: null,
  };
  const submissions = new Map(history.submissions.map((one) => [one.tag, one]));
  for (const traces of grouped(history.traces, (t) => `${t.tag} ${t.instance}`).values()) {
    // What was asked for and never acknowledged may run; all rules but those on its fate hold.
    judgeInstance(traces, submissions.get(traces[0]!.tag), history, policy, judgement);
  }
  judgeStops(history, submissions, policy, judgement);
  if (history.endMs !== null) judgeEnd(history, history.endMs, judgement);
  judgeVerdicts(history, policy, judgement);
  judgeRecoveries(history, submissions, policy, judgement);
  return judgement;
}

/** All that is wrong, in words. */
export function wrongsOf(judgement: Judgement): string[] {
  return [
    ...judgement.doubleRuns.map((one) => `double run: ${one}`),
    ...judgement.losses.map((one) => `loss: ${one}`),
    ...judgement.falseVerdicts.map((one) => `false verdict: ${one}`),
    ...judgement.missedVerdicts.map((one) => `missed verdict: ${one}`),
    ...judgement.lateRecoveries.map((one) => `late recovery: ${one}`),
  ];
}

function judgeInstance(
  traces: readonly Trace[],
  submission: Submission | undefined,
  history: History,
  policy: Policy,
  judgement: Judgement,
): void {
  const mains = traces.filter(({ role }) => role === 'main').sort((a, b) => a.startMs - b.startMs);
  /** When the node was back that is why two generations may be there at this time; null: they may not. */
  const excuse = (node: string, fromMs: number, toMs: number): number | null =>
    (submission?.onDisconnect ?? 'replace') === 'replace'
      ? returnOf(node, fromMs, toMs, submission?.graceMs ?? 0, history.faults, policy)
      : null;
  judgeStarts(mains, excuse, judgement);
  for (const newer of mains) {
    for (const older of traces) {
      if (!isBelow(older, newer) || older.aliveMs < newer.startMs) continue;
      const fromMs = Math.max(older.startMs, newer.startMs);
      const toMs = Math.min(older.aliveMs, lastSignOf(traces, newer));
      if (toMs < fromMs) continue;
      const what = `${nameOf(older)} (${older.role}) was alive for ${ms(toMs - fromMs)} beside ${nameOf(newer)}, from ${at(fromMs, history)} on`;
      if (older.generation === newer.generation) {
        judgement.doubleRuns.push(what);
        continue;
      }
      const returnMs = excuse(older.node, fromMs, toMs);
      judgement.overlaps.push({
        tag: newer.tag,
        instance: newer.instance,
        older: older.generation,
        newer: newer.generation,
        fromMs,
        ms: toMs - fromMs,
        afterReturnMs: Math.max(0, toMs - Math.max(returnMs ?? toMs, fromMs)),
        allowed: returnMs !== null,
      });
      if (returnMs === null) judgement.doubleRuns.push(what);
    }
  }
  if (submission?.onDisconnect === 'stop') noteFenceGaps(mains, judgement);
  if (submission?.onDisconnect === 'keep') judgeKept(mains, submission.everyMs, history.faults, judgement);
}

/**
 * No run is started twice, no generation is on two nodes, both numbers only rise: save that an agent which is not heard
 * goes on to restart in place what has been replaced elsewhere.
 *
 * @param mains of one instance, in order
 */
function judgeStarts(
  mains: readonly Trace[],
  excuse: (node: string, fromMs: number, toMs: number) => number | null,
  judgement: Judgement,
): void {
  let highest: Trace | undefined;
  for (const [index, main] of mains.entries()) {
    const before = mains.slice(0, index).filter((one) => one.generation === main.generation);
    const elsewhere = before.find((one) => one.node !== main.node);
    const twin = before.find((one) => one.run === main.run);
    const isExcused = (): boolean =>
      before.every((one) => isBelow(one, main)) && excuse(main.node, main.startMs, main.startMs) !== null;
    if (elsewhere !== undefined) judgement.doubleRuns.push(`${nameOf(main)} was on ${elsewhere.node} as well`);
    if (twin !== undefined)
      judgement.doubleRuns.push(`${nameOf(main)} was started twice, as pids ${twin.pid} and ${main.pid}`);
    else if (highest !== undefined && isBelow(main, highest) && !isExcused())
      judgement.doubleRuns.push(`${nameOf(main)} was started after ${nameOf(highest)}`);
    if (highest === undefined || isBelow(highest, main)) highest = main;
  }
}

/**
 * When the node that explains the overlap was back: it was cut off or its agent absent as the overlap began, and it ended
 * shortly after. What befalls node or scheduler before that puts it off. Null: nothing explains it.
 */
function returnOf(
  node: string,
  fromMs: number,
  toMs: number,
  graceMs: number,
  faults: readonly Fault[],
  { slackMs, shortlyMs }: Policy,
): number | null {
  const leaveMs = shortlyMs + graceMs;
  const ofNode = faults.filter((fault) => fault.apart && (fault.node === node || fault.node === null));
  const hasBegun = (fault: Fault): boolean => fault.node === node && fault.fromMs - slackMs <= fromMs;
  let returnMs = Math.max(-Infinity, ...ofNode.filter(hasBegun).map(endOf));
  for (const fault of ofNode.sort((a, b) => a.fromMs - b.fromMs))
    if (fault.fromMs <= returnMs + leaveMs) returnMs = Math.max(returnMs, endOf(fault));
  return toMs <= returnMs + leaveMs ? returnMs : null;
}

function endOf({ toMs }: Fault): number {
  return toMs ?? Infinity;
}

/** Nothing that ran on a node, and is to wait for it, is started elsewhere while that is away. */
function judgeKept(mains: readonly Trace[], everyMs: number, faults: readonly Fault[], judgement: Judgement): void {
  for (const [index, main] of mains.entries()) {
    const before = mains[index - 1];
    // What was told to end there was heard to have ended.
    if (before === undefined || before.node === main.node || before.toldMs !== null) continue;
    const isAway = (fault: Fault): boolean =>
      fault.node === before.node &&
      fault.failed &&
      fault.fromMs <= main.startMs &&
      endOf(fault) >= main.startMs &&
      before.aliveMs >= fault.fromMs - 2 * everyMs;
    if (faults.some(isAway)) judgement.doubleRuns.push(`${nameOf(main)} did not wait for ${nameOf(before)}`);
  }
}

function noteFenceGaps(mains: readonly Trace[], judgement: Judgement): void {
  for (const [index, main] of mains.entries()) {
    const before = mains[index - 1];
    if (before === undefined || before.node === main.node) continue;
    const gapMs = main.startMs - before.aliveMs;
    judgement.leastFenceGapMs = Math.min(judgement.leastFenceGapMs ?? Infinity, gapMs);
  }
}

/** What was confirmed as stopped is gone, and stays so; but for copies of what has been replaced, on nodes that nobody reaches. */
function judgeStops(
  history: History,
  submissions: Map<string, Submission>,
  policy: Policy,
  judgement: Judgement,
): void {
  for (const { tag, confirmedMs } of history.stops) {
    if (confirmedMs === null) continue;
    const { graceMs = 0, onDisconnect } = submissions.get(tag) ?? {};
    const ofThis = history.traces.filter((trace) => trace.tag === tag);
    for (const trace of ofThis.filter(({ aliveMs }) => aliveMs > confirmedMs)) {
      const isReplaced = ofThis.some(
        (one) => one.instance === trace.instance && one.generation > trace.generation && one.startMs <= confirmedMs,
      );
      const isExcused =
        isReplaced &&
        onDisconnect === 'replace' &&
        returnOf(trace.node, confirmedMs, trace.aliveMs, graceMs, history.faults, policy) !== null;
      if (isExcused) continue;
      const what = trace.startMs > confirmedMs ? 'was started' : 'was alive';
      const afterMs = (trace.startMs > confirmedMs ? trace.startMs : trace.aliveMs) - confirmedMs;
      judgement.losses.push(`${nameOf(trace)} (${trace.role}) ${what} ${ms(afterMs)} after it was said to be stopped`);
    }
  }
}

function judgeEnd(history: History, endMs: number, judgement: Judgement): void {
  const stopped = new Set(history.stops.map(({ tag }) => tag));
  const living = history.traces.filter(({ aliveMs, exit }) => exit === null && aliveMs >= endMs);
  for (const { tag, instances, expectation } of history.submissions) {
    const ofThis = living.filter((trace) => trace.tag === tag);
    const wanted = new Set(stopped.has(tag) ? [] : instances);
    for (const trace of ofThis.filter(({ instance }) => !wanted.has(instance)))
      judgement.losses.push(`${nameOf(trace)} (${trace.role}) lives at the end, and is not wanted`);
    if (expectation === 'anything') continue;
    for (const instance of wanted) {
      const mains = ofThis.filter((trace) => trace.instance === instance && trace.role === 'main');
      if (mains.length === 1) continue;
      if (mains.length > 1) {
        judgement.doubleRuns.push(`${mains.map(nameOf).join(' and ')} live at the end`);
        continue;
      }
      const isDone = history.traces.some((t) => t.tag === tag && t.instance === instance && hasCompleted(t));
      if (expectation === 'completes' && isDone) continue;
      judgement.losses.push(`${instance} of ${tag}: nothing of it lives at the end`);
    }
  }
}

function judgeVerdicts(history: History, { verdictWithinMs, probeMs, slackMs }: Policy, judgement: Judgement): void {
  const { faults } = history;
  const verdicts = history.verdicts.filter(({ what }) => what === 'lost');
  for (const { node, atMs } of verdicts) {
    const isRight = faults.some(
      (fault) =>
        fault.node === node &&
        fault.failed &&
        fault.fromMs - slackMs <= atMs &&
        (fault.toMs === null || atMs <= fault.toMs + probeMs + slackMs),
    );
    if (!isRight) judgement.falseVerdicts.push(`${node} at ${at(atMs, history)}, which had not failed`);
  }
  for (const fault of faults) {
    if (fault.node === null || !fault.plain) continue;
    const lastMs = fault.toMs ?? Infinity;
    // Another fault may have brought it already; a scheduler that stands still sees nothing.
    if (isCrossed(fault, faults) || isLost(fault, history)) continue;
    const verdict = verdicts.find(({ node, atMs }) => node === fault.node && atMs >= fault.fromMs && atMs <= lastMs);
    if (verdict !== undefined) judgement.verdictMs.push(verdict.atMs - fault.fromMs);
    // On a busy machine a scheduler that was late itself gives no verdict: it looks again, from then on.
    const untilMs = verdict?.atMs ?? lastMs;
    const lookedFromMs = Math.max(fault.fromMs, ...history.stallsMs.filter((atMs) => atMs <= untilMs));
    if (untilMs - lookedFromMs > verdictWithinMs)
      judgement.missedVerdicts.push(
        `${fault.node} (${fault.what} at ${at(fault.fromMs, history)}): ${verdict === undefined ? 'none' : `after ${ms(verdict.atMs - fault.fromMs)}`}`,
      );
  }
}

/** Something else befell the node (or any node) or the scheduler between the fault's beginning and what should have come of it. */
function isCrossed(fault: Fault, faults: readonly Fault[], { byAnyNode = false } = {}): boolean {
  const untilMs = Math.min(fault.toMs ?? Infinity, fault.fromMs + 15_000);
  return faults.some(
    (other) =>
      other !== fault &&
      (byAnyNode || other.node === null || other.node === fault.node) &&
      other.fromMs < untilMs &&
      (other.toMs ?? Infinity) > fault.fromMs,
  );
}

/** The node had its verdict before the fault began, and had not been heard since. */
function isLost(fault: Fault, { verdicts }: History): boolean {
  const before = verdicts.filter(({ node, atMs }) => node === fault.node && atMs <= fault.fromMs);
  return before.sort((a, b) => a.atMs - b.atMs).at(-1)?.what === 'lost';
}

function judgeRecoveries(
  history: History,
  submissions: Map<string, Submission>,
  { recoveryWithinMs }: Policy,
  judgement: Judgement,
): void {
  const { traces, faults, verdicts, stops } = history;
  const stopped = new Set(stops.map(({ tag }) => tag));
  for (const fault of faults) {
    // With several nodes gone there may be no room, or the brake is on.
    if (!fault.plain || fault.node === null || isCrossed(fault, faults, { byAnyNode: true })) continue;
    if (isLost(fault, history)) continue;
    const { node } = fault;
    const verdict = verdicts.find(
      (one) => one.node === node && one.what === 'lost' && one.atMs >= fault.fromMs && one.atMs <= endOf(fault),
    );
    if (verdict === undefined) continue;
    const there = traces.filter(
      (t) => t.role === 'main' && t.node === node && t.startMs <= fault.fromMs && wasAliveAt(t, fault.fromMs),
    );
    for (const old of there) {
      const onDisconnect = submissions.get(old.tag)?.onDisconnect;
      if (onDisconnect === undefined || onDisconnect === 'keep' || stopped.has(old.tag)) continue;
      const later = traces
        .filter((t) => t.role === 'main' && t.tag === old.tag && t.instance === old.instance)
        .filter((t) => t.generation > old.generation)
        .sort((a, b) => a.startMs - b.startMs);
      const next = later.find((t) => t.node !== node);
      // It was a copy already of what had been replaced. And a node that is back in time keeps what is fenced.
      if (next === undefined || later[0]!.startMs <= fault.fromMs || next.startMs > endOf(fault)) continue;
      const tookMs = next.startMs - fault.fromMs;
      (onDisconnect === 'stop' ? judgement.fencedRecoveryMs : judgement.recoveryMs).push(tookMs);
      if (tookMs > recoveryWithinMs)
        judgement.lateRecoveries.push(`${nameOf(next)}, ${ms(tookMs)} after ${at(fault.fromMs, history)}`);
    }
  }

  function wasAliveAt(trace: Trace, atMs: number): boolean {
    const everyMs = submissions.get(trace.tag)?.everyMs ?? 0;
    return trace.aliveMs >= atMs - 2 * everyMs && (trace.exit === null || trace.exit.atMs >= atMs);
  }
}

/** Has come to its own good end: not by a stop. */
export function hasCompleted({ toldMs, exit }: Trace): boolean {
  return exit?.code === 0 && toldMs === null;
}

/** (generation, run) of `a` is below that of `b`. */
function isBelow(a: Trace, b: Trace): boolean {
  return a.generation < b.generation || (a.generation === b.generation && a.run < b.run);
}

function lastSignOf(traces: readonly Trace[], main: Trace): number {
  const ofTree = traces.filter((t) => t.generation === main.generation && t.run === main.run);
  return Math.max(...ofTree.map(({ aliveMs }) => aliveMs));
}

/** web.0 of the submission it belongs to, with its fencing token and its place. */
function nameOf({ tag, instance, generation, run, node }: Trace): string {
  return `${instance} (${tag}) generation ${generation} run ${run} on ${node}`;
}

function at(timeMs: number, { originMs }: History): string {
  return `+${((timeMs - originMs) / 1e3).toFixed(3)} s`;
}

function ms(value: number): string {
  return `${Math.round(value)} ms`;
}

function grouped<T>(all: readonly T[], keyOf: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const key = keyOf(one);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return groups;
}

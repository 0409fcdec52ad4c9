/**
 * Observe → decide → persist → act. What is heard changes the records; a pass brings each record that changed nearer to
 * what is wanted and places what waits; then all of it is made durable, and only then are the agents told.
 * Reasons and choices are core/'s; this file applies them. Over 400 lines: the four steps read as one story.
 */
import type { Logger } from 'pino';
import type { InstanceReport, Started } from '../contract/agentApi';
import { isTerminal } from '../contract/states';
import type { Exit } from '../contract/workload';
import type { BatchAnswer } from './agentClient';
import type { BlackBox } from './blackBox/blackBox';
import { fenceEndsMs } from './core/healthPolicy';
import { hasEnded, judgeReport, takeInReport } from './core/intake';
import { afterVerdict, judgeAbsence, NOT_LINGERING, outlastLease } from './core/loss';
import { HEARD_AT_MS, type InstanceRecord, instanceKey, type NodeRecord, type WorkloadRecord } from './core/model';
import { drainStep } from './drain';
import { Fences } from './fences';
import { emitAbout } from './instanceEvents';
import type { Journal } from './journal';
import { holdUp, Lane } from './lane';
import {
  type GenerationId,
  Outbox,
  type OutboxLinks,
  type OutboxListener,
  type SentStart,
  type StopTarget,
} from './outbox';
import { Placer } from './placer';
import { endFence, fillWorkload, reconcileInstance, reconcileWorkload, settleWorkload } from './reconcile';
import type { Secrets } from './secrets/secrets';
import { Slice } from './slice';
import type { State } from './state';
import { steadyNowMs } from './steadyClock';

/** What the loop needs of the nodes' links. */
export interface NodeLinks extends OutboxLinks {
  forget(nodeId: string, instances: GenerationId[]): void;
}

const REFUSED_RETRY_MS = 1_000;
const REFUSED_BY = ', refused by ';
const STALE_RETRY_MS = 250;
/** Of the event loop, in one pass: heartbeats and requests wait meanwhile. */
const RECONCILE_MS = 3;
const PLACE_MS = 5;
const ROUNDS = 4;
/** No more records of instances are made while so many wait to be placed. */
const FILLED_AHEAD = 1_000;
/** While so many records wait to be written, nothing is decided: a batch takes its time on the event loop as well. */
const UNWRITTEN_AT_MOST = 1_000;
/** And while there are so many, nothing is taken in of what agents tell. */
const UNWRITTEN_OF_REPORTS_AT_MOST = 3_000;

export class ControlLoop implements OutboxListener {
  readonly outbox: Outbox;
  private readonly fences: Fences;
  private readonly placer: Placer;
  private readonly toForget = new Map<string, GenerationId[]>();
  /** By node and generation: stale copies whose stop waits until what makes them stale is durable. */
  private readonly staleToStop = new Map<string, { nodeId: string; key: string; target: StopTarget }>();
  private readonly terminalWaiters = new Map<string, Set<() => void>>();
  private readonly passes = new Lane('common');
  private scheduled = false;
  private isHeldUp = false;
  private timer: NodeJS.Timeout | null = null;
  private closed = false;

  constructor(
    private readonly state: State,
    private readonly journal: Journal,
    private readonly links: NodeLinks,
    /** Given to agents, now or before a restart. */
    private readonly leaseMs: number,
    private readonly blackBox: Pick<BlackBox, 'lost'>,
    private readonly secrets: Pick<Secrets, 'faultOf' | 'valuesOf'>,
    private readonly log: Logger,
  ) {
    this.fences = new Fences((instance) => {
      endFence(state, instance);
      this.wake();
    });
    // Every lease counts as renewed when the scheduler starts.
    for (const instance of state.instances.values())
      if (instance.fenced) this.fences.raise(instance, fenceEndsMs(performance.now() + leaseMs, leaseMs));
    this.placer = new Placer(state, secrets);
    this.outbox = new Outbox(state, links, secrets, this, log);
  }

  /** Asks for a pass; many requests of one tick make one. */
  wake(): void {
    if (this.scheduled || this.closed) return;
    this.scheduled = true;
    const pass = (): void => {
      this.scheduled = false;
      this.pass();
    };
    // When it cannot be written, all is looked at anew once it can.
    const giveUp = (): void => {
      this.scheduled = false;
    };
    if (this.state.changeCount < UNWRITTEN_AT_MOST) this.passes.later(pass);
    else this.journal.commit().then(() => this.passes.later(pass), giveUp);
  }

  /** A batch is written in one turn of the event loop: what comes faster than the disk takes it has to wait. */
  private waitForWriting(): void {
    if (this.state.changeCount < UNWRITTEN_OF_REPORTS_AT_MOST || this.isHeldUp || this.journal.unwritable !== null)
      return;
    const { underWay } = this.journal;
    this.journal.commit().catch(() => {}); // said by the journal
    if (underWay === null) return;
    this.isHeldUp = true;
    const goOn = (): void => {
      this.isHeldUp = false;
    };
    holdUp('common', underWay.then(goOn, goOn));
  }

  close(): void {
    this.closed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.fences.close();
    this.outbox.close();
  }

  /** Resolves when the workload is terminal or its record gone. */
  untilTerminal(uid: string, signal: AbortSignal): Promise<void> {
    const workload = this.state.workloads.get(uid);
    if (workload === undefined || isTerminal(workload.status) || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const waiters = this.terminalWaiters.get(uid) ?? new Set();
      this.terminalWaiters.set(uid, waiters);
      const done = (): void => {
        waiters.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      waiters.add(done);
      signal.addEventListener('abort', done);
    });
  }

  // ---- observe

  /** Everything an agent holds, at the beginning of a connection. What it should hold and does not is lost. */
  takeInventory(nodeId: string, reports: readonly InstanceReport[], connectStartedAtMs: number): void {
    this.state.runtimeOf(nodeId).stale.clear();
    this.state.changedNodes.add(nodeId);
    this.outbox.restart(nodeId);
    const present = new Set<string>();
    for (const report of reports) {
      present.add(generationKey(report));
      this.takeIn(nodeId, report);
    }
    for (const instance of [...this.state.instancesOn(nodeId)]) {
      const isHeardSince = (instance[HEARD_AT_MS] ?? 0) > connectStartedAtMs;
      if (present.has(generationKey(instance)) || judgeAbsence(instance, isHeardSince) === 'awaited') {
        this.state.instancesToVisit.add(instance);
      } else {
        this.takeIn(nodeId, endedReport(instance, 'failed', { lost: true, reason: 'its agent has no trace of it' }));
      }
    }
    for (const instance of [...this.state.lingeringOn(nodeId)]) {
      if (!present.has(generationKey(instance))) this.state.updateInstance(instance, NOT_LINGERING);
    }
    this.wake();
  }

  takeIn(nodeId: string, report: InstanceReport): void {
    const instance = this.state.instances.get(instanceKey(report));
    const ended = hasEnded(report);
    // What is not known yet may be by and by: nothing of it is stopped or dropped before all have been heard.
    if (this.state.meta.rebuilding && judgeReport(instance, nodeId, report) !== 'current') return;
    if (ended) {
      this.outbox.settled(nodeId, report);
      this.forgetLater(nodeId, report);
      this.staleGone(nodeId, report);
    }
    const judgement = judgeReport(instance, nodeId, report);
    if (judgement === 'stale' && !ended) this.stopStale(nodeId, report);
    if (judgement !== 'current') return;
    const workload = instance === undefined ? undefined : this.state.workloads.get(instance.uid);
    if (instance === undefined || workload === undefined) return;
    instance[HEARD_AT_MS] = performance.now();
    if (report.lost) this.keepTrace(nodeId, instance, report.statusReason, report.exit);
    const intake = takeInReport(instance, workload, nodeId, report, steadyNowMs(), Math.random());
    this.state.updateInstance(instance, intake.patch);
    for (const event of intake.events)
      emitAbout(this.state, event.type, workload, instance, { node: nodeId, data: event.data });
    if (report.status === 'starting') this.state.startRecovery(instance);
    if (instance.status === 'running') this.state.endRecovery(instance, 'succeeded');
    else if (isTerminal(instance.status))
      this.state.endRecovery(instance, instance.status === 'failed' ? 'failed' : 'succeeded');
    this.waitForWriting();
    this.wake();
  }

  /** A generation that is not wanted there: nothing is placed there until it is gone. */
  private stopStale(nodeId: string, report: InstanceReport): void {
    const { stale } = this.state.runtimeOf(nodeId);
    const key = generationKey(report);
    if (!stale.has(key))
      this.log.info(
        { node: nodeId, instance: report.instanceId, generation: report.generation },
        'stopping a stale copy',
      );
    stale.add(key);
    this.state.changedNodes.add(nodeId);
    this.staleToStop.set(`${nodeId} ${key}`, { nodeId, key, target: { ...report, graceMs: null } });
    this.wake();
  }

  private staleGone(nodeId: string, generation: GenerationId): void {
    const { stale } = this.state.runtimeOf(nodeId);
    if (!stale.delete(generationKey(generation)) || stale.size > 0) return;
    this.state.changedNodes.add(nodeId);
    this.wake();
  }

  /** The verdict: what ran there is to run elsewhere. */
  nodeLost(node: NodeRecord, times: { lastContactAt: string; suspectAt: string | null; verdictAt: string }): void {
    this.outbox.drop(node.id);
    this.state.usage.forget(node.id);
    this.blackBox.lost(
      node.id,
      this.state.instancesOn(node.id),
      `its node ${node.id} is lost: ${node.statusReason ?? 'no sign of life'}`,
    );
    for (const instance of [...this.state.instancesOn(node.id)]) {
      const workload = this.state.workloads.get(instance.uid);
      if (workload === undefined) continue;
      const { kind, patch } = afterVerdict(instance, workload, node.id, Date.parse(times.lastContactAt));
      if (patch.fenced) this.raiseFence(instance, node);
      this.state.updateInstance(instance, patch);
      if (kind === 'stopping') continue;
      if (kind === 'moves') {
        this.state.beginRecovery(instance, { instance: instance.id, fromNode: node.id, ...times });
      }
      emitAbout(this.state, 'instance.recovering', workload, instance, { node: node.id });
    }
    this.state.saveRecoveries();
    this.wake();
  }

  /** The node's record goes, or has become another agent's: what it held is taken for gone, starts on their way too. */
  nodeGone(node: NodeRecord, reason: string): void {
    this.outbox.drop(node.id);
    this.state.usage.forget(node.id);
    for (const instance of [...this.state.instancesOn(node.id)]) {
      if (instance.onDisconnect === 'stop') {
        this.keepTrace(node.id, instance, reason, null);
        this.raiseFence(instance, node);
        this.state.updateInstance(instance, outlastLease(instance, this.state.workloads.get(instance.uid), reason));
      } else this.takeIn(node.id, endedReport(instance, 'failed', { lost: true, reason }));
    }
    for (const instance of [...this.state.lingeringOn(node.id)])
      this.state.updateInstance(instance, { lingersOn: null });
    this.visitDaemons();
    this.wake();
  }

  /** Of one that is lost while its node is not; what a verdict takes has been noted with it. One that never ran left nothing. */
  private keepTrace(nodeId: string, instance: InstanceRecord, reason: string | null, exit: Exit | null): void {
    if (instance.startedAt === null || this.state.nodes.get(nodeId)?.status === 'lost') return;
    this.blackBox.lost(nodeId, [instance], reason ?? 'unknown', exit);
  }

  private raiseFence(instance: InstanceRecord, { id }: NodeRecord): void {
    this.fences.raise(instance, fenceEndsMs(this.state.runtimeOf(id).leaseEndsAtMs, this.leaseMs));
  }

  /** Nodes have changed in what a daemon goes by: labels, schedulability, drain. */
  visitDaemons(): void {
    for (const workload of this.state.daemons) this.state.workloadsToVisit.add(workload);
  }

  onStartAnswer({ instance, generation, attemptsUsed }: SentStart, nodeId: string, answer: BatchAnswer<Started>): void {
    if (!this.state.has(instance) || isTerminal(instance.status)) return;
    if (instance.node !== nodeId || instance.generation !== generation) return;
    const attempts = attemptsUsed + 1;
    if (answer.ok) {
      const { run, pid, shimPid, startedAt } = answer.value;
      this.takeIn(nodeId, {
        ...endedReport(instance, 'failed', { lost: false, reason: null }),
        status: 'running',
        run,
        rev: run * 8 + 1,
        pid,
        shimPid,
        startedAt,
        exit: null,
        attempts,
      });
      return;
    }
    const { error } = answer;
    if (error.code === 'START_FAILED') {
      const system = error.system ?? { syscall: 'unknown', errno: 0, errnoCode: 'UNKNOWN' };
      this.takeIn(nodeId, {
        ...endedReport(instance, 'failed', { lost: false, reason: error.message }),
        run: 1,
        rev: 12,
        attempts,
        startError: { detail: error.message, ...system },
      });
      return;
    }
    // Thousands, from agents whose acknowledgements are late.
    const level = error.code === 'STALE_SESSION' ? 'debug' : 'warn';
    this.log[level]({ node: nodeId, instance: instance.id, err: error }, 'the agent refused a start');
    if (error.code === 'STILL_ALIVE' || error.code === 'STALE_SESSION') {
      // What ran before still holds its place there, or the session is to be renewed: asked again, never started elsewhere.
      const retryMs = error.code === 'STALE_SESSION' ? STALE_RETRY_MS : REFUSED_RETRY_MS;
      setTimeout(() => this.outbox.offer(instance), retryMs).unref();
      return;
    }
    if (instance.status === 'stopping') return;
    if (error.code === 'SHUTTING_DOWN') {
      this.state.runtimeOf(nodeId).leaving = true;
      this.state.changedNodes.add(nodeId);
    }
    const refused = instance.status === 'recovering' ? {} : { status: 'pending' as const };
    this.state.updateInstance(instance, {
      ...refused,
      statusReason: `${nodeId} refused the start: ${error.message}`,
      node: null,
      retryAtMs: steadyNowMs() + REFUSED_RETRY_MS,
      triedNodes: [...new Set([...instance.triedNodes, nodeId])],
    });
    this.wake();
  }

  onStopAnswer(target: StopTarget, nodeId: string, answer: BatchAnswer<unknown>): void {
    const goneThere = answer.ok
      ? isEndedAnswer(answer.value)
      : answer.error.code === 'INSTANCE_NOT_FOUND' || answer.error.code === 'STALE_GENERATION';
    if (!answer.ok && !goneThere) {
      this.log.warn({ node: nodeId, instance: target.instanceId, err: answer.error }, 'the agent refused a stop');
      // Of a session that is over already, the next one asks.
      if (answer.error.code !== 'STALE_SESSION') this.sayRefused(target, nodeId, answer.error.message);
      setTimeout(() => {
        this.outbox.settled(nodeId, target);
        this.outbox.stop(nodeId, target);
      }, REFUSED_RETRY_MS).unref();
      return;
    }
    if (!goneThere) {
      this.sayRefused(target, nodeId, null);
      return;
    }
    const instance = this.state.instances.get(`${target.uid}/${target.slot}`);
    if (instance !== undefined && instance.node === nodeId && instance.generation === target.generation) {
      if (!isTerminal(instance.status))
        this.takeIn(nodeId, endedReport(instance, 'stopped', { lost: false, reason: 'stopped by request' }));
    } else {
      this.outbox.settled(nodeId, target);
      this.staleGone(nodeId, target);
    }
  }

  /** Where the user looks who waits for it to end. @param why null: it is being stopped now */
  private sayRefused({ uid, slot, generation }: StopTarget, nodeId: string, why: string | null): void {
    const instance = this.state.instances.get(`${uid}/${slot}`);
    if (instance?.status !== 'stopping' || instance.node !== nodeId || instance.generation !== generation) return;
    const [reason] = (instance.statusReason ?? '').split(REFUSED_BY);
    const statusReason = why === null ? reason! : `${reason}${REFUSED_BY}${nodeId}, which is asked again: ${why}`;
    if (instance.statusReason === statusReason || (why === null && instance.statusReason === null)) return;
    this.state.updateInstance(instance, { statusReason });
    this.wake();
  }

  onForgettable(nodeId: string, generation: GenerationId): void {
    this.forgetLater(nodeId, generation);
  }

  // ---- decide

  private pass(): void {
    if (this.closed) return;
    const nowMs = steadyNowMs();
    const visited = new Set<InstanceRecord>();
    try {
      if (this.decide(nowMs, visited)) this.wake();
    } catch (error) {
      // An assertion about one record must not end the others' scheduler.
      this.log.error({ err: error }, 'a pass of the control loop failed');
    }
    const decided = Array.from(visited, decisionOn);
    // In a turn of its own: to write a batch takes as long as to decide it.
    this.passes.later(() => {
      this.persistThenAct(decided).catch((error: unknown) => this.log.error({ err: error }, 'acting failed'));
    });
    this.setTimer(nowMs);
  }

  /** @returns whether another pass is due: no pass takes longer than it may */
  private decide(nowMs: number, visited: Set<InstanceRecord>): boolean {
    this.reconcile(visited, new Slice(RECONCILE_MS));
    for (const node of this.state.drainingNodes) drainStep(this.state, this.secrets, node, nowMs);
    // What is placed and cannot be written cannot be started, and would be in the way of a copy that comes back.
    const isMoreToPlace = this.journal.unwritable === null && this.placer.place(nowMs, PLACE_MS);
    return this.reconcile(visited, new Slice(RECONCILE_MS)) || isMoreToPlace;
  }

  /** @returns whether there is more of it: a change may call for another look, until all that does not wait for an agent is settled */
  private reconcile(visited: Set<InstanceRecord>, slice: Slice): boolean {
    const { workloadsToVisit, workloadsToFill, workloadsToSettle, instancesToVisit, waiting } = this.state;
    const isMore = (): boolean =>
      workloadsToVisit.size + workloadsToFill.size + workloadsToSettle.size + instancesToVisit.size > 0;
    for (let round = 0; round < ROUNDS && isMore(); round++) {
      for (const workload of workloadsToVisit) {
        workloadsToVisit.delete(workload);
        workloadsToSettle.add(workload);
        reconcileWorkload(this.state, workload, slice);
        if (slice.isOver) return true;
      }
      for (const workload of workloadsToFill.keys()) {
        // So that most are placed in the pass that makes them, and written once.
        if (waiting.fresh.size >= FILLED_AHEAD && !this.state.meta.rebuilding) break;
        fillWorkload(this.state, workload, slice);
        if (slice.isOver) return true;
      }
      for (const instance of instancesToVisit) {
        instancesToVisit.delete(instance);
        visited.add(instance);
        reconcileInstance(this.state, instance);
        if (slice.isOver) return true;
      }
      for (const workload of workloadsToSettle) {
        workloadsToSettle.delete(workload);
        settleWorkload(this.state, workload);
        this.tellTerminal(workload);
        if (slice.isOver) return true;
      }
    }
    return isMore();
  }

  /** What has changed again since it was decided is sent by the pass that changed it, once that is durable. */
  private async persistThenAct(decided: readonly Decision[]): Promise<void> {
    const toForget = new Map(this.toForget);
    this.toForget.clear();
    const staleToStop = new Map(this.staleToStop);
    this.staleToStop.clear();
    try {
      await this.journal.commit();
    } catch {
      // Said by the journal; when the store takes writes again, everything is looked at anew.
      for (const [nodeId, list] of toForget) for (const item of list) this.forgetLater(nodeId, item);
      for (const { instance } of decided) this.state.instancesToVisit.add(instance);
      for (const [key, stop] of staleToStop) this.staleToStop.set(key, stop);
      return;
    }
    for (const { instance, generation, node, status } of decided) {
      if (instance.generation !== generation || instance.node !== node || instance.status !== status) continue;
      if (this.state.has(instance)) this.outbox.offer(instance);
    }
    for (const { nodeId, key, target } of staleToStop.values())
      if (this.state.runtimeOf(nodeId).stale.has(key)) this.outbox.stop(nodeId, target);
    for (const [nodeId, list] of toForget) this.links.forget(nodeId, this.outbox.forgettable(nodeId, list));
  }

  private tellTerminal({ uid, status }: WorkloadRecord): void {
    const waiters = this.terminalWaiters.get(uid);
    if (waiters === undefined || (this.state.workloads.has(uid) && !isTerminal(status))) return;
    this.terminalWaiters.delete(uid);
    for (const done of waiters) done();
  }

  /** Wakes at the next moment that something was put off to. */
  private setTimer(nowMs: number): void {
    if (this.timer !== null) clearTimeout(this.timer);
    let next = Math.min(this.state.waiting.nextAtMs, nowMs + this.placer.nextReasonsInMs);
    for (const { drain } of this.state.drainingNodes) {
      if (drain !== null && drain.deadlineAtMs > nowMs) next = Math.min(next, drain.deadlineAtMs);
    }
    if (next === Number.POSITIVE_INFINITY) return;
    this.timer = setTimeout(() => this.wake(), Math.min(next - nowMs + 1, 2 ** 31 - 1));
  }

  private forgetLater(nodeId: string, { uid, slot, generation }: GenerationId): void {
    const list = this.toForget.get(nodeId) ?? [];
    list.push({ uid, slot, generation });
    this.toForget.set(nodeId, list);
    this.wake();
  }
}

const generationKey = (id: GenerationId): string => `${instanceKey(id)}/${id.generation}`;

/** What an agent would be told of an instance, as it was decided. */
interface Decision extends Pick<InstanceRecord, 'generation' | 'node' | 'status'> {
  instance: InstanceRecord;
}

function decisionOn(instance: InstanceRecord): Decision {
  const { generation, node, status } = instance;
  return { instance, generation, node, status };
}

/** A report that no agent sent: what the scheduler concludes of the generation it has on record. */
function endedReport(
  instance: InstanceRecord,
  status: 'failed' | 'stopped',
  why: { lost: boolean; reason: string | null },
): InstanceReport {
  return {
    uid: instance.uid,
    slot: instance.slot,
    instanceId: instance.id,
    generation: instance.generation,
    run: instance.run,
    rev: instance.rev + 1,
    status,
    statusReason: why.reason,
    pid: null,
    shimPid: null,
    startedAt: null,
    exit: null,
    attempts: instance.attempts,
    lost: why.lost,
    startError: null,
  };
}

function isEndedAnswer(value: unknown): boolean {
  const status = (value as { status?: unknown } | null)?.status;
  return status === 'stopped' || status === 'completed' || status === 'failed';
}

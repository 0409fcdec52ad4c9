/**
 * Observe → decide → persist → act. What is heard changes the records; a pass brings each record that changed nearer to
 * what is wanted and places what waits; then all of it is made durable, and only then are the agents told.
 * Reasons and choices are core/'s; this file applies them.
 */
import type { Logger } from 'pino';
import type { InstanceReport, Started } from '../contract/agentApi';
import type { EventType } from '../contract/events';
import { isTerminal } from '../contract/states';
import type { BatchAnswer } from './agentClient';
import { attemptsWithoutLost, hasEnded, isUnwanted, judgeReport, takeInReport } from './core/intake';
import { type InstanceRecord, instanceKey, labelsOf, type NodeRecord, type WorkloadRecord } from './core/model';
import { type Candidate, choosePlacement, explainRejections, type Placement, satisfies } from './core/placement';
import { workloadStatusOf } from './core/workloadStatus';
import type { Journal } from './journal';
import { Outbox, type OutboxListener, type StopTarget } from './outbox';
import { beginRecovery, endRecovery, recoveryPlaced } from './recoveryLog';
import type { State } from './state';

/** What the loop needs of the nodes' links. */
export interface NodeLinks {
  senderOf(nodeId: string): ConstructorParameters<typeof Outbox>[1] extends (id: string) => infer S ? S : never;
  forget(nodeId: string, instances: { uid: string; slot: string; generation: number }[]): void;
}

const PLACEMENTS_KEPT = 10;
/** What a placement that reserves less is taken to use until a measurement shows it, so that a burst is spread. */
const UNSEEN_CPU_MILLIS = 100;

export class ControlLoop implements OutboxListener {
  readonly outbox: Outbox;
  private readonly toForget = new Map<string, { uid: string; slot: string; generation: number }[]>();
  /** Monotonic time of the last report of an instance, to tell it from an inventory made before. */
  private readonly heardAtMs = new Map<string, number>();
  private readonly terminalWaiters = new Map<string, Set<() => void>>();
  private scheduled = false;
  private timer: NodeJS.Timeout | null = null;
  private closed = false;

  constructor(
    private readonly state: State,
    private readonly journal: Journal,
    private readonly links: NodeLinks,
    private readonly log: Logger,
  ) {
    this.outbox = new Outbox(state, (id) => links.senderOf(id), this, log);
  }

  /** Asks for a pass; many requests of one tick make one. */
  wake(): void {
    if (this.scheduled || this.closed) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      this.pass();
    });
  }

  close(): void {
    this.closed = true;
    if (this.timer !== null) clearTimeout(this.timer);
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
    const runtime = this.state.runtimeOf(nodeId);
    runtime.stale.clear();
    this.outbox.restart(nodeId);
    const present = new Set<string>();
    for (const report of reports) {
      present.add(`${instanceKey(report)}/${report.generation}`);
      this.takeIn(nodeId, report);
    }
    for (const instance of [...this.state.instancesOn(nodeId)]) {
      if (present.has(`${instanceKey(instance)}/${instance.generation}`)) {
        this.state.instancesToVisit.add(instance);
      } else if (instance.rev < 0 || (this.heardAtMs.get(instanceKey(instance)) ?? 0) > connectStartedAtMs) {
        // A start under way, or heard of after the inventory was made: (re)sent or settled by its own answer.
        this.state.instancesToVisit.add(instance);
      } else {
        this.takeIn(nodeId, endedReport(instance, 'failed', { lost: true, reason: 'its agent has no trace of it' }));
      }
    }
    this.wake();
  }

  takeIn(nodeId: string, report: InstanceReport): void {
    const instance = this.state.instances.get(instanceKey(report));
    const ended = hasEnded(report);
    if (ended) {
      this.outbox.settled(nodeId, report);
      this.forgetLater(nodeId, report);
    }
    const judgement = judgeReport(instance, nodeId, report);
    if (judgement === 'stale') {
      this.takeInStale(nodeId, report, ended);
      return;
    }
    const workload = instance === undefined ? undefined : this.state.workloads.get(instance.uid);
    if (judgement === 'old' || instance === undefined || workload === undefined) return;
    this.heardAtMs.set(instanceKey(instance), performance.now());
    const intake = takeInReport(instance, workload, nodeId, report, Date.now(), Math.random());
    this.state.updateInstance(instance, intake.patch);
    for (const event of intake.events) this.emit(event.type, workload, instance, { node: nodeId, data: event.data });
    if (ended) this.state.usage.delete(instanceKey(instance));
    if (instance.status === 'running') this.recoveryEnded(instance, 'succeeded');
    else if (isTerminal(instance.status))
      this.recoveryEnded(instance, instance.status === 'failed' ? 'failed' : 'succeeded');
    this.wake();
  }

  /** A generation that is not wanted there: stopped, then forgotten. */
  private takeInStale(nodeId: string, report: InstanceReport, ended: boolean): void {
    const { stale } = this.state.runtimeOf(nodeId);
    const key = `${instanceKey(report)}/${report.generation}`;
    if (ended) {
      if (stale.delete(key) && stale.size === 0) this.wake();
      return;
    }
    if (!stale.has(key))
      this.log.info(
        { node: nodeId, instance: report.instanceId, generation: report.generation },
        'stopping a stale copy',
      );
    stale.add(key);
    this.outbox.stop(nodeId, { ...report, graceMs: null });
  }

  /** The verdict: what ran there is to run elsewhere. */
  nodeLost(node: NodeRecord, times: { lastContactAt: string; suspectAt: string | null; verdictAt: string }): void {
    this.outbox.drop(node.id);
    for (const instance of [...this.state.instancesOn(node.id)]) {
      const workload = this.state.workloads.get(instance.uid);
      if (workload === undefined) continue;
      if (isUnwanted(instance, workload)) {
        this.state.updateInstance(instance, { status: 'stopping', statusReason: 'node-lost' });
        continue;
      }
      this.state.updateInstance(instance, {
        status: 'recovering',
        statusReason: `its node ${node.id} is lost`,
        node: null,
        pid: null,
        attempts: instance.rev < 0 ? instance.attempts : attemptsWithoutLost(instance.status, instance.attempts),
        replacing: null,
        retryAtMs: 0,
      });
      this.state.usage.delete(instanceKey(instance));
      beginRecovery(this.state.recoveries, instanceKey(instance), {
        instance: instance.id,
        fromNode: node.id,
        ...times,
      });
      this.emit('instance.recovering', workload, instance, { node: node.id });
    }
    this.state.saveRecoveries();
    this.wake();
  }

  /** The node's record goes: what it held is taken for gone. */
  nodeForgotten(node: NodeRecord): void {
    this.outbox.drop(node.id);
    for (const instance of [...this.state.instancesOn(node.id)]) {
      this.takeIn(node.id, endedReport(instance, 'failed', { lost: true, reason: 'its node was forgotten' }));
    }
    this.visitDaemons();
    this.wake();
  }

  /** Nodes have changed in what a daemon goes by: labels, schedulability, drain. */
  visitDaemons(): void {
    for (const workload of this.state.workloads.values()) {
      if (workload.spec.kind === 'daemon') this.state.workloadsToVisit.add(workload);
    }
  }

  onStartAnswer(instance: InstanceRecord, generation: number, nodeId: string, answer: BatchAnswer<Started>): void {
    if (instance.node !== nodeId || instance.generation !== generation) return;
    if (answer.ok) {
      const { run, pid, startedAt } = answer.value;
      const attempts = instance.attempts + 1;
      this.takeIn(nodeId, {
        ...endedReport(instance, 'failed', { lost: false, reason: null }),
        status: 'running',
        run,
        rev: run * 8 + 1,
        pid,
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
        attempts: instance.attempts + 1,
        startError: { detail: error.message, ...system },
      });
      return;
    }
    this.log.warn({ node: nodeId, instance: instance.id, err: error }, 'the agent refused a start');
    if (error.code === 'SHUTTING_DOWN') this.state.runtimeOf(nodeId).leaving = true;
    const refused = instance.status === 'recovering' ? {} : { status: 'pending' as const };
    this.state.updateInstance(instance, {
      ...refused,
      statusReason: `${nodeId} refused the start: ${error.message}`,
      node: null,
      retryAtMs: Date.now() + 1_000,
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
      setTimeout(() => {
        this.outbox.settled(nodeId, target);
        this.outbox.stop(nodeId, target);
      }, 1_000).unref();
      return;
    }
    if (!goneThere) return;
    const instance = this.state.instances.get(`${target.uid}/${target.slot}`);
    if (instance !== undefined && instance.node === nodeId && instance.generation === target.generation) {
      if (!isTerminal(instance.status))
        this.takeIn(nodeId, endedReport(instance, 'stopped', { lost: false, reason: 'stopped by request' }));
    } else {
      this.outbox.settled(nodeId, target);
      const { stale } = this.state.runtimeOf(nodeId);
      if (stale.delete(`${target.uid}/${target.slot}/${target.generation}`) && stale.size === 0) this.wake();
    }
  }

  // ---- decide

  private pass(): void {
    if (this.closed) return;
    const nowMs = Date.now();
    const visited = new Set<InstanceRecord>();
    // A change may call for another look; two rounds settle everything that does not wait for an agent.
    for (let round = 0; round < 4 && this.state.workloadsToVisit.size + this.state.instancesToVisit.size > 0; round++) {
      const workloads = [...this.state.workloadsToVisit];
      this.state.workloadsToVisit.clear();
      for (const workload of workloads) this.reconcileWorkload(workload);
      const instances = [...this.state.instancesToVisit];
      this.state.instancesToVisit.clear();
      for (const instance of instances) {
        visited.add(instance);
        this.reconcileInstance(instance);
      }
      for (const workload of workloads) this.settleWorkload(workload);
    }
    for (const node of this.state.nodes.values()) if (node.drain?.state === 'draining') this.drain(node, nowMs);
    this.placeAll(nowMs);
    for (const instance of this.state.instancesToVisit) visited.add(instance);
    void this.persistThenAct(visited);
    this.setTimer(nowMs);
    if (this.state.workloadsToVisit.size > 0) this.wake();
  }

  private async persistThenAct(visited: ReadonlySet<InstanceRecord>): Promise<void> {
    const toForget = new Map(this.toForget);
    this.toForget.clear();
    try {
      await this.journal.commit();
    } catch {
      // Said by the journal; when the store takes writes again, everything is looked at anew.
      for (const [nodeId, list] of toForget) for (const item of list) this.forgetLater(nodeId, item);
      for (const instance of visited) this.state.instancesToVisit.add(instance);
      return;
    }
    for (const instance of visited) {
      if (this.state.instances.get(instanceKey(instance)) === instance) this.outbox.offer(instance);
    }
    for (const [nodeId, list] of toForget) this.links.forget(nodeId, list);
  }

  /** Which instances there should be: makes the records that are missing, and marks what is to go or to be replaced. */
  reconcileWorkload(workload: WorkloadRecord): void {
    if (!this.state.workloads.has(workload.uid)) return;
    const instances = this.state.instancesOf(workload);
    if (workload.goal === 'stop') {
      if (workload.purge && [...instances.values()].every((i) => isTerminal(i.status))) this.purge(workload);
      return;
    }
    const wanted = this.wantedSlots(workload, instances);
    for (const slot of wanted) {
      if (!instances.has(slot)) this.state.addInstance(newInstance(workload, slot));
    }
    for (const [slot, instance] of instances) {
      const surplus = !wanted.has(slot);
      if (surplus && !instance.surplus) this.state.updateInstance(instance, { surplus });
    }
    this.replaceOutdated(workload, instances);
  }

  private wantedSlots(workload: WorkloadRecord, instances: ReadonlyMap<string, InstanceRecord>): Set<string> {
    if (workload.spec.kind !== 'daemon') {
      return new Set(Array.from({ length: workload.spec.replicas ?? 1 }, (_, index) => String(index)));
    }
    const wanted = new Set<string>();
    for (const node of this.state.nodes.values()) {
      const labels = labelsOf(node);
      if (!workload.spec.placement.constraints.every((constraint) => satisfies(labels, constraint))) continue;
      const there = instances.has(node.id);
      if (node.drain !== null ? there && this.hasNonDaemons(node.id) : there || !node.cordoned) wanted.add(node.id);
    }
    return wanted;
  }

  private hasNonDaemons(nodeId: string): boolean {
    for (const instance of this.state.instancesOn(nodeId)) {
      if (this.state.workloads.get(instance.uid)?.spec.kind !== 'daemon') return true;
    }
    return false;
  }

  /** Instances of an earlier revision: the live ones one at a time, the old tree gone first. */
  private replaceOutdated(workload: WorkloadRecord, instances: ReadonlyMap<string, InstanceRecord>): void {
    let busy = [...instances.values()].some((i) => i.replacing !== null && !i.surplus);
    const inOrder = [...instances.values()]
      .filter((i) => i.revision < workload.revision && !i.surplus)
      .sort((a, b) => a.slot.localeCompare(b.slot, 'en', { numeric: true }));
    for (const instance of inOrder) {
      if (isTerminal(instance.status)) {
        this.state.updateInstance(instance, {
          status: 'pending',
          statusReason: null,
          ...FRESH,
          revision: workload.revision,
          preferredNode: instance.node,
          node: null,
          startedAt: null,
        });
      } else if (instance.node === null) {
        this.state.updateInstance(instance, { ...FRESH, revision: workload.revision });
      } else if (!busy && instance.replacing === null) {
        busy = true;
        this.state.updateInstance(instance, {
          status: 'stopping',
          statusReason: `to be started anew, version ${workload.version}`,
          replacing: 'revision',
        });
      }
    }
  }

  private reconcileInstance(instance: InstanceRecord): void {
    if (this.state.instances.get(instanceKey(instance)) !== instance) return;
    const workload = this.state.workloads.get(instance.uid);
    if (workload === undefined) {
      this.state.removeInstance(instance);
      return;
    }
    if (!isUnwanted(instance, workload)) return;
    if (isTerminal(instance.status)) {
      if (instance.surplus) this.state.removeInstance(instance);
    } else if (instance.node === null) {
      this.stopUnplaced(instance, workload);
    } else if (!this.state.nodes.has(instance.node)) {
      this.stoppedAtOnce(instance, workload);
    } else if (instance.status !== 'stopping') {
      const lost = this.state.nodes.get(instance.node)?.status === 'lost';
      this.state.updateInstance(instance, { status: 'stopping', statusReason: lost ? 'node-lost' : 'stop requested' });
    }
  }

  /** Nothing runs, save perhaps an old copy on a lost node: then it is stopping until that node is back or forgotten. */
  private stopUnplaced(instance: InstanceRecord, workload: WorkloadRecord): void {
    const last = instance.placements.at(-1)?.node;
    const lostNode = instance.status === 'recovering' && last !== undefined ? this.state.nodes.get(last) : undefined;
    if (lostNode?.status === 'lost') {
      this.state.updateInstance(instance, { status: 'stopping', statusReason: 'node-lost', node: lostNode.id });
      this.recoveryEnded(instance, 'failed');
    } else {
      this.stoppedAtOnce(instance, workload);
    }
  }

  private stoppedAtOnce(instance: InstanceRecord, workload: WorkloadRecord): void {
    this.state.updateInstance(instance, {
      status: 'stopped',
      statusReason: 'stopped by request',
      replacing: null,
      pid: null,
    });
    this.recoveryEnded(instance, 'failed');
    this.emit('instance.stopped', workload, instance, {});
  }

  private settleWorkload(workload: WorkloadRecord): void {
    if (!this.state.workloads.has(workload.uid)) return;
    const { status } = workloadStatusOf(workload.goal, this.state.countsOf(workload));
    if (status === workload.status) return;
    workload.status = status;
    workload.updatedAt = new Date().toISOString();
    this.state.saveWorkload(workload);
    if (!isTerminal(status)) return;
    this.emit(`workload.${status}` as EventType, workload, null, {});
    this.wakeTerminalWaiters(workload.uid);
  }

  private purge(workload: WorkloadRecord): void {
    for (const instance of [...this.state.instancesOf(workload).values()]) this.state.removeInstance(instance);
    this.state.removeWorkload(workload);
    this.emit('workload.purged', workload, null, {});
    this.wakeTerminalWaiters(workload.uid);
  }

  private wakeTerminalWaiters(uid: string): void {
    for (const done of this.terminalWaiters.get(uid) ?? []) done();
    this.terminalWaiters.delete(uid);
  }

  // ---- placement

  private placeAll(nowMs: number): void {
    const cannot = new Map<string, string>();
    const counts = new Map<string, Map<string, number>>();
    for (const instance of [...this.state.unplaced]) {
      const workload = this.state.workloads.get(instance.uid);
      if (workload === undefined || instance.retryAtMs > nowMs || isUnwanted(instance, workload)) continue;
      const daemon = workload.spec.kind === 'daemon';
      const known = daemon ? undefined : cannot.get(workload.uid);
      const reason = known ?? this.placeOne(instance, workload, counts);
      if (reason === null) continue;
      if (!daemon) cannot.set(workload.uid, reason);
      this.cannotPlace(instance, workload, reason);
    }
  }

  /** @returns null when placed, else why not */
  private placeOne(
    instance: InstanceRecord,
    workload: WorkloadRecord,
    counts: Map<string, Map<string, number>>,
  ): string | null {
    const onlyNode = workload.spec.kind === 'daemon' ? instance.slot : undefined;
    let perNode = counts.get(workload.uid);
    if (perNode === undefined) {
      perNode = this.countPerNode(workload);
      counts.set(workload.uid, perNode);
    }
    const placement = this.choose(instance, workload, perNode);
    if (placement.kind === 'unplaceable') return explainRejections(placement.rejections, onlyNode);
    const { nodeId } = placement;
    perNode.set(nodeId, (perNode.get(nodeId) ?? 0) + 1);
    this.place(instance, workload, nodeId);
    return null;
  }

  private choose(
    instance: InstanceRecord,
    workload: WorkloadRecord,
    perNode: ReadonlyMap<string, number>,
    excludedNode?: string,
  ): Placement {
    return choosePlacement(
      {
        resources: workload.spec.resources,
        rules: workload.spec.placement,
        preferredNode: instance.preferredNode,
        triedNodes: instance.triedNodes,
        ...(workload.spec.kind === 'daemon' ? { onlyNode: instance.slot } : {}),
        ...(excludedNode === undefined ? {} : { excludedNode }),
      },
      [...this.state.nodes.values()].map((node) => this.candidateOf(node, perNode.get(node.id) ?? 0)),
    );
  }

  private candidateOf(node: NodeRecord, workloadInstanceCount: number): Candidate {
    const runtime = this.state.runtimeOf(node.id);
    return {
      id: node.id,
      labels: labelsOf(node),
      closed: closedReason(this.state, node),
      capacity: node.capacity,
      allocated: this.state.allocatedOn(node.id),
      cpuPercent: runtime.usage?.cpuPercent ?? null,
      unseenCpuMillis: runtime.unseenCpuMillis,
      instanceCount: this.state.instancesOn(node.id).size,
      workloadInstanceCount,
    };
  }

  private countPerNode(workload: WorkloadRecord): Map<string, number> {
    const perNode = new Map<string, number>();
    for (const { node, status } of this.state.instancesOf(workload).values()) {
      if (node !== null && !isTerminal(status)) perNode.set(node, (perNode.get(node) ?? 0) + 1);
    }
    return perNode;
  }

  private place(instance: InstanceRecord, workload: WorkloadRecord, nodeId: string): void {
    const generation = Math.max(instance.generation, workload.generationFloor) + 1;
    this.state.updateInstance(instance, {
      status: instance.status === 'recovering' ? 'recovering' : 'starting',
      statusReason: `placed on ${nodeId}`,
      generation,
      run: 0,
      rev: -1,
      revision: workload.revision,
      node: nodeId,
      pid: null,
      startedAt: null,
      reserved: { ...workload.spec.resources },
      retryAtMs: 0,
      placements: [...instance.placements, { generation, node: nodeId }].slice(-PLACEMENTS_KEPT),
    });
    this.state.runtimeOf(nodeId).unseenCpuMillis += Math.max(workload.spec.resources.cpuMillis, UNSEEN_CPU_MILLIS);
    recoveryPlaced(this.state.recoveries, instanceKey(instance), nodeId, new Date().toISOString());
    if (instance.status === 'recovering') this.state.saveRecoveries();
    this.emit('instance.placed', workload, instance, { node: nodeId });
  }

  private cannotPlace(instance: InstanceRecord, workload: WorkloadRecord, reason: string): void {
    if (instance.statusReason === reason) return;
    const first = !instance.statusReason?.startsWith('no node');
    this.state.updateInstance(instance, {
      statusReason: reason,
      ...(instance.status === 'backoff' ? { status: 'pending' as const } : {}),
    });
    if (first) this.emit('instance.unplaceable', workload, instance, { data: { reason } });
  }

  // ---- drain

  private drain(node: NodeRecord, nowMs: number): void {
    const there = [...this.state.instancesOn(node.id)];
    if (there.length === 0) {
      node.drain = { ...node.drain!, state: 'drained' };
      this.state.saveNode(node);
      this.state.emit({ type: 'node.drained', node: node.id }, new Date().toISOString());
      return;
    }
    const late = nowMs >= node.drain!.deadlineAtMs;
    if (!this.hasNonDaemons(node.id)) this.visitDaemons();
    for (const instance of there) {
      const workload = this.state.workloads.get(instance.uid);
      if (workload === undefined || workload.spec.kind === 'daemon') continue;
      if (isUnwanted(instance, workload) || instance.status === 'stopping') continue;
      if (workload.spec.kind === 'batch' && !late) continue;
      const busy = [...this.state.instancesOf(workload).values()].some((i) => i.replacing !== null);
      if (busy && !late) continue;
      const elsewhere = this.choose(instance, workload, this.countPerNode(workload), node.id);
      if (elsewhere.kind === 'unplaceable' && !late) {
        const reason = `kept on ${node.id}, which is draining: ${explainRejections(elsewhere.rejections)}`;
        if (instance.statusReason !== reason) this.state.updateInstance(instance, { statusReason: reason });
        continue;
      }
      this.state.updateInstance(instance, {
        status: 'stopping',
        statusReason: `moving off ${node.id}`,
        replacing: 'drain',
      });
    }
  }

  // ---- the rest

  /** Wakes at the next moment that something was put off to. */
  private setTimer(nowMs: number): void {
    if (this.timer !== null) clearTimeout(this.timer);
    let next = Number.POSITIVE_INFINITY;
    for (const { retryAtMs } of this.state.unplaced) if (retryAtMs > nowMs) next = Math.min(next, retryAtMs);
    for (const { drain } of this.state.nodes.values()) {
      if (drain?.state === 'draining' && drain.deadlineAtMs > nowMs) next = Math.min(next, drain.deadlineAtMs);
    }
    if (next === Number.POSITIVE_INFINITY) return;
    this.timer = setTimeout(() => this.wake(), Math.min(next - nowMs + 1, 2 ** 31 - 1));
  }

  private forgetLater(
    nodeId: string,
    { uid, slot, generation }: { uid: string; slot: string; generation: number },
  ): void {
    const list = this.toForget.get(nodeId) ?? [];
    list.push({ uid, slot, generation });
    this.toForget.set(nodeId, list);
    this.wake();
  }

  private recoveryEnded(instance: InstanceRecord, outcome: 'succeeded' | 'failed'): void {
    const ended = endRecovery(
      this.state.recoveries,
      instanceKey(instance),
      outcome,
      instance.node,
      new Date().toISOString(),
    );
    if (ended) this.state.saveRecoveries();
  }

  private emit(
    type: EventType,
    workload: WorkloadRecord,
    instance: InstanceRecord | null,
    more: { node?: string; data?: Record<string, unknown> | undefined },
  ): void {
    this.state.emit(
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
}

const FRESH = { attempts: 0, triedNodes: [], retryAtMs: 0, preferredNode: null } satisfies Partial<InstanceRecord>;

/** Why nothing is placed on a node now; null when it takes placements. */
export function closedReason(state: State, node: NodeRecord): string | null {
  const runtime = state.runtimeOf(node.id);
  if (node.status !== 'healthy') return `is ${node.status}`;
  if (node.drain !== null) return `is ${node.drain.state}`;
  if (node.cordoned) return 'is cordoned';
  if (runtime.leaving) return 'its agent is stopping';
  if (!runtime.connected) return 'is not connected';
  if (runtime.stale.size > 0) return 'still stops stale copies';
  return null;
}

function newInstance(workload: WorkloadRecord, slot: string): InstanceRecord {
  return {
    uid: workload.uid,
    slot,
    id: `${workload.spec.id}.${slot}`,
    generation: workload.generationFloor,
    run: 0,
    rev: -1,
    revision: workload.revision,
    status: 'pending',
    statusReason: null,
    node: null,
    pid: null,
    startedAt: null,
    exit: null,
    attempts: 0,
    reserved: { cpuMillis: 0, memoryBytes: 0 },
    replacing: null,
    surplus: false,
    retryAtMs: 0,
    triedNodes: [],
    preferredNode: null,
    placements: [],
  };
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

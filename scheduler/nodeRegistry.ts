/**
 * The nodes: their records, their links, and what users do with them (register, cordon, drain, forget). Turns what the
 * links hear into changes of state and work for the control loop. Over 400 lines: what users do and what links hear change the
 * same records, and each is a few lines.
 */
import { performance } from 'node:perf_hooks';
import type { Logger } from 'pino';
import type { AgentStatus, HeartbeatMessage, HelloMessage } from '../contract/agentApi';
import { MorchError } from '../contract/errors';
import type { EventType } from '../contract/events';
import type { HealthCheck } from '../contract/health';
import type { NodeCertificate, RegisterNode } from '../contract/node';
import type { NodeStatus } from '../contract/states';
import type { WorkloadOrigin } from '../contract/workload';
import { Admission, type NodeAccess } from './access/admission';
import type { Caller } from './access/guard';
import { type AgentAddress, AgentClient, isSameAddress } from './agentClient';
import type { BlackBox } from './blackBox/blackBox';
import { Brake } from './brake';
import type { ControlLoop } from './controlLoop';
import { type HealthPolicy, startWithinMs } from './core/healthPolicy';
import { type NodeRecord, originOf, type WorkloadRecord } from './core/model';
import { flapsAfterLoss, quarantineOf } from './core/quarantine';
import { forgetDrain } from './drain';
import { Inbox } from './inbox';
import type { Journal } from './journal';
import { Lane } from './lane';
import { type LinkListener, type LinkShares, NodeLink } from './nodeLink';
import { Rebuild } from './rebuild';
import { recordVerdict } from './recoveryLog';
import type { State } from './state';
import { steadyNowMs } from './steadyClock';
import { Succession } from './succession';
import type { ProbeResult } from './wires/probe';
import { probeOnce, type Wires } from './wires/wires';

/** How long a registration waits for the new node's inventory before it answers. */
const JOIN_WAIT_MS = 2_000;
/** How often a node's last contact is written down while nothing else about it changes. */
const CONTACT_SAVED_MS = 60_000;
/** Those of so long are written together: of thousands of nodes some are due all the time. */
const CONTACTS_TOGETHER_MS = 1_000;
/** Links begun in one turn at the start. */
const LINKED_AT_ONCE = 32;

export class NodeRegistry {
  private readonly links = new Map<string, NodeLink>();
  /** Nodes by what proves an agent to be theirs. */
  private readonly idsByKey = new Map<string, string>();
  private closed = false;
  private readonly clients = new Map<string, AgentClient>();
  private readonly healthyWaiters = new Map<string, Set<() => void>>();
  private loop: ControlLoop | null = null;
  private readonly brake: Brake;
  readonly rebuild: Rebuild;
  private readonly succession: Succession;
  readonly admission: Admission;
  private journal: Journal | null = null;
  private readonly quarantineTimers = new Map<string, NodeJS.Timeout>();
  private lastSession = 0;
  private readonly shares: LinkShares = {
    reports: new Inbox('common'),
    judgements: new Lane('links'),
  };
  private savingContacts: NodeJS.Timeout | null = null;
  private lastTime = { ms: 0, text: new Date(0).toISOString() };

  constructor(
    private readonly state: State,
    private readonly policy: HealthPolicy,
    /** The longest lease that an agent may hold from an earlier term. */
    private readonly leaseMs: number,
    private readonly blackBox: Pick<BlackBox, 'heardTails' | 'heardUsage' | 'forgetNode'>,
    access: NodeAccess,
    private readonly wires: Wires,
    private readonly log: Logger,
  ) {
    this.admission = new Admission(access, state.nodes);
    this.brake = new Brake(state, policy, () => this.loop?.wake(), log);
    this.rebuild = new Rebuild(
      state,
      {
        askKept: (id) => this.clientOf(this.state.nodes.get(id)!).kept(state.term, policy.probeTimeoutMs),
        takeIn: (id, report) => this.loop!.takeIn(id, report),
        onEnded: () => this.reconnectAll(),
        onFencesOver: () => this.loop!.wake(),
      },
      leaseMs,
      log,
    );
    const onSucceed = (epoch: number): void => {
      this.succeed(epoch).catch((error: unknown) => log.error({ err: error }, 'the term could not be raised'));
    };
    const onDeposed = (): void => {
      for (const link of this.links.values()) link.release();
    };
    this.succession = new Succession(leaseMs, { term: state.term, onDeposed, onSucceed }, log);
  }

  /** @param loop is made with this registry and given to it afterwards, like the journal */
  start(loop: ControlLoop, journal: Journal): void {
    this.loop = loop;
    this.journal = journal;
    this.wires.watch(this.policy.stallMs, () => {
      for (const link of this.links.values()) link.noteStall();
    });
    const leaseEndsAtMs = performance.now() + this.leaseMs;
    for (const node of this.state.nodes.values()) {
      this.idsByKey.set(node.nodeKey, node.id);
      // It counts as renewed now.
      this.state.runtimeOf(node.id).leaseEndsAtMs = leaseEndsAtMs;
      // Nothing has been heard in this term yet; a node that was lost stays so until it is heard.
      if (node.status !== 'lost' && node.status !== 'suspect')
        this.state.setNodeStatus(node, 'suspect', 'not heard since the scheduler started');
    }
    this.linkNext(this.state.nodes.values());
  }

  /** Some at a time: whoever waits for an answer is not to wait for thousands of connections. */
  private linkNext(nodes: IterableIterator<NodeRecord>): void {
    if (this.closed) return;
    for (let count = 0; count < LINKED_AT_ONCE; count++) {
      const next = nodes.next();
      if (next.done === true) return;
      if (!this.links.has(next.value.id)) this.link(next.value);
    }
    setImmediate(() => this.linkNext(nodes));
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const link of this.links.values()) link.close();
    for (const timer of this.quarantineTimers.values()) clearTimeout(timer);
    if (this.savingContacts !== null) clearTimeout(this.savingContacts);
    this.brake.close();
    this.rebuild.close();
    await Promise.all([this.wires.close(), ...[...this.clients.values()].map((client) => client.close())]);
  }

  senderOf(nodeId: string): AgentClient | null {
    const node = this.state.nodes.get(nodeId);
    return node === undefined || node.status === 'lost' ? null : this.clientOf(node);
  }

  /** With half of the time left that it may execute starts in: they have to get there. */
  isAcknowledged(nodeId: string): boolean {
    const acknowledgedAtMs = this.state.runtimeOf(nodeId).leaseEndsAtMs - this.policy.leaseMs;
    return performance.now() - acknowledgedAtMs < startWithinMs(this.policy) / 2;
  }

  clientOf(node: NodeRecord): AgentClient {
    let client = this.clients.get(node.id);
    const address = this.addressOf(node);
    if (client === undefined || !isSameAddress(client.address, address)) {
      void client?.close();
      client = new AgentClient(address);
      this.clients.set(node.id, client);
    }
    return client;
  }

  addressOf(node: NodeRecord): AgentAddress {
    return this.admission.addressOf(node);
  }

  /** It was changed, durably: agents that run some of it keep what it is now. */
  tellWorkload(workload: WorkloadRecord): void {
    const nodes = new Set([...this.state.instancesOf(workload).values()].map(({ node }) => node));
    for (const node of nodes) {
      if (node !== null)
        this.links.get(node)?.tellWorkloads([{ uid: workload.uid, workload: this.originOf(workload) }]);
    }
  }

  /** Of those that were never changed the agent has all there is from their starts. */
  private changedWorkloadsOn(nodeId: string): { uid: string; workload: WorkloadOrigin }[] {
    const uids = new Set([...this.state.instancesOn(nodeId)].map(({ uid }) => uid));
    return [...uids].flatMap((uid) => {
      const workload = this.state.workloads.get(uid);
      return workload === undefined || workload.version === 1 ? [] : [{ uid, workload: this.originOf(workload) }];
    });
  }

  private originOf(workload: WorkloadRecord): WorkloadOrigin {
    return originOf(workload, this.state.proofs.testimonyOf(workload));
  }

  /** Whether a scheduler of this cluster has told the agent whom it obeys. */
  private provesTerm({ standing, epoch, term }: Pick<AgentStatus, 'standing' | 'epoch' | 'term'>): boolean {
    if (this.state.believesAgents) return true;
    const { meta, proofs } = this.state;
    return standing?.epoch === epoch && standing.term === term && proofs.holds(meta.clusterId, standing);
  }

  forget(nodeId: string, instances: { uid: string; slot: string; generation: number }[]): void {
    this.links.get(nodeId)?.forget(instances);
  }

  // ---- what users and agents ask for

  /** @throws MorchError NODE_UNREACHABLE, WRONG_CLUSTER, NODE_EXISTS, FORBIDDEN, UNAUTHENTICATED; nothing is stored then */
  async register(input: RegisterNode, caller: Caller): Promise<{ created: boolean; node: NodeRecord }> {
    const where = `${input.host}:${input.port}`;
    const { agentToken: token } = input;
    const claim = { where, agentToken: token };
    // Whom it may not speak for is said before anything at that address is asked.
    if (input.name !== undefined) this.admission.demand({ ...claim, id: input.name }, caller);
    const address = this.admission.addressOfNewcomer(input);
    const probe = await probeOnce(this.wires, address, this.policy.probeTimeoutMs);
    if (probe.kind !== 'answered') {
      const refusal = refusalOfProbe(probe, where, token !== undefined);
      this.log.warn(
        { where, caller: caller.name, detail: refusal.message },
        'no agent answers where one is registered',
      );
      throw caller.role === 'admin' ? refusal : refusalForNodes(where, token !== undefined);
    }
    const { status } = probe;
    const id = input.name ?? status.name;
    return this.admission.admit({ ...claim, id }, caller, () => this.enter(id, input, status, caller));
  }

  /** As `Admission.issueCertificate`. Whoever is connected as the node until then has to show the new one. */
  async issueCertificate(id: string, request: string, caller: Caller, where: string): Promise<NodeCertificate> {
    const issued = await this.admission.issueCertificate(id, request, caller, where);
    if (caller.kind !== 'node') this.links.get(id)?.release();
    return issued;
  }

  private async enter(
    id: string,
    input: RegisterNode,
    status: AgentStatus,
    caller: Caller,
  ): Promise<{ created: boolean; node: NodeRecord }> {
    const where = `${input.host}:${input.port}`;
    if (status.clusterId !== null && status.clusterId !== this.state.meta.clusterId) {
      // A scheduler that commands it now is alive: whoever registers it here has the wrong address.
      if (this.takesOver && !status.hasSession) await this.takeOver(status.clusterId, status.epoch);
    }
    if (status.clusterId !== null && status.clusterId !== this.state.meta.clusterId) {
      throw new MorchError(
        'WRONG_CLUSTER',
        `The agent at ${where} belongs to another cluster (${status.clusterId}). Start it anew with --scheduler and this scheduler's address to move it here.`,
      );
    }
    if (this.rebuild.isOn && status.epoch > this.state.meta.epoch && !status.hasSession && this.provesTerm(status))
      await this.succeed(status.epoch);
    const existing = this.state.nodes.get(id);
    this.assertNameFree(id, existing, status, where, caller);
    if (existing === undefined) {
      const node = this.join(id, input, status);
      await this.untilHealthy(node);
      return { created: true, node };
    }
    this.rejoin(existing, input, status);
    if (existing.status !== 'healthy') await this.untilHealthy(existing);
    return { created: false, node: existing };
  }

  /** No node has ever joined: the cluster of the first that belongs to one is this scheduler's to go on with. */
  get takesOver(): boolean {
    return this.state.meta.joined !== true;
  }

  /** The epoch of the scheduler that commands in this one's place; null: none does. */
  get deposedBy(): number | null {
    return this.succession.deposedBy;
  }

  private async takeOver(clusterId: string, epoch: number): Promise<void> {
    this.log.warn(
      { clusterId },
      'an agent of another cluster has come to a scheduler without records: it goes on with that cluster',
    );
    const { meta } = this.state;
    meta.clusterId = clusterId;
    meta.joined = true;
    // What they have was signed with a key that is lost.
    meta.unproven = true;
    this.rebuild.begin('empty');
    await this.succeed(epoch);
  }

  /** Goes on in a term beyond that epoch, of which the records here know nothing. */
  private async succeed(epoch: number): Promise<void> {
    const { meta } = this.state;
    meta.epoch = Math.max(meta.epoch, epoch) + 1;
    this.rebuild.begin('restored');
    this.state.saveMeta();
    await this.journal!.commit();
    this.state.publishTerm();
    this.reconnectAll();
  }

  /** What it has told is not known any more. */
  relearn(nodeId: string): void {
    this.links.get(nodeId)?.reconnect();
  }

  private reconnectAll(): void {
    for (const link of this.links.values()) link.reconnect();
  }

  private assertNameFree(
    id: string,
    existing: NodeRecord | undefined,
    status: AgentStatus,
    where: string,
    caller: Caller,
  ): void {
    // An admin knows better than half of the signs of life.
    const isFree =
      existing === undefined ||
      existing.status === 'lost' ||
      (existing.status === 'degraded' && caller.role === 'admin');
    if (!isFree && existing.nodeKey !== status.nodeKey) {
      throw new MorchError(
        'NODE_EXISTS',
        `Another agent (at ${existing.host}:${existing.port}) is node ${id}. Give the agent at ${where} a name of its own with --name.`,
      );
    }
    const known = this.idsByKey.get(status.nodeKey);
    if (known === undefined || known === id) return;
    throw new MorchError(
      'NODE_EXISTS',
      `The agent at ${where} is node ${known} already. To rename it: morch drain ${known}, stop it, forget the node, then register it as ${id}.`,
    );
  }

  private join(id: string, input: RegisterNode, status: AgentStatus): NodeRecord {
    const node: NodeRecord = {
      id,
      host: input.host,
      port: input.port,
      nodeKey: status.nodeKey,
      agentLabels: status.labels,
      givenLabels: input.labels ?? {},
      capacity: status.capacity,
      features: status.features,
      version: status.version,
      incarnation: status.incarnation,
      cordoned: false,
      drain: null,
      status: 'suspect',
      statusReason: 'joining',
      lastContactAt: new Date().toISOString(),
    };
    this.admission.note(node, input);
    this.state.addNode(node);
    this.idsByKey.set(node.nodeKey, id);
    this.state.meta.joined = true;
    this.state.saveMeta();
    this.emit('node.joined', node, { host: node.host, port: node.port });
    this.link(node);
    this.changed();
    return node;
  }

  private rejoin(node: NodeRecord, input: RegisterNode, status: AgentStatus): void {
    node.host = input.host;
    node.port = input.port;
    const isOther = node.nodeKey !== status.nodeKey;
    if (isOther) {
      this.idsByKey.delete(node.nodeKey);
      node.nodeKey = status.nodeKey;
      this.idsByKey.set(node.nodeKey, node.id);
      this.loop!.nodeGone(node, 'another agent is its node now');
    }
    this.admission.note(node, input);
    node.agentLabels = status.labels;
    if (input.labels !== undefined) node.givenLabels = input.labels;
    node.capacity = status.capacity;
    node.features = status.features;
    node.version = status.version;
    this.state.saveNode(node);
    const link = this.links.get(node.id);
    link?.moveTo(this.addressOf(node));
    // The agent before it may still be connected, from the same address: its lease is not to be renewed any more.
    if (isOther) link?.reconnect();
    link?.nudge();
    this.changed();
  }

  private untilHealthy(node: NodeRecord): Promise<void> {
    return new Promise((resolve) => {
      const waiters = this.healthyWaiters.get(node.id) ?? new Set();
      this.healthyWaiters.set(node.id, waiters);
      const done = (): void => {
        clearTimeout(timer);
        waiters.delete(done);
        resolve();
      };
      const timer = setTimeout(done, JOIN_WAIT_MS);
      waiters.add(done);
    });
  }

  cordon(node: NodeRecord): void {
    if (node.cordoned) return;
    node.cordoned = true;
    this.state.saveNode(node);
    this.emit('node.cordoned', node);
    this.changed();
  }

  /** Ends a cordon, a drain, and a quarantine, also of a node that is away. */
  uncordon(node: NodeRecord): void {
    if (!node.cordoned && node.drain === null && this.quarantineOf(node) === null) return;
    node.cordoned = false;
    forgetDrain(this.state, node);
    delete node.flaps;
    if (node.status === 'quarantined') this.judged(node, 'healthy', null, { silentMs: 0, suspectForMs: null });
    this.state.saveNode(node);
    this.emit('node.uncordoned', node);
    this.changed();
  }

  /** Repeating it sets a new deadline. */
  drain(node: NodeRecord, deadlineMs: number): void {
    const begins = node.drain === null;
    node.drain = { state: 'draining', deadlineAtMs: steadyNowMs() + deadlineMs };
    this.state.saveNode(node);
    if (begins) this.emit('node.draining', node, { deadlineMs });
    this.changed();
  }

  forgetNode(node: NodeRecord): void {
    this.links.get(node.id)?.close();
    this.links.delete(node.id);
    this.idsByKey.delete(node.nodeKey);
    void this.clients.get(node.id)?.close();
    this.clients.delete(node.id);
    this.emit('node.forgotten', node);
    this.brake.onHeard(node);
    this.loop!.nodeGone(node, 'its node was forgotten');
    this.blackBox.forgetNode(node.id);
    this.admission.forget(node.id);
    this.state.removeNode(node);
    this.changed();
  }

  /** @returns whether the brake was on */
  releaseBrake(): boolean {
    return this.brake.release('operator');
  }

  async check(): Promise<HealthCheck> {
    const results = await Promise.all(
      [...this.links].map(async ([node, link]) => {
        const result = await link.probeNow();
        return {
          node,
          ok: result.kind === 'answered',
          latencyMs: result.latencyMs,
          ...(result.kind === 'answered' ? {} : { error: result.error }),
        };
      }),
    );
    return { checkedAt: new Date().toISOString(), results };
  }

  // ---- what the links hear

  private link(node: NodeRecord): void {
    const runtime = this.state.runtimeOf(node.id);
    let contactSavedAtMs = 0;
    const listener: LinkListener = {
      onHello: (hello, connectStartedAtMs) => this.heardInventory(node, hello, connectStartedAtMs),
      onSession: () => this.links.get(node.id)?.tellWorkloads(this.changedWorkloadsOn(node.id)),
      onInstance: (report) => this.loop!.takeIn(node.id, report),
      onHeartbeat: (message, usage) => {
        this.heardHeartbeat(node, message);
        if (usage === null) return;
        this.state.usage.heard(node.id, usage);
        this.blackBox.heardUsage(node.id, usage);
      },
      onTails: (message) => this.blackBox.heardTails(node.id, message),
      onLeaving: () => {
        runtime.leaving = true;
        this.state.changedNodes.add(node.id);
        this.log.info({ node: node.id }, 'the agent is stopping');
        this.changed();
      },
      onDisconnected: () => {
        runtime.session = null;
        this.state.changedNodes.add(node.id);
      },
      mayCommand: (status) => this.succession.heard(node.id, status, this.provesTerm(status)),
      onContact: () => {
        const nowMs = Date.now();
        node.lastContactAt = this.timeOf(nowMs);
        if (nowMs - contactSavedAtMs < CONTACT_SAVED_MS) return;
        contactSavedAtMs = nowMs;
        this.state.saveNode(node);
        this.savingContacts ??= setTimeout(() => {
          this.savingContacts = null;
          this.loop!.wake();
        }, CONTACTS_TOGETHER_MS).unref();
      },
      onProbe: (result) => {
        runtime.consecutiveFailures = result.kind === 'answered' ? 0 : runtime.consecutiveFailures + 1;
      },
      onStatus: (status, reason, facts) => this.judged(node, status, reason, facts),
    };
    const link = new NodeLink(
      node,
      this.addressOf(node),
      this.state.term,
      this.policy,
      listener,
      this.wires,
      this.shares,
      this.log,
    );
    this.links.set(node.id, link);
    link.start();
  }

  /** Many are heard in the same millisecond. */
  private timeOf(ms: number): string {
    if (this.lastTime.ms !== ms) this.lastTime = { ms, text: new Date(ms).toISOString() };
    return this.lastTime.text;
  }

  /** @returns the session that begins with it */
  private heardInventory(node: NodeRecord, hello: HelloMessage, connectStartedAtMs: number): number {
    const runtime = this.state.runtimeOf(node.id);
    if (node.status === 'lost') {
      const sameStart = hello.incarnation === node.incarnation;
      if (sameStart) this.state.recoveries.falseVerdicts += 1;
      this.state.saveRecoveries();
      this.emit('node.returned', node, { sameStart });
      this.brake.onHeard(node);
    }
    node.incarnation = hello.incarnation;
    node.agentLabels = hello.labels;
    node.capacity = hello.capacity;
    node.features = hello.features;
    node.version = hello.version;
    this.lastSession += 1;
    runtime.session = this.lastSession;
    runtime.leaving = false;
    this.renewLease(node);
    this.state.saveNode(node);
    const told = this.provenMark(hello);
    if (this.state.isBehind(told)) {
      this.log.error(
        { node: node.id, told },
        'the agent was told of more than the store has: it has lost its latest records',
      );
      this.state.skipMarks();
      this.rebuild.begin('restored');
      // What others have told already was judged by what is outdated.
      setImmediate(() => this.reconnectAll());
    }
    if (this.rebuild.isOn) this.rebuild.takeInventory(node.id, hello);
    else this.loop!.takeInventory(node.id, hello.instances, connectStartedAtMs);
    this.changed();
    return this.lastSession;
  }

  private provenMark({ mark, furthest }: HelloMessage): number {
    const { meta, proofs, believesAgents } = this.state;
    if (believesAgents) return mark;
    return furthest !== null && proofs.holds(meta.clusterId, furthest) ? furthest.mark : 0;
  }

  /** From the receipt of what is acknowledged on: no sooner than the agent counts from its sending. */
  private renewLease(node: NodeRecord): void {
    this.state.runtimeOf(node.id).leaseEndsAtMs = performance.now() + this.policy.leaseMs;
  }

  private heardHeartbeat(node: NodeRecord, message: HeartbeatMessage): void {
    const runtime = this.state.runtimeOf(node.id);
    const { cpuPercent, memoryPercent, loadAverage } = message.system;
    this.renewLease(node);
    runtime.usage = { cpuPercent, memoryPercent, loadAverage };
    runtime.usageAtMs = Date.now();
    runtime.unseenCpuMillis = 0;
    this.state.changedNodes.add(node.id);
  }

  private judged(
    node: NodeRecord,
    judgedStatus: NodeStatus,
    judgedReason: string | null,
    facts: { silentMs: number; suspectForMs: number | null },
  ): void {
    const quarantine = judgedStatus === 'healthy' ? this.quarantineOf(node) : null;
    const status = quarantine === null ? judgedStatus : 'quarantined';
    const reason = quarantine?.reason ?? judgedReason;
    if (node.status === status) return;
    this.state.setNodeStatus(node, status, reason);
    this.watchQuarantine(node, quarantine?.leftMs ?? null);
    this.log.info({ node: node.id, status, reason }, 'node status');
    const nowMs = Date.now();
    if (status === 'lost') {
      const runtime = this.state.runtimeOf(node.id);
      runtime.session = null;
      runtime.stale.clear();
      const verdictAt = new Date(nowMs).toISOString();
      recordVerdict(this.state.recoveries, {
        node: node.id,
        at: verdictAt,
        silentMs: facts.silentMs,
        reason: reason ?? 'lost',
      });
      this.emit('node.lost', node, { silentMs: facts.silentMs });
      node.flaps = flapsAfterLoss(node.flaps, steadyNowMs(), this.policy);
      this.brake.onLost(node);
      this.loop!.nodeLost(node, {
        lastContactAt: new Date(nowMs - facts.silentMs).toISOString(),
        suspectAt: facts.suspectForMs === null ? null : new Date(nowMs - facts.suspectForMs).toISOString(),
        verdictAt,
      });
    } else {
      this.emit(`node.${status}` as EventType, node);
      if (judgedStatus === 'healthy') for (const done of this.healthyWaiters.get(node.id) ?? []) done();
    }
    this.changed();
  }

  private quarantineOf(node: NodeRecord): ReturnType<typeof quarantineOf> {
    return quarantineOf(node, steadyNowMs(), this.policy);
  }

  /** Healthy again when its quarantine is over. */
  private watchQuarantine(node: NodeRecord, leftMs: number | null): void {
    clearTimeout(this.quarantineTimers.get(node.id));
    this.quarantineTimers.delete(node.id);
    if (leftMs === null) return;
    const end = (): void => {
      if (node.status !== 'quarantined') return;
      if (node.flaps !== undefined) node.flaps.untilMs = null;
      this.judged(node, 'healthy', null, { silentMs: 0, suspectForMs: null });
    };
    this.quarantineTimers.set(node.id, setTimeout(end, Math.ceil(leftMs) + 1));
  }

  private changed(): void {
    this.loop!.visitDaemons();
    this.loop!.wake();
  }

  private emit(type: EventType, node: NodeRecord, data: Record<string, unknown> = {}): void {
    this.state.emit({ type, node: node.id, data: { reason: node.statusReason, ...data } }, new Date().toISOString());
  }
}

/** Why no agent could be found there, in full. */
function refusalOfProbe(
  probe: Exclude<ProbeResult, { kind: 'answered' }>,
  where: string,
  hasToken: boolean,
): MorchError {
  if (probe.kind === 'strange' && probe.needsToken) {
    const lack = hasToken ? 'does not take that agentToken: give the one' : 'asks for a token: give it as agentToken';
    const detail = `The agent at ${where} ${lack}, from agent.token in its data directory.`;
    return new MorchError('NODE_UNREACHABLE', detail);
  }
  const detail =
    probe.kind === 'strange'
      ? `What listens at ${where} is not an agent: it ${probe.error}. Check host and port.`
      : `The agent at ${where} does not answer: ${probe.error}. Is it running there, and reachable from the scheduler? (agent: --host, --port, --advertise)`;
  return new MorchError('NODE_UNREACHABLE', detail, { system: probe.kind === 'refused' ? probe.system : undefined });
}

/** The same whatever was found there: a join token is no way to look about in the scheduler's network. */
function refusalForNodes(where: string, hasToken: boolean): MorchError {
  const how = hasToken ? 'with that agentToken' : 'without an agentToken';
  const detail = `No agent answers the scheduler at ${where}, asked ${how}. Is it running there, with that token in its agent.token, and reachable from the scheduler (agent: --host, --port, --advertise)? The scheduler's log says what was found.`;
  return new MorchError('NODE_UNREACHABLE', detail);
}

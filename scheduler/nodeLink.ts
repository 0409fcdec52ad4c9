/**
 * The scheduler's relation to one node: the event connection it holds open, the probes beside it, and the one timer
 * that judges by core/health. What it hears goes to a listener; it changes no state. Over 400 lines: connection, probes and
 * judgement share the health of one node, and each of them may end the others.
 */
import { performance } from 'node:perf_hooks';
import type { Logger } from 'pino';
import {
  type AgentMessage,
  type AgentStatus,
  agentMessageSchema,
  type ForgetMessage,
  type HeartbeatMessage,
  type HelloMessage,
  type InstanceReport,
  type SchedulerMessage,
  type TailsMessage,
  type WorkloadsMessage,
} from '../contract/agentApi';
import type { NodeStatus } from '../contract/states';
import { type AgentAddress, isSameAddress } from './agentClient';
import {
  applyAnswer,
  applyDisconnect,
  applyHeartbeat,
  applyProbeStart,
  applyRefusal,
  applyStall,
  applySuspicion,
  applyTimeout,
  decideNode,
  initialHealth,
  isDecisive,
  type NodeHealth,
} from './core/health';
import { type HealthPolicy, startWithinMs } from './core/healthPolicy';
import { isHeartbeat, withoutUsage } from './heartbeatText';
import type { Inbox } from './inbox';
import type { Lane } from './lane';
import type { MayCommand } from './succession';
import type { ProbeResult } from './wires/probe';
import { probeOnce, type Wire, type WireProber, type Wires } from './wires/wires';

/** Of all nodes together: when many are silent at once, packets that get lost are not what it is. */
const COMPANIONS_AT_MOST = 256;
/** Under way at present. */
let companions = 0;
const STALL_TOLD_EVERY_MS = 100;
let stallToldAtMs = Number.NEGATIVE_INFINITY;
/** Begins what is told of one instance, and of several. */
const REPORT = '{"type":"instance';
/** Whom an agent obeys that is commanded by an earlier scheduler, which may be gone already. */
const ASK_AGAIN_MS = 250;

export interface LinkListener {
  /**
   * A connection is open and this is the inventory; `connectStartedAtMs` (monotonic) is before anything in it was read.
   * @returns the number of the session that begins with it
   */
  onHello(hello: HelloMessage, connectStartedAtMs: number): number;
  /** The agent has been told that it began. */
  onSession(): void;
  onInstance(report: InstanceReport): void;
  /** @param usage JSON of what instances use, as it came: nobody has looked at it */
  onHeartbeat(message: HeartbeatMessage, usage: string | null): void;
  onTails(message: TailsMessage): void;
  onLeaving(): void;
  onDisconnected(): void;
  /** The agent has told whom it obeys. */
  mayCommand(status: AgentStatus): MayCommand;
  /** Any sign of life. */
  onContact(): void;
  onProbe(result: ProbeResult): void;
  /** `lost` is the verdict. It is taken back by an inventory only. */
  onStatus(status: NodeStatus, reason: string | null, facts: { silentMs: number; suspectForMs: number | null }): void;
}

/** What all links have of the event loop, in which thousands may hear of something, or have to judge, at the same moment. */
export interface LinkShares {
  reports: Inbox;
  judgements: Lane;
}

export class NodeLink {
  private readonly health: NodeHealth;
  private readonly prober: WireProber;
  private wire: Wire | null = null;
  private timer: NodeJS.Timeout | null = null;
  private closed = false;
  /** When the present connection was begun, or last said something. */
  private heardAtMs = 0;
  /** It has begun on the present connection. */
  private hasSession = false;
  private status: NodeStatus;
  /** It is about to be. */
  private isToBeJudged = false;

  /** @param node its id, and the key that proves an agent to be it, are read as they are when needed */
  constructor(
    private readonly node: {
      readonly id: string;
      readonly nodeKey: string;
      readonly status: NodeStatus;
    },
    private address: AgentAddress,
    /** Read as it is whenever a connection is begun. */
    private readonly identity: {
      readonly clusterId: string;
      readonly epoch: number;
      readonly id: string;
      readonly mark: number;
      /** Of all these. */
      readonly proof: string;
    },
    private readonly policy: HealthPolicy,
    private readonly listener: LinkListener,
    /** Of all nodes, like what follows. */
    private readonly wires: Wires,
    private readonly shares: LinkShares,
    private readonly log: Logger,
  ) {
    this.prober = wires.prober();
    this.health = initialHealth(performance.now());
    this.status = node.status;
  }

  /** It is asked first whom it obeys. */
  start(): void {
    this.judge();
  }

  /** The agent is reached elsewhere now. */
  moveTo(address: AgentAddress): void {
    if (isSameAddress(address, this.address)) return;
    this.address = address;
    this.disconnect();
  }

  /** Begins anew, with what this scheduler is by now: another session, another inventory. */
  reconnect(): void {
    if (this.wire !== null) this.disconnect();
    this.connect();
  }

  /** Another scheduler commands: nothing more is said to the agent until it may be commanded again. */
  release(): void {
    if (this.wire !== null) this.disconnect();
  }

  /** Called when the agent has made itself heard by other ways: look at it now. */
  nudge(): void {
    this.health.lastProbeStartMs = Number.NEGATIVE_INFINITY;
    this.judge();
  }

  /** Nothing that was missed until now counts. */
  noteStall(): void {
    this.stalled(performance.now());
    this.judge();
  }

  /** A probe at the user's request; counts like any other. */
  async probeNow(): Promise<ProbeResult> {
    return this.probe(false);
  }

  /** Nothing without a session: all is told when it begins. */
  tellWorkloads(workloads: WorkloadsMessage['workloads']): void {
    if (this.hasSession && workloads.length > 0) this.send({ type: 'workloads', workloads });
  }

  forget(instances: ForgetMessage['instances']): void {
    if (instances.length > 0) this.send({ type: 'forget', instances });
  }

  close(): void {
    this.closed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.wire?.end();
    this.wire = null;
    this.prober.close();
  }

  private send(message: SchedulerMessage): void {
    this.wire?.send(JSON.stringify(message));
  }

  private connect(): void {
    if (this.closed || this.wire !== null) return;
    const { clusterId, epoch, id, mark, proof } = this.identity;
    const query = new URLSearchParams({ clusterId, epoch: String(epoch), term: id, mark: String(mark), proof });
    const connectStartedAtMs = performance.now();
    this.hasSession = false;
    this.heardAtMs = connectStartedAtMs;
    const log = { node: this.node.id };
    this.wire = this.wires.open(this.address, `/events?${query}`, this.policy.probeTimeoutMs, {
      onMessage: (text) => {
        try {
          this.receive(text, connectStartedAtMs);
        } catch (error) {
          this.log.error({ ...log, err: error }, 'a message of the agent could not be taken in');
        }
      },
      onError: (error) => this.log.debug({ ...log, error }, 'event connection failed'),
      onClose: (code, reason) => {
        if (code >= 4_000) this.log.error({ ...log, code, reason }, 'the agent refuses this scheduler');
        this.disconnect();
      },
    });
  }

  private disconnect(): void {
    this.shares.reports.flush(this.takeReports);
    this.wire?.end();
    this.wire = null;
    applyDisconnect(this.health, performance.now());
    this.listener.onDisconnected();
    this.judge();
  }

  private receive(text: string, connectStartedAtMs: number): void {
    if (text.startsWith(REPORT) && this.hasSession) {
      this.noteContact();
      this.shares.reports.put(this.takeReports, text);
      this.judgeContact();
      return;
    }
    // What was told before comes first.
    if (!isHeartbeat(text)) this.shares.reports.flush(this.takeReports);
    const { rest, usage } = withoutUsage(text);
    const message = this.read(rest);
    if (message === null) return;
    if (message.type === 'hello' && message.nodeKey !== this.node.nodeKey) {
      this.foundStranger();
      return;
    }
    this.noteContact();
    switch (message.type) {
      case 'hello':
        if (this.status === 'lost') this.status = 'suspect';
        this.beginSession(this.listener.onHello(message, connectStartedAtMs));
        break;
      case 'heartbeat':
        this.listener.onHeartbeat(message, usage);
        // The agent's lease goes on with this: not before the inventory is in, and never after the verdict.
        if (this.hasSession && this.status !== 'lost')
          this.send({ type: 'ack', n: message.n, mark: this.identity.mark, proof: this.identity.proof });
        break;
      case 'instance':
      case 'instances':
        this.takeInstances(message);
        break;
      case 'tails':
        this.listener.onTails(message);
        break;
      case 'leaving':
        this.listener.onLeaving();
        break;
    }
    this.judgeContact();
  }

  /** @returns null: it was not understood */
  private read(text: string): AgentMessage | null {
    try {
      return agentMessageSchema.parse(JSON.parse(text));
    } catch (error) {
      this.log.error({ node: this.node.id, err: error }, 'a message of the agent was not understood');
      return null;
    }
  }

  private readonly takeReports = (text: string): void => {
    const message = this.closed ? null : this.read(text);
    if (message?.type !== 'instance' && message?.type !== 'instances') return;
    try {
      this.takeInstances(message);
    } catch (error) {
      this.log.error({ node: this.node.id, err: error }, 'a message of the agent could not be taken in');
    }
  };

  private takeInstances(message: Extract<AgentMessage, { type: 'instance' | 'instances' }>): void {
    const reports = message.type === 'instance' ? [message.instance] : message.instances;
    for (const report of reports) this.listener.onInstance(report);
  }

  private noteContact(): void {
    this.heardAtMs = performance.now();
    applyHeartbeat(this.health, this.heardAtMs);
    this.listener.onContact();
  }

  /** With a sign of life all that is due comes later: of one that is healthy, the timer that is set looks early enough. */
  private judgeContact(): void {
    if (this.status !== 'healthy') this.judge();
  }

  private beginSession(session: number): void {
    const { heartbeatMs, leaseMs } = this.policy;
    this.hasSession = true;
    this.send({
      type: 'session',
      session,
      heartbeatMs,
      leaseMs,
      startWithinMs: startWithinMs(this.policy),
      together: true,
    });
    this.listener.onSession();
  }

  /** Another agent listens at the node's address: as good as nobody. It is told so when it registers itself. */
  private foundStranger(): void {
    this.log.warn(
      { node: this.node.id, host: this.address.host, port: this.address.port },
      "another agent listens at the node's address",
    );
    applyRefusal(this.health, performance.now());
    this.disconnect();
  }

  /** The event connection is there, but nothing has come over it for too long although the agent answers. */
  private get isConnectionDead(): boolean {
    return this.wire !== null && performance.now() - this.heardAtMs >= 2 * this.policy.silentAfterMs;
  }

  /** @param overKept as the sweep does while all is well */
  private async probe(overKept = this.status === 'healthy' && this.wire !== null): Promise<ProbeResult> {
    const startedAtMs = performance.now();
    applyProbeStart(this.health, startedAtMs);
    const decisive = isDecisive(this.health, startedAtMs, this.policy);
    const endCompany = decisive ? this.accompany(startedAtMs) : () => {};
    const { probeTimeoutMs } = this.policy;
    const result = this.recognise(await this.prober.probe(this.address, probeTimeoutMs, overKept && !decisive));
    endCompany();
    if (this.closed) return result;
    const nowMs = performance.now();
    switch (result.kind) {
      case 'answered':
        applyAnswer(this.health, nowMs);
        this.listener.onContact();
        this.answered(result.status);
        break;
      case 'strange':
        // Its token was lost here, with secret.key: it lives, and registers anew when it has heard nobody for a while.
        if (result.needsToken === true && this.address.token === undefined) applyAnswer(this.health, nowMs);
        // Somebody else listens there, or the agent is broken: not what an agent answers.
        else applyRefusal(this.health, nowMs);
        break;
      case 'refused':
        applyRefusal(this.health, nowMs);
        break;
      case 'timedOut':
        if (nowMs - startedAtMs > this.policy.probeTimeoutMs + this.policy.stallMs) this.stalled(nowMs);
        applyTimeout(this.health, startedAtMs, nowMs);
        break;
    }
    this.listener.onProbe(result);
    this.judge();
    return result;
  }

  /**
   * Further probes beside one that decides, on connections of their own: TCP needs a second to notice that the first packet
   * was lost. Only their answers count.
   *
   * @returns ends it
   */
  private accompany(startedAtMs: number): () => void {
    const one = async (leftMs: number): Promise<void> => {
      companions += 1;
      const result = this.recognise(await probeOnce(this.wires, this.address, leftMs));
      companions -= 1;
      if (this.closed || result.kind !== 'answered') return;
      applyAnswer(this.health, performance.now());
      this.listener.onContact();
      this.judge();
    };
    const timer = setInterval(() => {
      const leftMs = startedAtMs + this.policy.probeTimeoutMs - performance.now();
      if (leftMs <= 0 || !isDecisive(this.health, startedAtMs, this.policy)) clearInterval(timer);
      else if (companions < COMPANIONS_AT_MOST) void one(leftMs);
    }, this.policy.silentProbeMs);
    return () => clearInterval(timer);
  }

  /** An answer of another agent, or of one that has joined another cluster, is none of the node's. */
  private recognise(result: ProbeResult): ProbeResult {
    if (result.kind !== 'answered') return result;
    const { nodeKey, clusterId } = result.status;
    const own = nodeKey === this.node.nodeKey && (clusterId === null || clusterId === this.identity.clusterId);
    return own
      ? result
      : {
          kind: 'strange',
          error: 'another agent, or one of another cluster, answers there',
          latencyMs: result.latencyMs,
        };
  }

  private answered(status: AgentStatus): void {
    const may = this.listener.mayCommand(status);
    if (this.isConnectionDead) this.disconnect();
    if (this.wire !== null) return;
    if (may === 'yes') this.connect();
    else if (may === 'later') setTimeout(() => this.nudge(), ASK_AGAIN_MS).unref();
  }

  private stalled(nowMs: number): void {
    // Every node finds out for itself.
    if (nowMs - stallToldAtMs > STALL_TOLD_EVERY_MS) {
      stallToldAtMs = nowMs;
      this.log.warn('the scheduler itself stood still; what it missed meanwhile does not count');
    }
    applyStall(this.health, nowMs, this.policy);
  }

  private judge(): void {
    if (this.closed || this.isToBeJudged) return;
    this.isToBeJudged = true;
    this.shares.judgements.put(() => {
      this.isToBeJudged = false;
      this.judgeNow();
    });
  }

  private judgeNow(): void {
    if (this.closed) return;
    if (this.timer !== null) clearTimeout(this.timer);
    const nowMs = performance.now();
    const judgement = decideNode(this.health, nowMs, this.policy, this.status === 'lost');
    const dueMs = Math.max(judgement.nextAtMs, nowMs + 1);
    this.timer = setTimeout(() => {
      const firedMs = performance.now();
      if (firedMs - dueMs > this.policy.stallMs) this.stalled(firedMs);
      this.judge();
    }, dueMs - nowMs);
    if (judgement.probe) {
      this.probe().catch((error: unknown) =>
        this.log.error({ node: this.node.id, err: error }, 'a probe could not be taken in'),
      );
    }
    if (judgement.status === this.status) return;
    this.status = judgement.status;
    // What it had told before is no word from beyond its verdict.
    if (judgement.status === 'lost') this.shares.reports.flush(this.takeReports);
    if (judgement.status === 'suspect') applySuspicion(this.health, nowMs);
    const { lastContactMs, windowStartMs, suspectSinceMs } = this.health;
    this.listener.onStatus(judgement.status, judgement.reason, {
      silentMs: Math.round(nowMs - Math.max(lastContactMs, Math.min(windowStartMs, nowMs))),
      suspectForMs: suspectSinceMs === null ? null : Math.round(nowMs - suspectSinceMs),
    });
    if (judgement.status === 'lost') {
      this.wire?.end();
      this.wire = null;
    }
  }
}

/**
 * Sends what has been decided, and is durable, to the agents: starts and stops, batched per node, repeated until
 * there is an answer. Repeating is safe: a command names its generation, and an agent answers the same one the same. Over 400 lines:
 * what is queued, sent, held back and unanswered of a node is one state.
 */
import type { Logger } from 'pino';
import type { Started, StartInstance, StopBatch } from '../contract/agentApi';
import { MorchError } from '../contract/errors';
import { pickProcess } from '../contract/workload';
import type { BatchAnswer } from './agentClient';
import { isUnwanted } from './core/intake';
import { type InstanceRecord, originOf, type WorkloadRecord } from './core/model';
import { Lane } from './lane';
import type { Secrets } from './secrets/secrets';
import { Slice } from './slice';
import type { State } from './state';

const BATCH = 256;
/** Half of what an agent takes in one request. */
const BATCH_BYTES = 4 * 1024 ** 2;
const CALLS_AT_ONCE = 4;
/** Of all nodes together; one that is not answered in time counts no more, so that nodes that hang hold up no others. */
const CALLS_IN_ALL = 256;
const CALL_COUNTS_MS = 500;
/** While many instances wait for a place, starts are held back for more of the same node: for a tenth of what all will take, */
const HELD_MS_EACH = 0.1;
/** and no longer. */
const HELD_AT_MOST_MS = 10_000;
/** Where something is among them that has run before. */
const RECOVERY_HELD_AT_MOST_MS = 3_000;
/** How often those held back are looked at, at most, and in the time that they are held at present. */
const HELD_LOOK_MS = 50;
const HELD_LOOKS = 20;
/** Of the event loop, in one turn. */
const SEND_MS = 4;
const RETRY_MS = 500;
/** Beyond the grace of what a start may have to stop first. */
const CALL_TIMEOUT_MS = 15_000;

export interface GenerationId {
  uid: string;
  slot: string;
  generation: number;
}

export interface OutboxListener {
  onStartAnswer(sent: SentStart, nodeId: string, answer: BatchAnswer<Started>): void;
  onStopAnswer(target: StopTarget, nodeId: string, answer: BatchAnswer<unknown>): void;
  /** See `forgettable`: no start of it can arrive any more. */
  onForgettable(nodeId: string, generation: GenerationId): void;
}

export interface SentStart {
  instance: InstanceRecord;
  /** As they were when it was sent. */
  generation: number;
  attemptsUsed: number;
}

export interface StopTarget extends GenerationId {
  instanceId: string;
  /** null: what it was started with. */
  graceMs: number | null;
}

interface Call<T> {
  keys: string[];
  send(): Promise<BatchAnswer<T>[]>;
  onAnswer(answer: BatchAnswer<T>, at: number): void;
  /** All of it was refused. */
  onRefusal?(): void;
  again(): void;
}

interface Sender {
  /** @param commands JSON of a `StartInstance` each */
  start(commands: readonly string[], timeoutMs: number): Promise<BatchAnswer<Started>[]>;
  stop(instances: StopBatch['instances'], timeoutMs: number): Promise<BatchAnswer<unknown>[]>;
}

export interface OutboxLinks {
  senderOf(nodeId: string): Sender | null;
  /** Its agent was acknowledged so lately that it executes starts. */
  isAcknowledged(nodeId: string): boolean;
}

/** The start has not been answered, nor has the agent told of it. */
export function awaitsStart(i: InstanceRecord): boolean {
  return i.node !== null && i.rev < 0 && (i.status === 'starting' || i.status === 'recovering');
}

class NodeQueue {
  readonly starts = new Map<string, { instance: InstanceRecord; generation: number }>();
  /** After a batch was refused as a whole: what is wrong with one must not hold up the others. */
  oneByOne = false;
  readonly stops = new Map<string, StopTarget>();
  /** Sent and not answered, or answered and to be told of on the event connection. */
  readonly sent = new Set<string>();
  /** By generation: how many starts that were sent in this session have not been answered. Each may still arrive. */
  unanswered = new Map<string, number>();
  /** What has ended, but must be known to its agent until no start of it can arrive any more. */
  readonly held = new Map<string, GenerationId>();
  calls = 0;
  /** Since when it has starts to send, and how long the first of them may wait for others. */
  startsSinceMs = 0;
  heldAtMostMs = HELD_AT_MOST_MS;
}

const generationKey = (t: GenerationId): string => `${t.uid}/${t.slot}/${t.generation}`;
/** The instance may have a later one by now. */
const sentKey = ({ instance: { uid, slot }, generation }: SentStart): string =>
  generationKey({ uid, slot, generation });

export class Outbox {
  private readonly queues = new Map<string, NodeQueue>();
  /** Nodes for which there is something to send, or to look at. */
  private readonly toFlush = new Set<string>();
  private flushing = false;
  private readonly sending = new Lane('common');
  private readonly answers = new Lane('common');
  private readonly held = new Set<string>();
  private heldTimer: NodeJS.Timeout | null = null;
  private readonly shared = new WeakMap<WorkloadRecord, { version: number; revision: number; text: string }>();
  /** Under way at present, as far as they count. */
  private calls = 0;
  private closed = false;

  constructor(
    private readonly state: State,
    private readonly links: OutboxLinks,
    private readonly secrets: Pick<Secrets, 'valuesOf'>,
    private readonly listener: OutboxListener,
    private readonly log: Logger,
  ) {}

  /** Looks at an instance and sends what it awaits, if anything. */
  offer(instance: InstanceRecord): void {
    const { node } = instance;
    if (node === null) return;
    const workload = this.state.workloads.get(instance.uid);
    if (workload === undefined) return;
    if (awaitsStart(instance)) {
      if (this.state.meta.rebuilding) return;
      const queue = this.queueOf(node);
      const key = `start ${generationKey(instance)}`;
      if (queue.sent.has(key)) return;
      if (queue.starts.size === 0) {
        queue.startsSinceMs = performance.now();
        queue.heldAtMostMs = HELD_AT_MOST_MS;
      }
      if (instance.status === 'recovering') queue.heldAtMostMs = RECOVERY_HELD_AT_MOST_MS;
      queue.starts.set(key, { instance, generation: instance.generation });
      this.flush(node);
    } else if (instance.status === 'stopping' && (isUnwanted(instance, workload) || instance.replacing !== null)) {
      const { uid, slot, generation, id: instanceId } = instance;
      this.stop(node, { uid, slot, generation, instanceId, graceMs: workload.spec.stop.graceMs });
    }
  }

  stop(nodeId: string, target: StopTarget): void {
    const queue = this.queueOf(nodeId);
    const key = `stop ${generationKey(target)}`;
    if (queue.sent.has(key)) return;
    queue.stops.set(key, target);
    this.flush(nodeId);
  }

  /** A generation has ended there: nothing is to be sent about it any more. */
  settled(nodeId: string, generation: GenerationId): void {
    this.queues.get(nodeId)?.sent.delete(`stop ${generationKey(generation)}`);
  }

  /** A new session: whatever is not settled has to be said again, and what was sent before is refused when it arrives. */
  restart(nodeId: string): void {
    const queue = this.queues.get(nodeId);
    if (queue === undefined) return;
    queue.sent.clear();
    queue.unanswered = new Map();
    queue.held.clear();
  }

  /**
   * Of generations that have ended there, those of which no start can arrive any more; the others are told of once that is
   * so, or come again with the next inventory. An agent that had forgotten one would take a late start for the first.
   */
  forgettable(nodeId: string, generations: readonly GenerationId[]): GenerationId[] {
    const queue = this.queues.get(nodeId);
    return generations.filter((generation) => {
      const key = generationKey(generation);
      if (!queue?.unanswered.has(key)) return true;
      queue.held.set(key, generation);
      return false;
    });
  }

  drop(nodeId: string): void {
    this.queues.delete(nodeId);
  }

  close(): void {
    this.closed = true;
    this.queues.clear();
    if (this.heldTimer !== null) clearTimeout(this.heldTimer);
  }

  private queueOf(nodeId: string): NodeQueue {
    let queue = this.queues.get(nodeId);
    if (queue === undefined) {
      queue = new NodeQueue();
      this.queues.set(nodeId, queue);
    }
    return queue;
  }

  private flush(nodeId: string): void {
    this.toFlush.add(nodeId);
    if (this.flushing) return;
    this.flushing = true;
    this.sending.later(() => this.flushAll());
  }

  /** As many nodes as it comes to in a turn; those whose starts are held back, or would be refused now, later. */
  private flushAll(): void {
    this.flushing = false;
    const slice = new Slice(SEND_MS);
    const nowMs = performance.now();
    const heldMs = HELD_MS_EACH * this.state.placesToCome;
    for (const nodeId of this.toFlush) {
      if (this.closed) return;
      // The next answer goes on.
      if (this.calls >= CALLS_IN_ALL) return;
      if (slice.isOver) {
        this.flush(nodeId);
        return;
      }
      this.toFlush.delete(nodeId);
      const queue = this.queues.get(nodeId);
      if (queue === undefined) continue;
      const { starts, stops, startsSinceMs, heldAtMostMs } = queue;
      const isForMore = starts.size < BATCH && nowMs - startsSinceMs < Math.min(heldMs, heldAtMostMs);
      const mayWait = stops.size === 0 && starts.size > 0;
      if (mayWait && (isForMore || !this.links.isAcknowledged(nodeId))) this.holdBack(nodeId, heldMs);
      else this.flushNode(nodeId, queue);
    }
  }

  private holdBack(nodeId: string, heldMs: number): void {
    this.held.add(nodeId);
    this.heldTimer ??= setTimeout(
      () => {
        this.heldTimer = null;
        for (const id of this.held) this.flush(id);
        this.held.clear();
      },
      Math.max(HELD_LOOK_MS, Math.min(heldMs, RECOVERY_HELD_AT_MOST_MS) / HELD_LOOKS),
    );
  }

  private flushNode(nodeId: string, queue: NodeQueue): void {
    while (!this.closed && queue.calls < CALLS_AT_ONCE) {
      const sender = this.state.runtimeOf(nodeId).session === null ? null : this.links.senderOf(nodeId);
      if (sender === null) {
        // The next inventory has everything looked at again.
        queue.starts.clear();
        queue.stops.clear();
        return;
      }
      if (queue.stops.size > 0) void this.sendStops(nodeId, queue, sender);
      else if (queue.starts.size > 0) void this.sendStarts(nodeId, queue, sender);
      else return;
    }
  }

  private async sendStarts(nodeId: string, queue: NodeQueue, sender: Sender): Promise<void> {
    const wanted: { key: string; sent: SentStart; command: string }[] = [];
    let bytes = 0;
    for (const [key, { instance, generation }] of queue.starts) {
      if (wanted.length === (queue.oneByOne ? 1 : BATCH)) break;
      const awaited = instance.node === nodeId && instance.generation === generation && awaitsStart(instance);
      const command = awaited ? this.commandOf(instance, nodeId) : null;
      if (command !== null) {
        bytes += command.length;
        if (wanted.length > 0 && bytes > BATCH_BYTES) break;
        wanted.push({ key, command, sent: { instance, generation, attemptsUsed: instance.attempts } });
      }
      queue.starts.delete(key);
    }
    if (queue.starts.size === 0) queue.oneByOne = false;
    if (wanted.length === 0) return;
    const { unanswered } = queue;
    for (const { sent } of wanted) {
      const key = sentKey(sent);
      unanswered.set(key, (unanswered.get(key) ?? 0) + 1);
    }
    const settle = (sent: SentStart) => this.startAnswered(nodeId, queue, unanswered, sent);
    await this.call<Started>(nodeId, queue, {
      keys: wanted.map(({ key }) => key),
      send: () =>
        sender.start(
          wanted.map(({ command }) => command),
          CALL_TIMEOUT_MS,
        ),
      onAnswer: (answer, at) => {
        const { key, sent } = wanted[at]!;
        queue.sent.delete(key);
        settle(sent);
        this.listener.onStartAnswer(sent, nodeId, answer);
      },
      onRefusal: () => {
        for (const { sent } of wanted) settle(sent);
      },
      again: () => {
        for (const { sent } of wanted) if (sent.instance.generation === sent.generation) this.offer(sent.instance);
      },
    });
  }

  /** @param unanswered of the session in which it was sent */
  private startAnswered(nodeId: string, queue: NodeQueue, unanswered: Map<string, number>, sent: SentStart): void {
    const key = sentKey(sent);
    const left = (unanswered.get(key) ?? 1) - 1;
    if (left > 0) {
      unanswered.set(key, left);
      return;
    }
    unanswered.delete(key);
    const held = queue.held.get(key);
    if (unanswered !== queue.unanswered || held === undefined) return;
    queue.held.delete(key);
    this.listener.onForgettable(nodeId, held);
  }

  private async sendStops(nodeId: string, queue: NodeQueue, sender: Sender): Promise<void> {
    const wanted = [...queue.stops].slice(0, BATCH);
    for (const [key] of wanted) queue.stops.delete(key);
    const { clusterId, epoch } = this.state.term;
    const session = this.state.runtimeOf(nodeId).session!;
    const commands = wanted.map(([, { instanceId, uid, generation, graceMs }]) => ({
      instanceId,
      uid,
      generation,
      clusterId,
      epoch,
      session,
      ...(graceMs === null ? {} : { graceMs }),
    }));
    await this.call<unknown>(nodeId, queue, {
      keys: wanted.map(([key]) => key),
      send: () => sender.stop(commands, CALL_TIMEOUT_MS),
      onAnswer: (answer, at) => this.listener.onStopAnswer(wanted[at]![1], nodeId, answer),
      again: () => {
        for (const [, target] of wanted) this.stop(nodeId, target);
      },
    });
  }

  private async call<T>(
    nodeId: string,
    queue: NodeQueue,
    { keys, send, onAnswer, onRefusal, again }: Call<T>,
  ): Promise<void> {
    queue.calls += 1;
    const endCount = this.countCall();
    for (const key of keys) queue.sent.add(key);
    try {
      const answers = await send().catch((error: unknown) => this.refusalOfAll<T>(keys, error));
      await this.inTurn(() => {
        for (const [at, answer] of answers.entries()) {
          try {
            onAnswer(answer, at);
          } catch (error) {
            this.log.error({ node: nodeId, err: error }, 'an answer could not be taken in');
          }
        }
      });
    } catch (error) {
      // What came of it is not known: asked again on the same node, until it answers or is lost.
      const why = error instanceof MorchError ? { reason: error.message } : { err: error };
      this.log.warn({ node: nodeId, ...why }, 'a command was not answered');
      queue.oneByOne = error instanceof MorchError && error.code !== 'NODE_UNREACHABLE';
      if (queue.oneByOne) onRefusal?.();
      for (const key of keys) queue.sent.delete(key);
      if (!this.closed) setTimeout(again, RETRY_MS).unref();
    } finally {
      queue.calls -= 1;
      endCount();
      if (queue.starts.size + queue.stops.size > 0) this.flush(nodeId);
    }
  }

  /** Hundreds may have answered at once. @param take must not throw; resolves when it is done */
  private inTurn(take: () => void): Promise<void> {
    return new Promise((resolve) => {
      this.answers.put(() => {
        take();
        resolve();
      });
    });
  }

  /** @returns ends it */
  private countCall(): () => void {
    this.calls += 1;
    let counts = true;
    const end = (): void => {
      clearTimeout(timer);
      if (!counts) return;
      counts = false;
      this.calls -= 1;
      const [next] = this.toFlush;
      if (next !== undefined) this.flush(next);
    };
    const timer = setTimeout(end, CALL_COUNTS_MS);
    return end;
  }

  /** The agent refused a call that held one command: that is the command's answer. @throws what it was given otherwise */
  private refusalOfAll<T>(keys: string[], error: unknown): BatchAnswer<T>[] {
    if (keys.length === 1 && error instanceof MorchError && error.code !== 'NODE_UNREACHABLE')
      return [{ ok: false, error }];
    throw error;
  }

  /** JSON of a `StartInstance`; null: it cannot be started now. */
  private commandOf(instance: InstanceRecord, nodeId: string): string | null {
    const workload = this.state.workloads.get(instance.uid);
    if (workload === undefined) return null;
    const secretValues = this.secrets.valuesOf(workload.spec);
    if (typeof secretValues === 'string') {
      // Its records have lost them since it was placed. A start of it may be on its way, so it stays where it is.
      if (instance.statusReason !== secretValues) this.state.updateInstance(instance, { statusReason: secretValues });
      return null;
    }
    const { clusterId, epoch } = this.state.term;
    const own: Omit<StartInstance, keyof ReturnType<Outbox['sharedOf']>> = {
      instanceId: instance.id,
      uid: instance.uid,
      generation: instance.generation,
      attemptsUsed: instance.attempts,
      node: nodeId,
      clusterId,
      epoch,
      session: this.state.runtimeOf(nodeId).session!,
      ...(workload.spec.secrets === undefined ? {} : { secretValues }),
    };
    return `${this.sharedText(workload)},${JSON.stringify(own).slice(1)}`;
  }

  /** What all its instances are told, which is most of it: open at the end. */
  private sharedText(workload: WorkloadRecord): string {
    const known = this.shared.get(workload);
    if (known?.version === workload.version && known.revision === workload.revision) return known.text;
    const { version, revision } = workload;
    const text = JSON.stringify(this.sharedOf(workload)).slice(0, -1);
    this.shared.set(workload, { version, revision, text });
    return text;
  }

  private sharedOf(workload: WorkloadRecord) {
    const { kind, restart, stop } = workload.spec;
    const origin = originOf(workload, this.state.proofs.testimonyOf(workload));
    return { kind, ...pickProcess(workload.spec), restart, stop, workload: origin };
  }
}

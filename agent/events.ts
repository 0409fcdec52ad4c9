/**
 * The WebSocket on /events: inventory first, then heartbeats and every change of an instance. A connection with a clusterId is
 * a scheduler's: it begins the session, acknowledges heartbeats, may have ended generations forgotten, and is not told what it
 * has just asked for itself; without, one only listens.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { WebSocket, WebSocketServer } from 'ws';
import {
  type AgentMessage,
  agentEventsQuerySchema,
  CLOSE_STALE_EPOCH,
  CLOSE_WRONG_CLUSTER,
  type HeartbeatMessage,
  type HelloMessage,
  type InstanceReport,
  type SchedulerMessage,
  type SessionMessage,
  schedulerMessageSchema,
  type WorkloadsMessage,
} from '../contract/agentApi';
import { MorchError, parseInput } from '../contract/errors';
import type { Guard } from './access';
import { endWithProblem } from './http/problem';
import { urlOf } from './http/server';
import type { Membership } from './membership';
import type { GenerationId } from './records';
import type { Session } from './session';

/** Until a session says otherwise. */
const HEARTBEAT_MS = 1_000;
const USAGE_EVERY_MS = 5_000;
/** A reader this far behind is cut off; it gets everything anew when it comes back. */
const BUFFERED_AT_MOST_BYTES = 8 * 1024 ** 2;
/** A peer that has answered no ping for so long is gone. */
const SILENT_MS = 15_000;
/** Heartbeats that may be waiting for their acknowledgement; older ones are not remembered. */
const UNACKNOWLEDGED_AT_MOST = 256;
/** With more than this on its way, what can wait is not told. */
const BEHIND_BYTES = 256 * 1024;
const CLOSE_TIMEOUT_MS = 1_000;
/** 10,000 forgotten generations at once. */
const MESSAGE_BYTES = 4 * 1024 ** 2;
const CLOSE_GOING_AWAY = 1001;
const CLOSE_BAD_MESSAGE = 1008;
const CLOSE_INTERNAL = 1011;

export interface EventsMeans {
  guard: Guard;
  membership: Membership;
  session: Session;
  /** The clock of leases. */
  nowMs(): number;
  hello(): HelloMessage;
  heartbeat(n: number, withUsage: boolean): HeartbeatMessage;
  forget(ids: GenerationId[]): Promise<void>;
  noteWorkloads(workloads: WorkloadsMessage['workloads']): Promise<void>;
  log: Logger;
}

interface Listener {
  socket: WebSocket;
  /** Counts those that were let in. */
  order: number;
  scheduler: { clusterId: string; epoch: number; term: string | null } | null;
  beats: number;
  /** When each heartbeat not acknowledged yet was sent; the hello is 0. */
  sentAtMs: Map<number, number>;
  heartbeatMs: number;
  timer: NodeJS.Timeout;
  heardAtMs: number;
  usageDueMs: number;
  bufferedAtMostBytes: number;
  /** It takes changes of one turn together. */
  together: boolean;
  /** Of those that it takes together, what has not been sent yet. */
  unsent: InstanceReport[];
}

export class Events {
  readonly #listeners = new Set<Listener>();
  readonly #server = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: MESSAGE_BYTES });
  #schedulerLeftAtMs = performance.now();
  #admitted = 0;

  constructor(private readonly means: EventsMeans) {}

  attach(server: Server): void {
    server.on('upgrade', (request, socket, head) => {
      socket.on('error', () => socket.destroy());
      this.#upgrade(request, socket, head).catch((error) => endWithProblem(socket, error));
    });
  }

  /** How long no scheduler has been connected; 0 while one is. */
  get withoutSchedulerMs(): number {
    for (const { scheduler } of this.#listeners) if (scheduler !== null) return 0;
    return performance.now() - this.#schedulerLeftAtMs;
  }

  /**
   * A scheduler hears of its own instances only; who merely listens, of all.
   *
   * @param isAnswered the scheduler hears it by the answer to what it has asked for
   */
  tellInstance(instance: InstanceReport, clusterId: string | null, isAnswered: boolean): void {
    if (this.#listeners.size === 0) return;
    let text: string | null = null;
    for (const listener of this.#listeners) {
      if (listener.scheduler !== null && (isAnswered || listener.scheduler.clusterId !== clusterId)) continue;
      if (listener.together) {
        listener.unsent.push(instance);
        if (listener.unsent.length === 1) setImmediate(() => sendReports(listener));
        continue;
      }
      text ??= JSON.stringify({ type: 'instance', instance } satisfies AgentMessage);
      send(listener, text);
    }
  }

  /**
   * To the scheduler of the present session only.
   *
   * @param text a message of the contract
   * @returns false when there is none, or it is behind: nothing was told
   */
  tellSession(text: string): boolean {
    for (const listener of this.#listeners) {
      if (!this.means.session.isOn(listener)) continue;
      if (listener.socket.bufferedAmount > BEHIND_BYTES) return false;
      send(listener, text);
      return true;
    }
    return false;
  }

  tellLeaving(): void {
    this.#tellAll({ type: 'leaving' });
  }

  /** Sends what is buffered, as far as the readers take it. */
  async close(): Promise<void> {
    await Promise.all(
      [...this.#listeners].map(
        (listener) =>
          new Promise<void>((resolve) => {
            const { socket } = listener;
            sendReports(listener);
            const timer = setTimeout(() => socket.terminate(), CLOSE_TIMEOUT_MS);
            socket.once('close', () => {
              clearTimeout(timer);
              resolve();
            });
            socket.close(CLOSE_GOING_AWAY, 'the agent ends');
          }),
      ),
    );
  }

  async #upgrade(request: IncomingMessage, duplex: Duplex, head: Buffer): Promise<void> {
    this.means.guard.admit(request);
    const url = urlOf(request);
    if (url.pathname !== '/events') throw new MorchError('NOT_FOUND', `There is no WebSocket at ${url.pathname}.`);
    const query = parseInput(agentEventsQuerySchema, Object.fromEntries(url.searchParams), 'query');
    let refusal: MorchError | null = null;
    try {
      if (query.clusterId !== undefined) await this.means.membership.admit(query);
    } catch (error) {
      if (!(error instanceof MorchError)) throw error;
      refusal = error;
    }
    this.#server.handleUpgrade(request, duplex, head, (socket) => {
      socket.on('error', (error) => this.means.log.debug({ err: error }, 'a listener failed'));
      if (refusal !== null) {
        socket.close(closeCodeOf(refusal), refusal.message.slice(0, 120));
        return;
      }
      const { clusterId, term = null } = query;
      const { epoch } = this.means.membership;
      this.#admit(socket, clusterId === undefined ? null : { clusterId, epoch, term });
    });
  }

  /** Inventory and subscription in one turn: no change falls between them. */
  #admit(socket: WebSocket, scheduler: Listener['scheduler']): void {
    if (scheduler !== null) this.#dismissEarlier(scheduler);
    // Before the inventory is made: what is acknowledged later counts from here.
    const sentAtMs = this.means.nowMs();
    const hello = JSON.stringify(this.means.hello());
    const nowMs = performance.now();
    this.#admitted += 1;
    const listener: Listener = {
      socket,
      order: this.#admitted,
      scheduler,
      beats: 0,
      sentAtMs: new Map([[0, sentAtMs]]),
      heartbeatMs: HEARTBEAT_MS,
      timer: setInterval(() => this.#beat(listener), HEARTBEAT_MS),
      heardAtMs: nowMs,
      usageDueMs: nowMs + USAGE_EVERY_MS,
      bufferedAtMostBytes: BUFFERED_AT_MOST_BYTES + Buffer.byteLength(hello),
      together: false,
      unsent: [],
    };
    this.#listeners.add(listener);
    socket.on('pong', () => {
      listener.heardAtMs = performance.now();
    });
    socket.on('message', (data) => this.#take(listener, data.toString()));
    socket.on('close', () => {
      clearInterval(listener.timer);
      this.#listeners.delete(listener);
      if (scheduler === null) return;
      this.means.session.end(listener);
      this.#schedulerLeftAtMs = performance.now();
    });
    send(listener, hello);
    this.#beat(listener);
  }

  /** An earlier term's scheduler has nothing more to say. */
  #dismissEarlier({ clusterId, epoch }: { clusterId: string; epoch: number }): void {
    for (const { socket, scheduler } of this.#listeners) {
      if (scheduler === null) continue;
      if (scheduler.clusterId !== clusterId) socket.close(CLOSE_WRONG_CLUSTER, 'the agent has joined another cluster');
      else if (scheduler.epoch < epoch) socket.close(CLOSE_STALE_EPOCH, 'a later scheduler term has connected');
    }
  }

  #take(listener: Listener, text: string): void {
    if (listener.scheduler === null) return;
    listener.heardAtMs = performance.now();
    let message: SchedulerMessage;
    try {
      message = schedulerMessageSchema.parse(JSON.parse(text));
    } catch (error) {
      this.means.log.warn({ err: error }, 'a message of the scheduler is not understood');
      listener.socket.close(CLOSE_BAD_MESSAGE, 'message not understood');
      return;
    }
    switch (message.type) {
      case 'session':
        this.#beginSession(listener, message);
        return;
      case 'ack': {
        const sentAtMs = takeSent(listener, message.n);
        if (sentAtMs !== undefined) this.means.session.acknowledge(sentAtMs, listener);
        if (message.mark !== undefined) this.means.membership.noteMark(listener.scheduler, message.mark, message.proof);
        return;
      }
      case 'forget':
        this.means.forget(message.instances).catch((error) => {
          this.means.log.error({ err: error }, 'cannot remove the records of forgotten instances');
        });
        return;
      case 'workloads':
        if (!this.means.session.isOn(listener)) return;
        this.means.noteWorkloads(message.workloads).catch((error) => {
          this.means.log.error({ err: error }, 'cannot record what has changed of workloads');
        });
    }
  }

  #beginSession(listener: Listener, message: SessionMessage): void {
    const sentAtMs = takeSent(listener, 0);
    // Only one session begins on a connection.
    if (sentAtMs === undefined) return;
    const { epoch } = listener.scheduler!;
    this.means.session.begin(message, epoch, sentAtMs, listener);
    listener.together = message.together === true;
    this.means.membership.noteLease(message.leaseMs);
    if (message.heartbeatMs === listener.heartbeatMs) return;
    listener.heartbeatMs = message.heartbeatMs;
    clearInterval(listener.timer);
    listener.timer = setInterval(() => this.#beat(listener), message.heartbeatMs);
  }

  #beat(listener: Listener): void {
    const nowMs = performance.now();
    if (nowMs - listener.heardAtMs > SILENT_MS) {
      listener.socket.terminate();
      return;
    }
    const withUsage = nowMs >= listener.usageDueMs;
    if (withUsage) listener.usageDueMs = nowMs + USAGE_EVERY_MS;
    listener.beats += 1;
    listener.sentAtMs.set(listener.beats, this.means.nowMs());
    if (listener.sentAtMs.size > UNACKNOWLEDGED_AT_MOST) {
      const [oldest] = listener.sentAtMs.keys();
      listener.sentAtMs.delete(oldest!);
    }
    send(listener, JSON.stringify(this.means.heartbeat(listener.beats, withUsage)));
    if (withUsage && listener.socket.readyState === WebSocket.OPEN) listener.socket.ping();
  }

  #tellAll(message: AgentMessage): void {
    const text = JSON.stringify(message);
    for (const listener of this.#listeners) send(listener, text);
  }
}

/** When the heartbeat was sent; what was sent before it needs no acknowledgement any more. */
function takeSent({ sentAtMs }: Listener, n: number): number | undefined {
  const at = sentAtMs.get(n);
  if (at !== undefined) for (const earlier of sentAtMs.keys()) if (earlier <= n) sentAtMs.delete(earlier);
  return at;
}

/** Before anything else that is sent after them. */
function sendReports(listener: Listener): void {
  const { unsent } = listener;
  if (unsent.length === 0) return;
  listener.unsent = [];
  const message: AgentMessage =
    unsent.length === 1 ? { type: 'instance', instance: unsent[0]! } : { type: 'instances', instances: unsent };
  send(listener, JSON.stringify(message));
}

function send(listener: Listener, text: string): void {
  sendReports(listener);
  const { socket, bufferedAtMostBytes } = listener;
  if (socket.readyState !== WebSocket.OPEN) return;
  if (socket.bufferedAmount > bufferedAtMostBytes) {
    socket.terminate();
    return;
  }
  socket.send(text);
}

function closeCodeOf({ code }: MorchError): number {
  if (code === 'WRONG_CLUSTER') return CLOSE_WRONG_CLUSTER;
  if (code === 'STALE_EPOCH') return CLOSE_STALE_EPOCH;
  return CLOSE_INTERNAL;
}

/**
 * The WebSocket on /events: inventory first, then heartbeats and every change of an instance. A connection with a
 * clusterId is a scheduler's and may have ended generations forgotten; without, one only listens.
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
  schedulerMessageSchema,
} from '../contract/agentApi';
import { MorchError, parseInput } from '../contract/errors';
import { endWithProblem } from './http/problem';
import { urlOf } from './http/server';
import type { Membership } from './membership';
import type { GenerationId } from './records';

const HEARTBEAT_MS = 1_000;
const USAGE_EVERY = 5;
/** A reader this far behind is cut off; it gets everything anew when it comes back. */
const BUFFERED_AT_MOST_BYTES = 8 * 1024 ** 2;
/** A peer that has answered no ping for this many heartbeats is gone. */
const SILENT_BEATS = 15;
const CLOSE_TIMEOUT_MS = 1_000;
/** 10,000 forgotten generations at once. */
const MESSAGE_BYTES = 4 * 1024 ** 2;
const CLOSE_GOING_AWAY = 1001;
const CLOSE_BAD_MESSAGE = 1008;
const CLOSE_INTERNAL = 1011;

export interface EventsMeans {
  membership: Membership;
  hello(): HelloMessage;
  heartbeat(n: number, withUsage: boolean): HeartbeatMessage;
  forget(ids: GenerationId[]): Promise<void>;
  log: Logger;
}

interface Listener {
  socket: WebSocket;
  scheduler: { clusterId: string; epoch: number } | null;
  beats: number;
  silentBeats: number;
  bufferedAtMostBytes: number;
}

export class Events {
  readonly #listeners = new Set<Listener>();
  readonly #server = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: MESSAGE_BYTES });
  #schedulerLeftAtMs = performance.now();
  #timer: NodeJS.Timeout | null = null;

  constructor(private readonly means: EventsMeans) {}

  attach(server: Server): void {
    server.on('upgrade', (request, socket, head) => {
      socket.on('error', () => socket.destroy());
      this.#upgrade(request, socket, head).catch((error) => endWithProblem(socket, error));
    });
    this.#timer = setInterval(() => this.#beat(), HEARTBEAT_MS);
  }

  /** How long no scheduler has been connected; 0 while one is. */
  get withoutSchedulerMs(): number {
    for (const { scheduler } of this.#listeners) if (scheduler !== null) return 0;
    return performance.now() - this.#schedulerLeftAtMs;
  }

  /** A scheduler hears of its own instances only; who merely listens, of all. */
  tellInstance(instance: InstanceReport, clusterId: string | null): void {
    this.#tellAll(
      { type: 'instance', instance },
      ({ scheduler }) => scheduler === null || scheduler.clusterId === clusterId,
    );
  }

  tellLeaving(): void {
    this.#tellAll({ type: 'leaving' });
  }

  /** Sends what is buffered, as far as the readers take it. */
  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await Promise.all(
      [...this.#listeners].map(
        ({ socket }) =>
          new Promise<void>((resolve) => {
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
      const { clusterId } = query;
      this.#admit(socket, clusterId === undefined ? null : { clusterId, epoch: this.means.membership.epoch });
    });
  }

  /** Inventory and subscription in one turn: no change falls between them. */
  #admit(socket: WebSocket, scheduler: Listener['scheduler']): void {
    if (scheduler !== null) this.#dismissEarlier(scheduler);
    const hello = JSON.stringify(this.means.hello());
    const listener: Listener = {
      socket,
      scheduler,
      beats: 0,
      silentBeats: 0,
      bufferedAtMostBytes: BUFFERED_AT_MOST_BYTES + Buffer.byteLength(hello),
    };
    this.#listeners.add(listener);
    socket.on('pong', () => {
      listener.silentBeats = 0;
    });
    socket.on('message', (data) => this.#take(listener, data.toString()));
    socket.on('close', () => {
      this.#listeners.delete(listener);
      if (scheduler !== null) this.#schedulerLeftAtMs = performance.now();
    });
    send(listener, hello);
    this.#beatOne(listener);
  }

  /** An earlier term's scheduler has nothing more to say. */
  #dismissEarlier({ clusterId, epoch }: { clusterId: string; epoch: number }): void {
    for (const { socket, scheduler } of this.#listeners) {
      if (scheduler === null) continue;
      if (scheduler.clusterId !== clusterId) socket.close(CLOSE_WRONG_CLUSTER, 'the agent has joined another cluster');
      else if (scheduler.epoch < epoch) socket.close(CLOSE_STALE_EPOCH, 'a later scheduler term has connected');
    }
  }

  #take({ socket, scheduler }: Listener, text: string): void {
    if (scheduler === null) return;
    try {
      const { instances } = schedulerMessageSchema.parse(JSON.parse(text));
      this.means.forget(instances).catch((error) => {
        this.means.log.error({ err: error }, 'cannot remove the records of forgotten instances');
      });
    } catch (error) {
      this.means.log.warn({ err: error }, 'a message of the scheduler is not understood');
      socket.close(CLOSE_BAD_MESSAGE, 'message not understood');
    }
  }

  #beat(): void {
    for (const listener of this.#listeners) this.#beatOne(listener);
  }

  #beatOne(listener: Listener): void {
    listener.beats += 1;
    listener.silentBeats += 1;
    if (listener.silentBeats > SILENT_BEATS) {
      listener.socket.terminate();
      return;
    }
    const withUsage = listener.beats % USAGE_EVERY === 0;
    send(listener, JSON.stringify(this.means.heartbeat(listener.beats, withUsage)));
    if (withUsage && listener.socket.readyState === WebSocket.OPEN) listener.socket.ping();
  }

  #tellAll(message: AgentMessage, isFor: (listener: Listener) => boolean = () => true): void {
    if (this.#listeners.size === 0) return;
    const text = JSON.stringify(message);
    for (const listener of this.#listeners) if (isFor(listener)) send(listener, text);
  }
}

function send({ socket, bufferedAtMostBytes }: Listener, text: string): void {
  if (socket.readyState !== WebSocket.OPEN) return;
  if (socket.bufferedAmount > bufferedAtMostBytes) socket.terminate();
  else socket.send(text);
}

function closeCodeOf({ code }: MorchError): number {
  if (code === 'WRONG_CLUSTER') return CLOSE_WRONG_CLUSTER;
  if (code === 'STALE_EPOCH') return CLOSE_STALE_EPOCH;
  return CLOSE_INTERNAL;
}

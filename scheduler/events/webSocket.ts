/**
 * The events over WebSocket: one text message per event, in order and without a gap from `?since=` on.
 * Given to server.ts as the upgrade listener.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { type WebSocket, WebSocketServer } from 'ws';
import { MorchError, parseInput } from '../../contract/errors';
import { CLOSE_EVENTS_GONE, CLOSE_TOKEN_GONE, CLOSE_TOO_SLOW } from '../../contract/events';
import { eventsQuerySchema, SCHEDULER_ROUTES } from '../../contract/routes';
import type { Caller, Guard } from '../access/guard';
import type { EventFeed } from '../api';
import type { AuditTrail } from '../audit/trail';
import { askedOf } from '../http/audited';
import { isRefusal } from '../http/problems';
import { requestIdOf } from '../http/requestId';
import { answerOnSocket } from '../http/server';
import { assertPosition } from './feed';

const PING_MS = 15_000;
const STUCK_MS = 30_000;
/** Messages are handed on without waiting until this much lies unsent. */
const BUFFERED_BYTES = 1024 * 1024;

export interface EventSocketOptions {
  events: EventFeed;
  guard: Guard;
  audit: Pick<AuditTrail, 'refused'>;
  log: Logger;
  pingMs?: number;
  /** How long a listener may take no byte before it is closed with CLOSE_TOO_SLOW. */
  stuckMs?: number;
}

export interface EventSockets {
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Says goodbye (1001) to every listener. */
  close(): void;
}

export function createEventSockets({
  events,
  guard,
  audit,
  log,
  pingMs = PING_MS,
  stuckMs = STUCK_MS,
}: EventSocketOptions): EventSockets {
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 64 * 1024 });
  // The handshake is wrong (no key, wrong version): ws would answer in plain text.
  sockets.on('wsClientError', (error, socket, req) => {
    answerOnSocket(socket, new MorchError('INVALID_INPUT', error.message), requestIdOf(req));
  });

  const upgrade = (req: IncomingMessage, socket: Duplex, head: Buffer) => {
    let since: number;
    let caller: Caller;
    try {
      caller = guard.admit(req);
      guard.demand('read', caller);
      since = sinceOf(req) ?? events.lastSeq;
      if (since > events.lastSeq) assertPosition(events, since);
    } catch (error) {
      const status = error instanceof MorchError ? error.status : 500;
      if (status === 500) log.error({ err: error, url: req.url }, 'upgrade failed');
      if (error instanceof MorchError && isRefusal(error)) audit.refused(askedOf(req, guard.callerOf(req)), error);
      answerOnSocket(socket, error, requestIdOf(req));
      return;
    }
    sockets.handleUpgrade(req, socket, head, (webSocket) => {
      webSocket.on('error', (error) => log.debug({ err: error }, 'event listener'));
      guard.hold(caller, webSocket, () => webSocket.close(CLOSE_TOKEN_GONE, 'the token is good no more'));
      keepAlive(webSocket, pingMs);
      tell(webSocket, events, since, stuckMs).catch((error: unknown) => {
        if (error instanceof MorchError && error.code === 'EVENTS_GONE') {
          webSocket.close(CLOSE_EVENTS_GONE, error.message.slice(0, 120));
          return;
        }
        log.error({ err: error }, 'events could not be read');
        webSocket.close(1011, 'events could not be read');
      });
    });
  };
  return {
    upgrade,
    close: () => {
      for (const webSocket of sockets.clients) webSocket.close(1001, 'the scheduler is shutting down');
      sockets.close();
    },
  };
}

/** @throws MorchError NOT_FOUND for a path without WebSocket; INVALID_INPUT */
function sinceOf(req: IncomingMessage): number | undefined {
  const [path = '', ...rest] = (req.url ?? '').split('?');
  const isEvents = SCHEDULER_ROUTES.some((route) => 'webSocket' in route && route.path === path);
  if (!isEvents) throw new MorchError('NOT_FOUND', `There is no WebSocket at ${path.slice(0, 200)}`);
  const parameters = new URLSearchParams(rest.join('?'));
  const query = Object.fromEntries([...parameters.keys()].map((key) => [key, oneOf(parameters, key)]));
  return parseInput(eventsQuerySchema, query, 'query').since;
}

/** A list where a parameter is given twice, which no schema takes. */
function oneOf(parameters: URLSearchParams, key: string): string | string[] {
  const values = parameters.getAll(key);
  return values.length === 1 ? values[0]! : values;
}

/** A listener that does not answer a ping before the next one is due is gone. */
function keepAlive(webSocket: WebSocket, pingMs: number): void {
  let answered = true;
  webSocket.on('pong', () => {
    answered = true;
  });
  const timer = setInterval(() => {
    // Behind a backlog a ping says nothing; whether that moves is watched by `tell`.
    if (webSocket.bufferedAmount > 0) return;
    if (!answered) {
      webSocket.terminate();
      return;
    }
    answered = false;
    webSocket.ping();
  }, pingMs);
  webSocket.on('close', () => clearInterval(timer));
}

async function tell(webSocket: WebSocket, events: EventFeed, since: number, stuckMs: number): Promise<void> {
  const closed = new AbortController();
  webSocket.on('close', () => closed.abort());
  for await (const event of events.follow(since, closed.signal)) {
    const sent = send(webSocket, JSON.stringify(event));
    if (webSocket.bufferedAmount <= BUFFERED_BYTES) continue;
    if (await isStuck(webSocket, sent, closed.signal, stuckMs)) {
      webSocket.close(CLOSE_TOO_SLOW, 'reads too slowly; come back with since');
      // It will not read the close frame either, most likely.
      setTimeout(() => webSocket.terminate(), 1_000).unref();
      return;
    }
  }
}

function send(webSocket: WebSocket, text: string): Promise<void> {
  // An error here is that of a closing socket, whose close event ends the following.
  return new Promise((resolve) => webSocket.send(text, () => resolve()));
}

/** True when nothing of what lies unsent has been taken for `stuckMs`; false once `sent`, or when it is closed. */
async function isStuck(webSocket: WebSocket, sent: Promise<void>, closed: AbortSignal, stuckMs: number) {
  for (;;) {
    const before = webSocket.bufferedAmount;
    if (await settlesWithin(sent, closed, stuckMs)) return false;
    if (webSocket.bufferedAmount >= before) return true;
  }
}

function settlesWithin(sent: Promise<void>, closed: AbortSignal, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (settled: boolean) => {
      clearTimeout(timer);
      closed.removeEventListener('abort', onClosed);
      resolve(settled);
    };
    const onClosed = () => end(true);
    const timer = setTimeout(() => end(false), ms);
    closed.addEventListener('abort', onClosed);
    void sent.then(() => end(true));
  });
}

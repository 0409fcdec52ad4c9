/**
 * How many connections a port holds, and how long each may take for what it says and for what it is told. A client that has
 * shown no good credential is a stranger: when there are as many connections as may be, the one that has been a
 * stranger's longest makes room. So whoever opens many of them keeps nobody else out.
 */
import { readFileSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { MorchError } from '../contract/errors';

/** For createServer of node:http and node:https. */
export const REQUEST_LIMITS = {
  headersTimeout: 10_000,
  // For the request alone; an answer may stream for ever.
  requestTimeout: 30_000,
  connectionsCheckingInterval: 5_000,
  maxHeaderSize: 16 * 1024,
};

/** An answer of which nothing was taken for so long is broken off. */
const STALLED_MS = 30_000;

const MOST = 4_096;

export class Connections {
  /** By where they come from, as TLS has sockets of its own over them; the longest ones first. */
  readonly #strangers = new Map<string, Socket>();
  readonly #known = new Map<string, Socket>();
  readonly #noted = new WeakSet<Socket>();

  /** @param most by default half of the files that this process may open, and 4,096 at most */
  constructor(private readonly most = Math.min(MOST, Math.floor(openFilesAllowed() / 2))) {}

  watch(server: Server): void {
    server.on('connection', (socket: Socket) => {
      const key = keyOf(socket);
      if (this.#strangers.get(key) === socket || this.#known.get(key) === socket) return;
      this.#strangers.set(key, socket);
      socket.once('close', () => {
        if (this.#strangers.get(key) === socket) this.#strangers.delete(key);
        if (this.#known.get(key) === socket) this.#known.delete(key);
      });
      if (this.#strangers.size + this.#known.size > this.most) this.#strangers.values().next().value?.destroy();
    });
  }

  /** A request on it came with a credential that is good. */
  noteKnown({ socket }: Pick<IncomingMessage, 'socket'>): void {
    // Most requests come on a connection that has shown one already.
    if (this.#noted.has(socket)) return;
    this.#noted.add(socket);
    const key = keyOf(socket);
    const stranger = this.#strangers.get(key);
    if (stranger === undefined) return;
    this.#strangers.delete(key);
    this.#known.set(key, stranger);
  }
}

/** To be called for each answer before it is written. */
export function endWhenStalled(response: ServerResponse, stalledMs = STALLED_MS): void {
  // Node tells of a time without anything said or heard; a stream that has nothing to say is none of ours.
  response.setTimeout(stalledMs, () => {
    if ((response.socket?.writableLength ?? 0) > 0) response.destroy();
  });
}

/** @returns what a request is answered that has not become one; null: nobody is left to answer, or a handshake has failed */
export function refusalOfParser({ code = '', message }: NodeJS.ErrnoException): MorchError | null {
  if (/^(ECONNRESET|EPIPE|ERR_(SSL|TLS)_.*)$/.test(code)) return null;
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new MorchError(
        'HEADER_TOO_LARGE',
        `The request header is larger than ${REQUEST_LIMITS.maxHeaderSize / 1024} KiB`,
      );
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new MorchError('REQUEST_TIMEOUT', 'The request did not arrive in time');
    default:
      return new MorchError('INVALID_INPUT', `The request is not valid HTTP (${code === '' ? message : code})`);
  }
}

function keyOf({ remoteAddress, remotePort, localAddress }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress}`;
}

/** proc_pid_limits(5); Node has raised the soft one to the hard one. */
function openFilesAllowed(): number {
  const [, soft] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  return soft === undefined ? Infinity : Number(soft);
}

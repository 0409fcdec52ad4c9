/** Opens the port and closes it: the one HTTP server of the scheduler, with the application and the WebSocket upgrade on it. */
import { createServer, type IncomingMessage, type RequestListener, type Server, STATUS_CODES } from 'node:http';
import { createServer as createTlsServer, type ServerOptions, Server as TlsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import { SECURITY_HEADERS } from '../../access/browser';
import { type Connections, REQUEST_LIMITS, refusalOfParser } from '../../access/connections';
import { headersOfStatus, MorchError, problemOf } from '../../contract/errors';
import { HANDSHAKE_MS } from '../../pki/settings';
import type { Messages } from './messages';

export type UpgradeListener = (req: IncomingMessage, socket: Duplex, head: Buffer) => void;

export interface HttpServerOptions {
  host: string;
  /** 0: any free one. */
  port: number;
  app: RequestListener;
  /** What `app` is given; without: node:http's own. */
  messages?: Messages;
  upgrade: UpgradeListener;
  connections: Pick<Connections, 'watch'>;
  /** Without: plain HTTP. */
  tls?: PortTls | null;
}

/** What a port shows, now and later. */
export interface PortTls {
  readonly serverOptions: ServerOptions;
  serve(server: TlsServer): void;
}

export interface HttpServer {
  readonly server: Server;
  /** The one that was bound. */
  readonly port: number;
  /** Takes no more requests, lets those in work finish for `graceMs`, then ends them and every stream. */
  close(graceMs?: number): Promise<void>;
}

const LIMITS = {
  ...REQUEST_LIMITS,
  handshakeTimeout: HANDSHAKE_MS,
  keepAliveTimeout: 30_000,
};

/** @throws Error that names `--port` or `--host` when the address cannot be had */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { host, port, app, messages, upgrade, connections, tls } = options;
  const settings = { ...LIMITS, ...messages };
  const server = tls == null ? createServer(settings) : createTlsServer({ ...settings, ...tls.serverOptions });
  if (server instanceof TlsServer) tls?.serve(server);
  connections.watch(server);
  server.on('request', app);
  server.on('upgrade', (req, socket, head) => {
    socket.on('error', () => socket.destroy());
    if (req.headers.upgrade?.toLowerCase() === 'websocket') upgrade(req, socket, head);
    else serveWithoutUpgrade(server, req, socket, head);
  });
  server.on('clientError', answerClientError);
  const sockets = new Set<Duplex>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, host, port)));
    server.listen(port, host, resolve);
  });
  const address = server.address();
  return {
    server,
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: (graceMs = 1_000) =>
      new Promise((resolve) => {
        const timer = setTimeout(() => {
          for (const socket of sockets) socket.destroy();
        }, graceMs);
        server.close(() => {
          clearTimeout(timer);
          resolve();
        });
        server.closeIdleConnections();
      }),
  };
}

/**
 * `Upgrade: h2c`, which Java's and curl's HTTP/2 clients send, may be ignored (RFC 9110, 7.8), but Node has taken
 * the connection out of HTTP already. It is put back with the header left out.
 */
function serveWithoutUpgrade(server: Server, req: IncomingMessage, socket: Duplex, head: Buffer): void {
  const lines = [`${req.method} ${req.url} HTTP/${req.httpVersion}`];
  for (let i = 0; i < req.rawHeaders.length; i += 2) {
    const name = req.rawHeaders[i]!;
    if (!/^(upgrade|connection|http2-settings)$/i.test(name)) lines.push(`${name}: ${req.rawHeaders[i + 1]}`);
  }
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]));
  server.emit(server instanceof TlsServer ? 'secureConnection' : 'connection', socket);
}

/** What the HTTP parser refuses never becomes a request; it is answered here and the connection ends. */
function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  const refusal = refusalOfParser(error);
  if (refusal === null || !socket.writable) socket.destroy();
  else answerOnSocket(socket, refusal);
}

/** A problem as answer on a bare socket, which it ends. */
export function answerOnSocket(socket: Duplex, error: unknown, requestId?: string): void {
  const problem = problemOf(error, requestId);
  const { status } = problem;
  const body = JSON.stringify(problem);
  const headers = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'Content-Type: application/problem+json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    ...Object.entries(SECURITY_HEADERS).map(([name, value]) => `${name}: ${value}`),
    ...Object.entries(headersOfStatus(status)).map(([name, value]) => `${name}: ${value}`),
    ...(requestId === undefined ? [] : [`X-Request-Id: ${requestId}`]),
  ];
  socket.end(`${headers.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}

function listenError(cause: NodeJS.ErrnoException, host: string, port: number): Error {
  const reasons: Record<string, string> = {
    EADDRINUSE: `port ${port} is in use, perhaps by another scheduler; stop that, or choose another with --port`,
    EACCES: `port ${port} needs rights that this process has not; choose one from 1024 on with --port`,
    EADDRNOTAVAIL: `this machine has no address ${host}; choose another with --host`,
    ENOTFOUND: `the host name ${host} is not known; choose another with --host`,
  };
  const reason = reasons[cause.code ?? ''] ?? cause.message;
  return new MorchError('INVALID_INPUT', `Cannot listen on ${host}:${port}: ${reason}`, { cause });
}

/** The HTTP server: request ids, who may ask, routing, errors. What a route does is in handlers.ts. */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Logger } from 'pino';
import { SECURITY_HEADERS } from '../../access/browser';
import { type Connections, endWhenStalled, REQUEST_LIMITS, refusalOfParser } from '../../access/connections';
import { MorchError } from '../../contract/errors';
import { HANDSHAKE_MS } from '../../pki/settings';
import type { Guard } from '../access';
import type { PortTls } from '../tls/port';
import { endWithProblem, sendProblem } from './problem';
import { type Handlers, parseQuery, Router } from './router';

/** Longer than a scheduler's pooled connection rests, so that it is never closed under a command. */
const KEEP_ALIVE_MS = 60_000;

const LIMITS = { ...REQUEST_LIMITS, keepAliveTimeout: KEEP_ALIVE_MS, handshakeTimeout: HANDSHAKE_MS };

const securityHeaders = new Map<string, string>(Object.entries(SECURITY_HEADERS));

export interface AgentServerMeans {
  handlers: Handlers;
  guard: Guard;
  connections: Pick<Connections, 'watch'>;
  /** Null: plain HTTP. */
  tls: PortTls | null;
  log: Logger;
}

export function createAgentServer({ handlers, guard, connections, tls, log }: AgentServerMeans): Server {
  const router = new Router();

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const requestId = requestIdOf(request);
    response.setHeader('X-Request-Id', requestId);
    response.setHeaders(securityHeaders);
    endWhenStalled(response);
    try {
      guard.admit(request);
      const url = urlOf(request);
      const match = router.match(request.method ?? '', url.pathname, (allow) => response.setHeader('Allow', allow));
      const query = parseQuery(match.route, url.searchParams);
      await handlers[match.key]({ request, response, requestId, params: match.params, query });
    } catch (error) {
      answerError(request, response, error, requestId);
    }
  };

  const answerError = (request: IncomingMessage, response: ServerResponse, error: unknown, requestId: string) => {
    if (response.destroyed || request.socket.destroyed) return response.destroy();
    if (!(error instanceof MorchError) || error.code === 'INTERNAL') {
      log.error({ err: error, requestId, method: request.method, url: request.url }, 'a request failed');
    }
    if (response.headersSent) return response.destroy();
    // What has not been read of the body would be taken for the next request.
    if (!request.complete && hasBody(request)) response.setHeader('Connection', 'close');
    return sendProblem(response, error, requestId);
  };

  const listener: RequestListener = (request, response) => {
    serve(request, response).catch((error) => {
      log.error({ err: error }, 'a request could not be answered');
      response.destroy();
    });
  };
  const server = tls === null ? createServer(LIMITS, listener) : createOverTls(tls, listener);
  connections.watch(server);
  server.on('clientError', (error, socket) => {
    const refusal = refusalOfParser(error);
    if (refusal === null) socket.destroy();
    else endWithProblem(socket, refusal);
  });
  return server;
}

function createOverTls(tls: PortTls, listener: RequestListener): Server {
  const server = createTlsServer({ ...LIMITS, ...tls.serverOptions }, listener);
  tls.serve(server);
  return server;
}

/** @throws MorchError INVALID_INPUT */
export function urlOf(request: IncomingMessage): URL {
  const target = request.url ?? '/';
  const base = 'http://agent';
  // `//x` would be read as a host name.
  const url = target.startsWith('/') ? `${base}${target}` : target;
  if (!URL.canParse(url)) throw new MorchError('INVALID_INPUT', 'The request target is not a valid path.');
  return new URL(url);
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
}

function requestIdOf(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\x21-\x7e]{1,128}$/.test(given) ? given : randomUUID();
}

/**
 * What a handler of a route is given and gives, typed from the route's own entry in SCHEDULER_ROUTES: a handler
 * that is missing, answers a status or a body its route does not tell of, or belongs to no route does not compile.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { z } from 'zod';
import type { SCHEDULER_ROUTES } from '../../contract/routes';
import type { Caller, Guard } from '../access/guard';
import type { TokenService } from '../access/tokenService';
import type { EventFeed, SchedulerApi } from '../api';
import type { AuditTrail } from '../audit/trail';
import type { JsonText } from '../jsonText';
import type { SchedulerMetrics } from '../metrics';

export type SchedulerRoute = (typeof SCHEDULER_ROUTES)[number];
type NameOf<R> = R extends SchedulerRoute ? `${R['method']} ${R['path']}` : never;
export type RouteName = NameOf<SchedulerRoute>;
type RouteNamed<N extends RouteName> = N extends `${infer M} ${infer P}`
  ? Extract<SchedulerRoute, { method: M; path: P }>
  : never;

export interface HttpContext {
  api: SchedulerApi;
  events: EventFeed;
  guard: Guard;
  tokens: Pick<TokenService, 'list' | 'create' | 'revoke'>;
  /** Whom clients are to trust, PEM; null for a scheduler that speaks plain HTTP. */
  trust: { readonly bundle: string } | null;
  audit: Pick<AuditTrail, 'begin' | 'refused' | 'page'>;
  metrics: Pick<SchedulerMetrics, 'answered' | 'refused' | 'text'>;
  log: Logger;
}

type OutputOf<R, K extends string> = R extends { readonly [P in K]: infer S extends z.ZodType }
  ? z.output<S>
  : undefined;

export interface HandlerInput<N extends RouteName> {
  /** Empty for a route without an id. */
  id: RouteNamed<N>['path'] extends `${string}:id${string}` ? string : undefined;
  query: OutputOf<RouteNamed<N>, 'query'>;
  body: OutputOf<RouteNamed<N>, 'body'>;
  /** The body's bytes as they came. */
  rawBody: Buffer;
  /** Who asks; they may. */
  caller: Caller;
  req: IncomingMessage;
  res: ServerResponse;
}

type Answers<R> = R extends { readonly answers: infer A } ? A : never;
type Reply<A> = {
  [S in keyof A & number]: {
    status: S;
    body: A[S] extends z.ZodType ? z.output<A[S]> | JsonText<z.output<A[S]>> : null;
    headers?: Record<string, string>;
    /** For the audit log, where the body is text. */
    made?: { id: string };
  };
}[keyof A & number];

/** `undefined`: the handler has answered by itself (streams, plain text). */
export type HandlerResult<N extends RouteName> = Reply<Answers<RouteNamed<N>>> | undefined;

export type Handler<N extends RouteName> = (
  input: HandlerInput<N>,
  context: HttpContext,
) => HandlerResult<N> | Promise<HandlerResult<N>>;

/** The handlers of one file: some of the routes. */
export type HandlersOf<N extends RouteName> = { readonly [K in N]: Handler<K> };
export type AllHandlers = HandlersOf<RouteName>;

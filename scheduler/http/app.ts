/**
 * The scheduler's HTTP application: every route of the contract, and nothing else. Made by serving.ts, served by
 * server.ts. The order for each request: id and log, who asks, route, whether they may, query, body, the audit log for what
 * changes something, handler, answer or problem.
 */
import express from 'express';
import { z } from 'zod';
import { endWhenStalled } from '../../access/connections';
import { parseInput, problemOf } from '../../contract/errors';
import { changesSomething, type Route, SCHEDULER_ROUTES } from '../../contract/routes';
import type { Caller } from '../access/guard';
import { sendJson, sendNothing } from './answer';
import { auditHandlers } from './audit';
import { askedOf, madeBy } from './audited';
import { authorityHandlers } from './authority';
import { backupHandlers } from './backup';
import { parseBody, readBody } from './body';
import { eventHandlers } from './events';
import type { AllHandlers, HttpContext } from './handlers';
import { healthHandlers } from './health';
import { logHandlers } from './logs';
import { metricsHandlers } from './metrics';
import { nodeHandlers } from './nodes';
import { openapiHandlers } from './openapi';
import { methodNotAllowed, notFound, problems } from './problems';
import { requestIdOf } from './requestId';
import { secretHandlers } from './secrets';
import { tokenHandlers } from './tokens';
import { workloadHandlers } from './workloads';

const handlers: AllHandlers = {
  ...healthHandlers,
  ...nodeHandlers,
  ...workloadHandlers,
  ...logHandlers,
  ...eventHandlers,
  ...backupHandlers,
  ...metricsHandlers,
  ...secretHandlers,
  ...tokenHandlers,
  ...authorityHandlers,
  ...auditHandlers,
  ...openapiHandlers,
};

const noParameters = z.strictObject({});

/** Anything the table's types guarantee, seen from where they can no longer be told apart. */
type AnyHandler = (
  input: unknown,
  context: HttpContext,
) => Promise<{ status: number; body: unknown; headers?: Record<string, string>; made?: { id: string } } | undefined>;

export function createApp(context: HttpContext): express.Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'simple');
  if (context.log.isLevelEnabled('debug')) app.use(requestLog(context));
  /** Of paths without an id: found at once, where Express tries one pattern after another. */
  const exact = new Map<string, express.RequestHandler>();
  app.use((req, res, next) => {
    endWhenStalled(res);
    context.guard.admit(req);
    const found = exact.get(`${req.method} ${pathOf(req.url)}`);
    if (found === undefined) next();
    else return found(req, res, next);
  });
  for (const route of SCHEDULER_ROUTES as readonly Route[]) {
    const handler = handlers[`${route.method} ${route.path}` as keyof AllHandlers] as AnyHandler;
    const served = serve(route, handler, context);
    app[verbs[route.method]](route.path, served);
    if (!route.path.includes(':')) exact.set(`${route.method} ${route.path}`, served);
  }
  for (const path of new Set(SCHEDULER_ROUTES.map((route) => route.path))) {
    const methods = SCHEDULER_ROUTES.filter((route) => route.path === path).map((route) => route.method);
    app.all(path, methodNotAllowed(path, methods));
  }
  app.use(notFound);
  app.use(problems(context));
  return app;
}

function pathOf(url: string): string {
  const end = url.indexOf('?');
  return end === -1 ? url : url.slice(0, end);
}

const verbs = { GET: 'get', POST: 'post', PUT: 'put', DELETE: 'delete' } as const;

function serve(route: Route, handler: AnyHandler, context: HttpContext): express.RequestHandler {
  const isAudited = changesSomething(route);
  const takesBody = route.method === 'POST' || route.method === 'PUT';
  const querySchema = route.query ?? noParameters;
  /** What it comes to where there is none. */
  const noQuery = querySchema.safeParse({}).data;
  return async (req, res) => {
    const caller = context.guard.callerOf(req);
    if (route.media === undefined) noteTime(route, res, context);
    else endWithToken(caller, res, context);
    context.guard.demand(route.access, caller);
    const hasQuery = noQuery === undefined || req.url.includes('?');
    const query = hasQuery ? parseInput(querySchema, { ...req.query }, 'query') : noQuery;
    const rawBody = takesBody ? await readBody(req) : Buffer.alloc(0);
    const body = takesBody ? parseBody(route.body ?? noParameters, rawBody, req.headers) : undefined;
    if (isAudited) res.locals.isAudited = true;
    const end = isAudited ? await context.audit.begin(askedOf(req, caller, body, query)) : undefined;
    let answer: Awaited<ReturnType<AnyHandler>>;
    try {
      answer = await handler({ id: req.params.id, query, body, rawBody, caller, req, res }, context);
    } catch (error) {
      const { status, code } = problemOf(error);
      end?.({ status, code });
      throw error;
    }
    end?.({ status: answer?.status ?? res.statusCode, what: madeBy(answer?.made ?? answer?.body) });
    if (answer === undefined) return;
    if (answer.body === null) sendNothing(res, answer.status, answer.headers);
    else sendJson(res, answer.status, answer.body, answer.headers);
  };
}

/** A stream ends when the token does with which it was opened. */
function endWithToken(caller: Caller, res: express.Response, { guard }: HttpContext): void {
  guard.hold(caller, res, () => {
    if (!res.writableEnded) res.destroy();
  });
}

function noteTime({ method, path }: Route, res: express.Response, { metrics }: HttpContext): void {
  const startedMs = performance.now();
  res.on('finish', () => metrics.answered(method, path, res.statusCode, performance.now() - startedMs));
}

/** Method, path and status only: headers may hold secrets. */
function requestLog({ log }: HttpContext): express.RequestHandler {
  const { pinoHttp } = require('pino-http') as typeof import('pino-http');
  return pinoHttp({
    logger: log,
    genReqId: requestIdOf,
    customLogLevel: () => 'debug',
    serializers: {
      req: (req) => ({ id: req.id, method: req.method, url: req.url }),
      res: (res) => ({ statusCode: res.statusCode }),
    },
  });
}

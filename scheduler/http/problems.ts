/**
 * The last stations of a request: what nobody answered and what was thrown become `application/problem+json`. What was not
 * let in goes into the audit log.
 */
import type { ErrorRequestHandler, RequestHandler } from 'express';
import { MorchError, problemOf } from '../../contract/errors';
import { sendProblem } from './answer';
import { askedOf } from './audited';
import type { HttpContext } from './handlers';
import { requestIdOf } from './requestId';

/** @param methods that the path does have; GET brings HEAD with it */
export function methodNotAllowed(path: string, methods: readonly string[]): RequestHandler {
  const allow = methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method])).join(', ');
  return (req, res) => {
    res.setHeader('Allow', allow);
    throw new MorchError('METHOD_NOT_ALLOWED', `${path} has no ${req.method}; it has ${allow}`);
  };
}

export const notFound: RequestHandler = (req) => {
  throw new MorchError('NOT_FOUND', `There is no route ${req.path.slice(0, 200)}; /openapi.json lists them all`);
};

export function problems({ log, audit, guard, metrics }: HttpContext): ErrorRequestHandler {
  return (error, req, res, _next) => {
    const known = asMorchError(error);
    const requestId = requestIdOf(req);
    if (known === undefined) log.error({ err: error, requestId, method: req.method, url: req.url }, 'request failed');
    else log.debug({ err: known, requestId }, 'request refused');
    if (known !== undefined && (isRefusal(known) || known.status === 429)) metrics.refused(known.code);
    if (known !== undefined && isRefusal(known) && res.locals.isAudited !== true) {
      audit.refused(askedOf(req, guard.callerOf(req)), known);
    }
    if (res.headersSent) {
      res.destroy();
      return;
    }
    // The rest of a body that was not read to its end must not be taken for the next request.
    if (!req.complete) res.setHeader('Connection', 'close');
    sendProblem(res, problemOf(known ?? error, requestId));
  };
}

/** It was the asker who was refused, not what was asked. */
export function isRefusal({ status }: MorchError): boolean {
  return status === 401 || status === 403;
}

/** `undefined` for a failure of ours. */
function asMorchError(error: unknown): MorchError | undefined {
  if (error instanceof MorchError) return error.code === 'INTERNAL' ? undefined : error;
  // Express' own: a path that cannot be decoded.
  if (error instanceof URIError) {
    return new MorchError('INVALID_INPUT', 'The path has a malformed % escape', { cause: error });
  }
  return undefined;
}

/** The last stations of a request: what nobody answered and what was thrown become `application/problem+json`. */
import type { ErrorRequestHandler, RequestHandler } from 'express';
import type { Logger } from 'pino';
import { MorchError, problemOf } from '../../contract/errors';
import { sendProblem } from './answer';
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

export function problems(log: Logger): ErrorRequestHandler {
  return (error, req, res, _next) => {
    const known = asMorchError(error);
    const requestId = requestIdOf(req);
    if (known === undefined) log.error({ err: error, requestId, method: req.method, url: req.url }, 'request failed');
    else log.debug({ err: known, requestId }, 'request refused');
    if (res.headersSent) {
      res.destroy();
      return;
    }
    // The rest of a body that was not read to its end must not be taken for the next request.
    if (!req.complete) res.setHeader('Connection', 'close');
    if (known?.code === 'UNAUTHENTICATED') res.setHeader('WWW-Authenticate', 'Bearer');
    sendProblem(res, problemOf(known ?? error, requestId));
  };
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

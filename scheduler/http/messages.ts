/**
 * Requests and answers that are an Express application's own from their beginning. Express gives each message that comes in a
 * prototype of its own, and V8 does all that is done with an object whose prototype was exchanged several times slower;
 * where it is the application's already, nothing is exchanged.
 */

import { IncomingMessage, ServerResponse } from 'node:http';
import type { Express } from 'express';

export interface Messages {
  IncomingMessage: typeof IncomingMessage;
  ServerResponse: typeof ServerResponse;
}

/** @returns for createServer of node:http and node:https; the application takes others as before */
export function messagesOf(app: Express): Messages {
  const prototypes = app as unknown as { request: object; response: object };
  class Request extends IncomingMessage {}
  class Response extends ServerResponse {}
  Object.setPrototypeOf(Request.prototype, prototypes.request);
  Object.setPrototypeOf(Response.prototype, prototypes.response);
  prototypes.request = Request.prototype;
  prototypes.response = Response.prototype;
  return { IncomingMessage: Request, ServerResponse: Response as typeof ServerResponse };
}

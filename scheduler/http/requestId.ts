/** `X-Request-Id` in and out: the client's own where it is fit to be logged, else a new one. */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** On the request itself: a WeakMap of all requests costs the collector of garbage more than they are worth. */
const ID = Symbol('request id');
/** Of this process, before the number of a request. */
const OWN = randomBytes(9).toString('base64url');
let count = 0;

/** The same for every call with one request. */
export function requestIdOf(req: IncomingMessage & { [ID]?: string }): string {
  let id = req[ID];
  if (id === undefined) {
    const given = req.headers['x-request-id'];
    id = typeof given === 'string' && /^[\x20-\x7e]{1,128}$/.test(given) ? given : `${OWN}-${++count}`;
    req[ID] = id;
  }
  return id;
}

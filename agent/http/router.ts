/** Finds the handler of a request by the contract's table; a route of the table without a handler does not compile. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { MorchError, parseInput } from '../../contract/errors';
import { AGENT_ROUTES, type Route } from '../../contract/routes';

type AgentRoute = (typeof AGENT_ROUTES)[number];
type KeyOf<R> = R extends AgentRoute ? `${R['method']} ${R['path']}` : never;
export type RouteKey = KeyOf<AgentRoute>;

export interface Call {
  request: IncomingMessage;
  response: ServerResponse;
  requestId: string;
  params: Record<string, string>;
  query: unknown;
}
export type Handlers = Record<RouteKey, (call: Call) => Promise<void> | void>;

export interface Match {
  key: RouteKey;
  route: Route;
  params: Record<string, string>;
}

export class Router {
  readonly #patterns = AGENT_ROUTES.map((route) => ({
    route: route as Route,
    key: `${route.method} ${route.path}` as RouteKey,
    pattern: new RegExp(`^${route.path.replaceAll('.', '\\.').replace(/:(\w+)/g, '(?<$1>[^/]+)')}$`),
  }));

  /**
   * HEAD goes where GET goes.
   *
   * @param refuse gets the `Allow` of a path that has other methods
   * @throws MorchError NOT_FOUND, METHOD_NOT_ALLOWED
   */
  match(method: string, path: string, refuse: (allow: string) => void): Match {
    const wanted = method === 'HEAD' ? 'GET' : method;
    const allowed: string[] = [];
    for (const { route, key, pattern } of this.#patterns) {
      const found = pattern.exec(path);
      if (found === null) continue;
      if (route.method === wanted) return { key, route, params: decodeAll(found.groups ?? {}) };
      allowed.push(...(route.method === 'GET' ? ['GET', 'HEAD'] : [route.method]));
    }
    if (allowed.length === 0) throw new MorchError('NOT_FOUND', `The agent has no ${path}.`);
    const allow = allowed.join(', ');
    refuse(allow);
    throw new MorchError('METHOD_NOT_ALLOWED', `${path} takes ${allow}, not ${method}.`);
  }
}

function decodeAll(groups: Record<string, string>): Record<string, string> {
  try {
    return Object.fromEntries(Object.entries(groups).map(([name, text]) => [name, decodeURIComponent(text)]));
  } catch {
    throw new MorchError('INVALID_INPUT', 'The path holds a malformed % escape.');
  }
}

/** @throws MorchError INVALID_INPUT for a parameter that is unknown, given twice, or of no valid value */
export function parseQuery(route: Route, search: URLSearchParams): unknown {
  // Not by assignment, which would take __proto__ for something else.
  const given: Record<string, string> = Object.fromEntries(search);
  const names = new Set<string>();
  for (const name of search.keys()) {
    if (names.has(name)) {
      const errors = [{ pointer: `/${name}`, message: 'given twice' }];
      throw new MorchError('INVALID_INPUT', `The query is not valid: ${name} is given twice`, { errors });
    }
    names.add(name);
  }
  if (route.query !== undefined) return parseInput(route.query, given, 'query');
  const unknown = Object.keys(given);
  // A WebSocket's query is the connection's own; other routes take none.
  if (route.webSocket || unknown.length === 0) return given;
  const errors = unknown.map((name) => ({ pointer: `/${name}`, message: 'unknown parameter' }));
  throw new MorchError('INVALID_INPUT', `The query is not valid: ${unknown[0]} is unknown`, { errors });
}

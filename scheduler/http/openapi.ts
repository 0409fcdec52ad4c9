/** `/openapi.json`: OpenAPI 3.1 made from the route table and its schemas, so that it cannot tell of anything else. */
import { z } from 'zod';
import { ERRORS, type ErrorCode, problemSchema } from '../../contract/errors';
import { changesSomething, type Route, SCHEDULER_ROUTES } from '../../contract/routes';
import { VERSION } from '../../contract/version';
import { NEEDED } from '../access/guard';
import type { HandlersOf } from './handlers';

type Json = Record<string, unknown>;

let made: Json | undefined;

export const openapiHandlers: HandlersOf<'GET /openapi.json'> = {
  'GET /openapi.json': () => {
    made ??= openapiOf(SCHEDULER_ROUTES);
    return { status: 200, body: made };
  },
};

export function openapiOf(routes: readonly Route[]): Json {
  const components = new Components();
  const problem = components.add(problemSchema, 'output');
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    const path = route.path.replaceAll(/:(\w+)/g, '{$1}');
    paths[path] ??= {};
    paths[path][route.method.toLowerCase()] = operationOf(route, components, problem);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Micro-Orchestrator scheduler',
      version: VERSION,
      description: 'Runs plain programs on a fleet of Linux nodes and keeps them running.',
    },
    paths,
    components: { schemas: components.schemas, securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
    security: [{ token: [] }],
  };
}

/** The schemas with a name of their own, found on the way through the routes. */
class Components {
  readonly schemas: Record<string, Json> = {};

  /** @returns the schema with every named part replaced by a reference into `components` */
  add(schema: z.ZodType, io: 'input' | 'output'): Json {
    const { $schema, $defs, ...root } = z.toJSONSchema(schema, { io, override: mention }) as Json;
    const parts = ($defs ?? {}) as Record<string, Json>;
    // What is taken and what is given of one name may differ, by its defaults.
    const names = new Map<string, string>();
    for (const [name, part] of Object.entries(parts)) {
      const known = this.schemas[name];
      const same = known === undefined || JSON.stringify(known) === JSON.stringify(tidy(part, io, identity));
      names.set(name, same ? name : `${name}${io === 'input' ? 'Input' : 'Output'}`);
    }
    const rename = (name: string) => names.get(name) ?? name;
    for (const [name, part] of Object.entries(parts)) this.schemas[rename(name)] = tidy(part, io, rename);
    return tidy(root, io, rename);
  }
}

const identity = (name: string) => name;

/** zod leaves out a default behind a transformation. */
function mention({ zodSchema, jsonSchema }: { zodSchema: z.core.$ZodTypes; jsonSchema: Json }): void {
  if (zodSchema._zod.def.type === 'default') jsonSchema.default = zodSchema._zod.def.defaultValue;
}

/**
 * References into `components`; no bounds that only say what a double can hold; answers stay open, because a
 * later version may add fields.
 */
function tidy<T>(value: T, io: 'input' | 'output', rename: (name: string) => string): T {
  if (Array.isArray(value)) return value.map((item) => tidy(item, io, rename)) as T;
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).flatMap(([key, child]): [string, unknown][] => {
    if (key === 'id' && typeof child === 'string') return [];
    if (key === '$ref') return [[key, `#/components/schemas/${rename(String(child).replace('#/$defs/', ''))}`]];
    if ((key === 'minimum' || key === 'maximum') && Math.abs(child as number) === Number.MAX_SAFE_INTEGER) return [];
    if (io === 'output' && key === 'additionalProperties' && child === false) return [];
    return [[key, tidy(child, io, rename)]];
  });
  return Object.fromEntries(entries) as T;
}

function operationOf(route: Route, components: Components, problem: Json): Json {
  const parameters = [...pathParameters(route), ...queryParameters(route, components), ...headerParameters(route)];
  return {
    operationId: operationIdOf(route),
    summary: route.summary,
    ...accessOf(route),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.body === undefined ? {} : { requestBody: bodyOf(route.body, components) }),
    responses: responsesOf(route, components, problem),
  };
}

/** Of open routes: a token is not needed, but may tell more. */
function accessOf({ access }: Route): Json {
  return access === 'open' ? { security: [{}, { token: [] }] } : { description: `Asks for: ${NEEDED[access]}.` };
}

function operationIdOf(route: Route): string {
  const words = route.path.split(/[^A-Za-z]+/).filter((word) => word !== '');
  return route.method.toLowerCase() + words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join('');
}

function pathParameters(route: Route): Json[] {
  return [...route.path.matchAll(/:(\w+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
}

function queryParameters(route: Route, components: Components): Json[] {
  if (route.query === undefined) return [];
  const { properties = {} } = components.add(route.query, 'input') as { properties?: Record<string, Json> };
  return Object.entries(properties).map(([name, schema]) => ({ name, in: 'query', schema: parameterSchema(schema) }));
}

/** The contract says for a parameter what its text stands for; what holds for the text alone is left out. */
function parameterSchema(schema: Json): Json {
  if (schema.type === 'string' || schema.type === undefined) return schema;
  const { pattern: _pattern, enum: _enum, ...rest } = schema;
  return rest;
}

const TAKES_IF_MATCH = /^(PUT|DELETE) \/workloads\/:id$|^POST \/workloads\/:id\/(restart|scale)$/;

function headerParameters(route: Route): Json[] {
  const name = `${route.method} ${route.path}`;
  const header = (header: string, description: string, schema: Json) => ({
    name: header,
    in: 'header',
    description,
    schema: { type: 'string', ...schema },
  });
  if (TAKES_IF_MATCH.test(name)) {
    return [header('If-Match', 'Only if the workload has this version', { pattern: '^("\\d+"|\\*)$' })];
  }
  if (name === 'POST /workloads') {
    return [header('Idempotency-Key', 'The same key and body get the same answer for 24 hours', { maxLength: 256 })];
  }
  if (name === 'GET /events') {
    return [header('Last-Event-ID', 'The seq of the last event seen; wins over since', { pattern: '^\\d+$' })];
  }
  return [];
}

function bodyOf(body: z.ZodType, components: Components): Json {
  return {
    required: !body.safeParse({}).success,
    content: { 'application/json': { schema: components.add(body, 'input') } },
  };
}

function responsesOf(route: Route, components: Components, problem: Json): Json {
  const responses: Json = {};
  for (const [status, schema] of Object.entries(route.answers)) {
    const media = route.media ?? 'application/json';
    const content = schema === null ? { type: 'string' } : components.add(schema, 'output');
    responses[status] = {
      description: route.summary,
      ...(schema === null && route.media === undefined ? {} : { content: { [media]: { schema: content } } }),
    };
  }
  if (route.path === '/readyz') {
    responses[503] = { description: 'Not ready', content: { 'text/plain': { schema: { type: 'string' } } } };
  }
  for (const [status, titles] of problemsOf(route)) {
    responses[status] = {
      description: titles.join('; '),
      content: { 'application/problem+json': { schema: problem } },
    };
  }
  return responses;
}

/** Which of the error table a route may answer, by status. */
function problemsOf(route: Route): Map<number, string[]> {
  const changes = changesSomething(route);
  const takesBody = route.method === 'POST' || route.method === 'PUT';
  const codes: ErrorCode[] = ['INVALID_INPUT', 'UNAUTHENTICATED', 'CROSS_SITE', 'WRONG_HOST', 'TOO_MANY_REQUESTS'];
  if (route.access !== 'open') codes.push('FORBIDDEN');
  if (takesBody) codes.push('BAD_JSON', 'BODY_TOO_LARGE', 'NOT_JSON');
  if (route.path.startsWith('/workloads/:id') && route.method !== 'PUT') codes.push('WORKLOAD_NOT_FOUND');
  if (route.path.startsWith('/nodes/:id')) codes.push('NODE_NOT_FOUND');
  if (route.path.startsWith('/tokens/:id')) codes.push('TOKEN_NOT_FOUND');
  if (route.path === '/workloads/:id/logs') codes.push('INSTANCE_NOT_FOUND');
  if (route.path === '/events') codes.push('EVENTS_GONE');
  if (changes) codes.push('SHUTTING_DOWN', 'STORE_UNWRITABLE', 'AUDIT_UNWRITABLE');
  if (changes && route.path.startsWith('/workloads/')) codes.push('NOT_POSSIBLE', 'VERSION_MISMATCH');
  if (route.method === 'POST' && route.path === '/workloads') codes.push('WORKLOAD_EXISTS', 'IDEMPOTENCY_CONFLICT');
  if (route.method === 'POST' && route.path === '/nodes')
    codes.push('NODE_EXISTS', 'NODE_UNREACHABLE', 'WRONG_CLUSTER');
  if (route.method === 'DELETE' && route.path === '/nodes/:id') codes.push('NODE_IN_USE');
  if (route.path === '/nodes/:id/metrics') codes.push('NODE_UNREACHABLE');
  if (route.path === '/secrets/:id') codes.push('SECRET_IN_USE');
  if (route.path === '/secrets/:id' && route.method === 'DELETE') codes.push('SECRET_NOT_FOUND');
  codes.push('INTERNAL');
  const byStatus = new Map<number, string[]>();
  for (const code of codes) {
    const { status, title } = ERRORS[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), title]);
  }
  return byStatus;
}

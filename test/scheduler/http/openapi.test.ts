import { SCHEDULER_ROUTES } from '../../../contract/routes';
import { openapiOf } from '../../../scheduler/http/openapi';

type Json = Record<string, unknown>;
interface Operation {
  operationId: string;
  parameters?: { name: string; in: string; schema: Json }[];
  requestBody?: { required: boolean; content: Record<string, { schema: Json }> };
  responses: Record<string, { description: string; content?: Record<string, { schema: Json }> }>;
}

const document = openapiOf(SCHEDULER_ROUTES) as {
  openapi: string;
  info: Json;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Json> };
};
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ name: `${method.toUpperCase()} ${path}`, operation })),
);

function* everyObject(value: unknown): Generator<Json> {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value)) yield value as Json;
  for (const child of Object.values(value)) yield* everyObject(child);
}

describe('the OpenAPI document', () => {
  it('is of version 3.1 and survives JSON', () => {
    expect(document.openapi).toBe('3.1.0');
    expect(document.info).toMatchObject({ title: expect.any(String), version: expect.any(String) });
    expect(JSON.parse(JSON.stringify(document))).toEqual(document);
  });

  it('tells of exactly the routes of the table', () => {
    const routes = SCHEDULER_ROUTES.map((route) => `${route.method} ${route.path.replace(':id', '{id}')}`);
    expect(operations.map(({ name }) => name).sort()).toEqual([...routes].sort());
  });

  it('has a name of its own for each operation', () => {
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('resolves every reference, and uses every component', () => {
    const names = Object.keys(document.components.schemas);
    const used = new Set<string>();
    for (const object of everyObject(document)) {
      if (typeof object.$ref !== 'string') continue;
      const name = /^#\/components\/schemas\/([A-Za-z0-9]+)$/.exec(object.$ref)?.[1];
      expect(names).toContain(name);
      used.add(name!);
    }
    expect([...used].sort()).toEqual([...names].sort());
    expect(names).toEqual(
      expect.arrayContaining(['Workload', 'WorkloadInput', 'Node', 'Instance', 'Event', 'Problem']),
    );
  });

  it('names every parameter of a path, and every one of a query', () => {
    for (const route of SCHEDULER_ROUTES) {
      const operation = document.paths[route.path.replace(':id', '{id}')]![route.method.toLowerCase()]!;
      const named = (place: string) => (operation.parameters ?? []).filter((p) => p.in === place).map((p) => p.name);
      expect(named('path')).toEqual(route.path.includes(':id') ? ['id'] : []);
      expect(named('query')).toEqual('query' in route ? Object.keys(route.query.shape) : []);
    }
  });

  it('gives parameters the type they stand for, with bounds and default', () => {
    const limit = document.paths['/workloads']!.get!.parameters!.find((p) => p.name === 'limit')!;
    expect(limit.schema).toEqual({ type: 'integer', minimum: 1, maximum: 1_000, default: 100 });
    const purge = document.paths['/workloads/{id}']!.delete!.parameters!.find((p) => p.name === 'purge')!;
    expect(purge.schema).toEqual({ type: 'boolean', default: false });
  });

  it('asks for bodies where they are needed, as they may be given', () => {
    expect(document.paths['/workloads']!.post!.requestBody!.required).toBe(true);
    expect(document.paths['/nodes/{id}/drain']!.post!.requestBody!.required).toBe(false);
    expect(document.components.schemas.WorkloadInput).toMatchObject({ type: 'object', additionalProperties: false });
    expect(document.components.schemas.WorkloadInput!.oneOf).toEqual([
      { required: ['script'] },
      { required: ['command'] },
    ]);
    expect(document.components.schemas.WorkloadInput!.required ?? []).not.toContain('kind');
    expect(document.components.schemas.Workload!.additionalProperties).toBeUndefined();
  });

  it('has success and problem answers for every operation', () => {
    for (const { operation } of operations) {
      const statuses = Object.keys(operation.responses);
      expect(statuses.some((status) => status.startsWith('2'))).toBe(true);
      expect(operation.responses[400]!.content!['application/problem+json']!.schema).toEqual({
        $ref: '#/components/schemas/Problem',
      });
    }
  });
});

/** `/workloads`, but for its logs. */
import { MorchError, parseInput } from '../../contract/errors';
import { dnsLabelSchema } from '../../contract/fields';
import type { Workload } from '../../contract/workload';
import type { SchedulerApi } from '../api';
import type { HandlersOf } from './handlers';
import { etagOf, idempotencyOf, ifMatchOf } from './preconditions';

export const workloadHandlers: HandlersOf<
  | 'GET /workloads'
  | 'POST /workloads'
  | 'GET /workloads/:id'
  | 'PUT /workloads/:id'
  | 'DELETE /workloads/:id'
  | 'GET /workloads/:id/instances'
  | 'POST /workloads/:id/restart'
  | 'POST /workloads/:id/scale'
  | 'GET /workloads/:id/blackbox'
  | 'GET /workloads/:id/history'
> = {
  'GET /workloads': async ({ query }, { api }) => {
    const { status, node, label, ...page } = query;
    return { status: 200, body: await api.listWorkloads({ status, node, label: labelOf(label) }, page) };
  },

  'POST /workloads': async ({ body, rawBody, req }, { api }) => {
    const submitted = await api.submit(body, idempotencyOf(req, rawBody));
    const headers = { ...tagged(submitted), ...located(submitted) };
    return { status: 201, body: submitted.answer, made: submitted, headers };
  },

  'GET /workloads/:id': ({ id }, { api }) => {
    const workload = api.workload(id);
    return { status: 200, body: workload, headers: tagged(workload) };
  },

  'PUT /workloads/:id': async ({ id, body, req }, { api }) => {
    parseInput(dnsLabelSchema, id, 'id in the path');
    if (body.id !== undefined && body.id !== id) {
      throw new MorchError('INVALID_INPUT', `The body is for ${body.id}, the path for ${id}`, {
        errors: [{ pointer: '/id', message: `must be ${id}, or left out` }],
      });
    }
    const ifMatch = ifMatchOf(req);
    if (ifMatch === 'any') assertThere(api, id);
    const { created, workload } = await api.apply(id, body, numberOf(ifMatch));
    if (!created) return { status: 200, body: workload, headers: tagged(workload) };
    return { status: 201, body: workload, headers: { ...tagged(workload), ...located(workload) } };
  },

  'DELETE /workloads/:id': async ({ id, query, req }, { api }) => {
    const workload = await api.stop(id, query.purge, numberOf(ifMatchOf(req)));
    return { status: 202, body: workload, headers: tagged(workload) };
  },

  'GET /workloads/:id/instances': ({ id, query }, { api }) => ({ status: 200, body: api.listInstances(id, query) }),

  'POST /workloads/:id/restart': async ({ id, req }, { api }) => {
    const workload = await api.restart(id, numberOf(ifMatchOf(req)));
    return { status: 202, body: workload, headers: tagged(workload) };
  },

  'POST /workloads/:id/scale': async ({ id, body, req }, { api }) => {
    const workload = await api.scale(id, body.replicas, numberOf(ifMatchOf(req)));
    return { status: 200, body: workload, headers: tagged(workload) };
  },

  'GET /workloads/:id/blackbox': async ({ id, query }, { api }) => ({
    status: 200,
    body: await api.blackBoxRecords(id, query.instance, query),
  }),

  'GET /workloads/:id/history': async ({ id, query }, { api }) => ({ status: 200, body: await api.history(id, query) }),
};

const tagged = (workload: Pick<Workload, 'version'>) => ({ ETag: etagOf(workload) });
const located = (workload: Pick<Workload, 'id'>) => ({ Location: `/workloads/${workload.id}` });
const numberOf = (ifMatch: number | 'any' | undefined) => (ifMatch === 'any' ? undefined : ifMatch);

function labelOf(text: string | undefined): { key: string; value: string } | undefined {
  if (text === undefined) return undefined;
  const at = text.indexOf('=');
  return { key: text.slice(0, at), value: text.slice(at + 1) };
}

/** `If-Match: *` is for what is there (RFC 9110, 13.1.1); without it a PUT would create. */
function assertThere(api: SchedulerApi, id: string): void {
  try {
    api.workload(id);
  } catch (cause) {
    if (cause instanceof MorchError && cause.code === 'WORKLOAD_NOT_FOUND') {
      throw new MorchError('VERSION_MISMATCH', `If-Match: * asks for a workload ${id} that is there; it is not`, {
        cause,
      });
    }
    throw cause;
  }
}

/** `/nodes`. */
import type { HandlersOf } from './handlers';

export const nodeHandlers: HandlersOf<
  | 'GET /nodes'
  | 'POST /nodes'
  | 'GET /nodes/:id'
  | 'DELETE /nodes/:id'
  | 'POST /nodes/:id/cordon'
  | 'POST /nodes/:id/uncordon'
  | 'POST /nodes/:id/drain'
  | 'GET /nodes/:id/drill'
  | 'POST /nodes/:id/drill'
> = {
  'GET /nodes': ({ query }, { api }) => ({ status: 200, body: api.listNodes(query) }),

  'POST /nodes': async ({ body, caller }, { api }) => {
    const { created, node } = await api.registerNode(body, caller);
    if (!created) return { status: 200, body: node };
    return { status: 201, body: node, headers: { Location: `/nodes/${node.id}` } };
  },

  'GET /nodes/:id': ({ id }, { api }) => ({ status: 200, body: api.node(id) }),

  'DELETE /nodes/:id': async ({ id, query }, { api }) => {
    await api.forgetNode(id, query.force);
    return { status: 204, body: null };
  },

  'POST /nodes/:id/cordon': async ({ id }, { api }) => ({ status: 200, body: await api.cordonNode(id) }),
  'POST /nodes/:id/uncordon': async ({ id }, { api }) => ({ status: 200, body: await api.uncordonNode(id) }),
  'POST /nodes/:id/drain': async ({ id, body }, { api }) => ({
    status: 202,
    body: await api.drainNode(id, body.deadlineMs),
  }),

  'GET /nodes/:id/drill': ({ id }, { api }) => ({ status: 200, body: api.previewDrill(id) }),
  'POST /nodes/:id/drill': async ({ id, body }, { api }) => ({ status: 202, body: await api.drillNode(id, body) }),
};

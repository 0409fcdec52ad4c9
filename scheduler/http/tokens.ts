/** `/tokens`. */
import { tokenView } from '../access/tokens';
import type { HandlersOf } from './handlers';

export const tokenHandlers: HandlersOf<'GET /tokens' | 'POST /tokens' | 'DELETE /tokens/:id'> = {
  'GET /tokens': ({ query }, { tokens }) => ({ status: 200, body: tokens.list(query) }),

  'POST /tokens': async ({ body }, { tokens }) => {
    const { record, text } = await tokens.create(body);
    return {
      status: 201,
      body: { ...tokenView(record), token: text },
      headers: { Location: `/tokens/${record.id}` },
    };
  },

  'DELETE /tokens/:id': async ({ id }, { tokens }) => {
    await tokens.revoke(id);
    return { status: 204, body: null };
  },
};

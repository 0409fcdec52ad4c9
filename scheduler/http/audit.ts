/** GET `/audit`. */
import type { HandlersOf } from './handlers';

export const auditHandlers: HandlersOf<'GET /audit'> = {
  'GET /audit': async ({ query }, { audit }) => ({ status: 200, body: await audit.page(query) }),
};

/** GET `/events`; the WebSocket of the same path is in events/webSocket.ts. */
import { serveSse } from '../events/sse';
import type { HandlersOf } from './handlers';

export const eventHandlers: HandlersOf<'GET /events'> = {
  'GET /events': async ({ query, req, res }, { events }) => {
    await serveSse(events, query.since, req, res);
    return undefined;
  },
};

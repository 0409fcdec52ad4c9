/** `/metrics`, of the scheduler and, through it, of its agents. */
import { METRICS_MEDIA } from '../../contract/routes';
import { sendText } from './answer';
import type { HandlersOf } from './handlers';

export const metricsHandlers: HandlersOf<'GET /metrics' | 'GET /nodes/:id/metrics'> = {
  'GET /metrics': async ({ res }, { metrics }) => {
    sendText(res, 200, await metrics.text(), METRICS_MEDIA);
    return undefined;
  },

  'GET /nodes/:id/metrics': async ({ id, res }, { api }) => {
    sendText(res, 200, await api.nodeMetrics(id), METRICS_MEDIA);
    return undefined;
  },
};

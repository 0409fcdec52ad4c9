/** `/health`, `/livez`, `/readyz`, `/recovery`. */
import { mayUse } from '../access/guard';
import type { ReadyCheck } from '../api';
import { sendText } from './answer';
import type { HandlersOf } from './handlers';

export const healthHandlers: HandlersOf<
  | 'GET /health'
  | 'GET /livez'
  | 'GET /readyz'
  | 'GET /health/summary'
  | 'POST /health/check'
  | 'GET /recovery/metrics'
  | 'POST /recovery/release'
> = {
  'GET /health': ({ caller }, { api }) => {
    const health = api.health();
    if (mayUse('read', caller)) return { status: 200, body: health };
    const { status, version, clusterId, epoch, takesOver } = health;
    return { status: 200, body: { status, version, clusterId, epoch, takesOver } };
  },

  'GET /livez': ({ query, res }) => {
    sendText(res, 200, query.verbose ? linesOf([{ name: 'process', ok: true }]) : 'ok\n');
    return undefined;
  },

  /** A refusal lists the checks unasked: one wants to know which. */
  'GET /readyz': ({ query, res }, { api }) => {
    const checks = api.readyChecks();
    const ready = checks.every((check) => check.ok);
    sendText(res, ready ? 200 : 503, query.verbose || !ready ? linesOf(checks) : 'ok\n');
    return undefined;
  },

  'GET /health/summary': (_input, { api }) => ({ status: 200, body: api.healthSummary() }),
  'POST /health/check': async (_input, { api }) => ({ status: 200, body: await api.checkNodes() }),
  'GET /recovery/metrics': (_input, { api }) => ({ status: 200, body: api.recoveryMetrics() }),
  'POST /recovery/release': async (_input, { api }) => ({ status: 200, body: await api.releaseRecovery() }),
};

function linesOf(checks: readonly ReadyCheck[]): string {
  return checks
    .map(({ name, ok, detail }) => `[${ok ? '+' : '-'}]${name} ${ok ? 'ok' : 'failed'}${detail ? `: ${detail}` : ''}\n`)
    .join('');
}

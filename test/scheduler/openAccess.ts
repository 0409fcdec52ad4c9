/** For tests that are not about access: agents' tokens kept without a key, nobody counted, and a caller who may do everything. */
import type { Caller } from '../../scheduler/access/guard';
import { NodeTokens } from '../../scheduler/access/nodeTokens';

export const ADMIN: Caller = { kind: 'token', role: 'admin', name: 'test', id: '' };

export function openAccess() {
  const nodeTokens = new NodeTokens({ seal: (text) => text, open: (sealed) => sealed });
  const certificates = {
    nodeOf: () => undefined,
    issue: async () => ({ certificate: '', ca: '' }),
    revoke: () => {},
  };
  return { tokens: { takeUse: () => () => {} }, nodeTokens, certificates, tls: null };
}

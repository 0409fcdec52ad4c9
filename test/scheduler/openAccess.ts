/** For tests that are not about access: what is sealed kept without a key, nobody counted, and a caller who may do everything. */
import { createHmac } from 'node:crypto';
import type { Caller } from '../../scheduler/access/guard';
import { NodeTokens } from '../../scheduler/access/nodeTokens';
import { Proofs } from '../../scheduler/proofs';

export const ADMIN: Caller = { kind: 'token', role: 'admin', name: 'test', id: '' };

export const OPEN_VAULT = { seal: (text: string) => text, open: (sealed: string) => sealed };

const sign = (what: string) => createHmac('sha256', 'key').update(what).digest('base64url');
/** Of the word that agents keep. */
export const PROOFS = new Proofs({ id: 'key', sign, isSignatureOf: (what, signature) => sign(what) === signature });

export function openAccess() {
  const nodeTokens = new NodeTokens(OPEN_VAULT);
  const certificates = {
    nodeOf: () => undefined,
    issue: async () => ({ certificate: '', ca: '' }),
    revoke: () => {},
    toNode: () => undefined,
    hasTls: false,
  };
  return { tokens: { takeUse: () => () => {} }, nodeTokens, certificates };
}

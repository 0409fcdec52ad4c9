/** A connection that is begun to one node's agent, as plain data: it may be made in another thread than it is decided on. */
import { X509Certificate } from 'node:crypto';
import { BACKDATED_MS } from '../../pki/renew';
import { type ConnectionTls, TLS_SETTINGS } from '../../pki/settings';
import { identityCheck } from '../../pki/trust';

export interface NodeConnection {
  /** Whose certificate must be shown: that of the agent which is this node's. */
  node: string;
  /** PEM; whom the cluster's nodes have theirs from. */
  authority: string;
  /** Of the node's certificates those count that were issued from then on (epoch ms). */
  countsFromMs: number;
  /** Whom to believe, and what to prove oneself by: PEM. */
  ca: string;
  cert: string;
  key: string;
  /** To go on with. */
  session?: Uint8Array;
}

/** The last one that was read: there is one in a cluster. */
let known: { pem: string; certificate: X509Certificate } | null = null;

export function connectionOf({ node, authority, countsFromMs, ca, cert, key, session }: NodeConnection): ConnectionTls {
  if (known?.pem !== authority) known = { pem: authority, certificate: new X509Certificate(authority) };
  const isRevoked = (certificate: X509Certificate) => issuedAtMs(certificate) < countsFromMs;
  return {
    ...TLS_SETTINGS,
    ...{ ca, cert, key },
    checkServerIdentity: identityCheck({ kind: 'node', id: node }, [known.certificate], isRevoked),
    ...(session === undefined ? {} : { session: Buffer.from(session) }),
  };
}

/** To the second. */
export function issuedAtMs({ validFrom }: X509Certificate): number {
  return Date.parse(validFrom) + BACKDATED_MS;
}

/** What every TLS connection of morch has to keep to: TLS 1.2 or later, forward secrecy, authenticated encryption. */
import { constants } from 'node:crypto';
import type { ConnectionOptions, SecureContextOptions } from 'node:tls';

/** Those of TLS 1.3, then those of 1.2 that are left; RSA is for certificates that are brought along. */
const CIPHERS = [
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'TLS_AES_128_GCM_SHA256',
  ...['ECDSA', 'RSA'].flatMap((key) => [
    `ECDHE-${key}-AES256-GCM-SHA384`,
    `ECDHE-${key}-CHACHA20-POLY1305`,
    `ECDHE-${key}-AES128-GCM-SHA256`,
  ]),
];

/** Of a connection that is made: whom to believe, and what to prove oneself by. */
export type ConnectionTls = SecureContextOptions & Pick<ConnectionOptions, 'checkServerIdentity' | 'session'>;

export const TLS_SETTINGS = {
  minVersion: 'TLSv1.2',
  ciphers: CIPHERS.join(':'),
  ecdhCurve: 'X25519:P-256:P-384',
  honorCipherOrder: true,
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION,
} as const satisfies SecureContextOptions;

/** Whoever has not finished its handshake by then is cut off. */
export const HANDSHAKE_MS = 10_000;

/** Connections of undici's clients, each with the certificates of its moment. */
import type { buildConnector } from 'undici';
import type { ConnectionTls } from './settings';

/**
 * @param connection asked for each connection; null: plain TCP
 * @param timeoutMs for the connection, TLS included
 */
export function connectorOf(connection: (() => ConnectionTls) | null, timeoutMs: number): buildConnector.connector {
  // Loaded with the first connection: it takes a while, and a scheduler makes none this way.
  const { buildConnector } = require('undici') as typeof import('undici');
  if (connection === null) return buildConnector({ timeout: timeoutMs });
  return (options, callback) => buildConnector({ timeout: timeoutMs, ...connection() })(options, callback);
}

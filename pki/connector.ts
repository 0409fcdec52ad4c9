/** Connections of undici's clients, each with the certificates of its moment. */
import { buildConnector } from 'undici';
import type { ConnectionTls } from './settings';

/**
 * @param connection asked for each connection; null: plain TCP
 * @param timeoutMs for the connection, TLS included
 */
export function connectorOf(connection: (() => ConnectionTls) | null, timeoutMs: number): buildConnector.connector {
  if (connection === null) return buildConnector({ timeout: timeoutMs });
  return (options, callback) => buildConnector({ timeout: timeoutMs, ...connection() })(options, callback);
}

/** The headers that guard a change: `If-Match` and `Idempotency-Key`. */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { MorchError } from '../../contract/errors';
import type { IdempotencyKey } from '../api';

export function etagOf(workload: { version: number }): string {
  return `"${workload.version}"`;
}

/**
 * @returns the version asked for; `any` for `*`: whatever version, but there must be one
 * @throws MorchError INVALID_INPUT for another form than `"<version>"` or `*`
 */
export function ifMatchOf(req: IncomingMessage): number | 'any' | undefined {
  const header = req.headers['if-match'];
  if (header === undefined) return undefined;
  if (header.trim() === '*') return 'any';
  const version = /^"(\d{1,15})"$/.exec(header.trim())?.[1];
  if (version === undefined) throw invalidHeader('If-Match', 'must be "<version>" in double quotes, or *');
  return Number(version);
}

export function idempotencyOf(req: IncomingMessage, rawBody: Buffer): IdempotencyKey | undefined {
  const key = req.headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key !== 'string' || !/^[\x20-\x7e]{1,256}$/.test(key)) {
    throw invalidHeader('Idempotency-Key', 'must be 1 to 256 printable ASCII characters');
  }
  return { key, bodyHash: createHash('sha256').update(rawBody).digest('hex') };
}

function invalidHeader(name: string, message: string): MorchError {
  return new MorchError('INVALID_INPUT', `The header ${name} is not valid: ${message}`, {
    errors: [{ pointer: `/${name}`, message }],
  });
}

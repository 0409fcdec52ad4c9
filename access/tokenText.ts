/** Makes and reads the texts of tokens, and compares what is secret in constant time. The form is in contract/access.ts. */
import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { TOKEN_TEXT, type TokenRole } from '../contract/access';

const SECRET_BYTES = 32;
const ID_BYTES = 4;

export interface TokenParts {
  role: TokenRole | 'agent';
  id: string;
  secret: string;
  /** SHA-256 of the certificate of the CA that a join token tells of, as base64url. */
  caHash: string | undefined;
}

export function makeToken(role: TokenParts['role']): TokenParts {
  const secret = randomBytes(SECRET_BYTES).toString('base64url');
  return { role, id: randomBytes(ID_BYTES).toString('hex'), secret, caHash: undefined };
}

export function tokenText({ role, id, secret, caHash }: TokenParts): string {
  return `morch_${role}_${id}_${secret}${caHash === undefined ? '' : `.${caHash}`}`;
}

/** @returns null when it is not the text of a token */
export function parseToken(text: string): TokenParts | null {
  const [, role, id, secret, caHash] = TOKEN_TEXT.exec(text) ?? [];
  if (role === undefined || id === undefined || secret === undefined) return null;
  return { role: role as TokenParts['role'], id, secret, caHash };
}

/** What is kept of a secret. Slow hashing would gain nothing: it is as random as a key. */
export function hashOf(secret: string): string {
  return hash('sha256', secret, 'base64url');
}

/** Takes as long for every secret. @param hash as `hashOf` makes it */
export function isSecretOf(hash: string, secret: string): boolean {
  return timingSafeEqual(Buffer.from(hash), Buffer.from(hashOf(secret)));
}

/** Whether two texts are the same, in a time that tells nothing of either. */
export function isSameText(a: string, b: string): boolean {
  return isSecretOf(hashOf(a), b);
}

/** What the request gives as its token. @returns undefined without; `''` for an Authorization of another scheme */
export function bearerOf(headers: IncomingHttpHeaders): string | undefined {
  const { authorization } = headers;
  if (authorization === undefined) return undefined;
  return /^bearer +(\S+) *$/i.exec(authorization)?.[1] ?? '';
}

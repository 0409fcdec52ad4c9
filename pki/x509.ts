/**
 * The library that makes certificates, set to Node's own cryptography. It takes a quarter of a second to load: only
 * ca.ts and issue.ts import this, and whoever may have no need of them imports those when it has.
 */
import 'reflect-metadata';
import { createPrivateKey, createPublicKey, generateKeyPair, webcrypto } from 'node:crypto';
import { promisify } from 'node:util';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto);

const CURVE = { name: 'ECDSA', namedCurve: 'P-256' } as const;
export const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' } as const;

/** @returns a new P-256 key, PKCS #8 PEM */
export async function makeKey(): Promise<string> {
  const { privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
}

/** @throws Error when it is no P-256 key */
export async function keyPairOf(key: string): Promise<webcrypto.CryptoKeyPair> {
  const privateDer = createPrivateKey(key).export({ type: 'pkcs8', format: 'der' });
  const publicDer = createPublicKey(key).export({ type: 'spki', format: 'der' });
  return {
    privateKey: await webcrypto.subtle.importKey('pkcs8', privateDer, CURVE, false, ['sign']),
    publicKey: await webcrypto.subtle.importKey('spki', publicDer, CURVE, true, ['verify']),
  };
}

export { x509 };

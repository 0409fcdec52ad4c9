/**
 * Certificates of a cluster's authority, for a key of one's own or for a request. A certificate tells who its holder is
 * (names.ts). Host names are in the scheduler's only: with one in its certificate, a node could pass for another machine.
 */
import type { webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import { MorchError } from '../contract/errors';
import { type Authority, makeSerial } from './ca';
import { commonNameOf, ORGANISATION, type Subject } from './names';
import { BACKDATED_MS } from './renew';
import { keyPairOf, makeKey, SIGNATURE, x509 } from './x509';

/** What its holder proves itself by. */
export interface Credential {
  /** PEM. */
  certificate: string;
  /** PKCS #8 PEM. */
  key: string;
}

interface Issuing {
  authority: Authority;
  subject: Subject;
  /** Host names and addresses. */
  hosts?: readonly string[];
  validityMs: number;
  nowMs: number;
}

/** With a new key. */
export async function issueCredential(issuing: Issuing): Promise<Credential> {
  const key = await makeKey();
  const { publicKey } = await keyPairOf(key);
  return { certificate: await sign(issuing, publicKey), key };
}

/**
 * A certificate for whoever holds the request's key. What the request says of its holder is passed over: `subject` counts.
 *
 * @param request PKCS #10, PEM
 * @throws MorchError INVALID_INPUT when it is none, is not signed by its own key, or that is no P-256 key
 */
export async function issueForRequest(request: string, issuing: Issuing): Promise<string> {
  return sign(issuing, await publicKeyOf(request));
}

export interface KeyAndRequest {
  key: string;
  /** PEM. */
  request: string;
}

export async function makeRequest(subject: Subject): Promise<KeyAndRequest> {
  const key = await makeKey();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: distinguishedName(subject),
    keys: await keyPairOf(key),
    signingAlgorithm: SIGNATURE,
  });
  return { key, request: request.toString('pem') };
}

async function publicKeyOf(pem: string): Promise<webcrypto.CryptoKey> {
  const refused = (why: string, cause?: unknown) => {
    const errors = [{ pointer: '/csr', message: why }];
    return new MorchError('INVALID_INPUT', `The certificate request ${why}.`, { errors, cause });
  };
  let request: x509.Pkcs10CertificateRequest;
  try {
    request = new x509.Pkcs10CertificateRequest(pem);
  } catch (cause) {
    throw refused('is no PKCS #10 request in PEM', cause);
  }
  const { name, namedCurve } = request.publicKey.algorithm as webcrypto.EcKeyAlgorithm;
  if (name !== 'ECDSA' || namedCurve !== 'P-256') throw refused('must have a P-256 key');
  if (!(await request.verify().catch(() => false))) throw refused('is not signed by its own key');
  return request.publicKey.export();
}

async function sign(
  { authority, subject, hosts = [], validityMs, nowMs }: Issuing,
  publicKey: webcrypto.CryptoKey,
): Promise<string> {
  const issuer = new x509.X509Certificate(authority.certificate);
  const { privateKey } = await keyPairOf(authority.key);
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
  const names = hosts.map((host) => ({ type: isIP(host) === 0 ? 'dns' : 'ip', value: host }) as const);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: makeSerial(),
    subject: distinguishedName(subject),
    issuer: issuer.subjectName,
    notBefore: new Date(nowMs - BACKDATED_MS),
    notAfter: new Date(nowMs + validityMs),
    publicKey,
    signingKey: privateKey,
    signingAlgorithm: SIGNATURE,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([serverAuth, clientAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)]),
    ],
  });
  return certificate.toString('pem');
}

function distinguishedName(subject: Subject): string {
  return `O=${ORGANISATION}, CN=${commonNameOf(subject)}`;
}

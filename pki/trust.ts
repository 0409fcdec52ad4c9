/**
 * Whom to believe: the authorities of a cluster, what a join token says of them, and whether who answers is who is meant.
 * Certificates that a cluster's own authority has signed are judged by their common name, wherever their holder is
 * reached; those of any other authority by the host name, as everywhere.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { MorchError } from '../contract/errors';
import { commonNameOf, ORGANISATION, type Subject, subjectOfCommonName } from './names';

/**
 * @param pem any number of certificates
 * @param from names it in the error
 * @throws MorchError INVALID_INPUT unless there is one and each is a certificate
 */
export function certificatesOf(pem: string, from: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  try {
    if (blocks.length === 0) throw new Error('it holds no certificate');
    return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    const detail = `${from} must hold certificates in PEM: ${(cause as Error).message}.`;
    throw new MorchError('INVALID_INPUT', detail, { cause });
  }
}

/** SHA-256 of the certificates one after the other (DER), base64url: of a cluster's one authority, as it stands in join tokens. */
export function hashOf(certificates: readonly X509Certificate[]): string {
  const hash = createHash('sha256');
  for (const { raw } of certificates) hash.update(raw);
  return hash.digest('base64url');
}

/** OpenSSL's names for a chain of certificates that leads to nobody who is trusted, or is out of date. */
const UNTRUSTED = /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_|CERT_|ERR_TLS_CERT_)/;

/** @param code of the error with which a connection failed */
export function isUntrusted(code: string | undefined): boolean {
  return UNTRUSTED.test(code ?? '');
}

/** That it was made by a scheduler, for a cluster. */
export function isClusterAuthority(certificate: X509Certificate): boolean {
  return certificate.ca && certificate.toLegacyObject().subject.O === ORGANISATION;
}

/** Whom a certificate speaks for; null when none of the authorities has signed it. Its time is not looked at: TLS does that. */
export function subjectOf(certificate: X509Certificate, authorities: readonly X509Certificate[]): Subject | null {
  const isSigned = authorities.some(
    (authority) => certificate.checkIssued(authority) && certificate.verify(authority.publicKey),
  );
  const name = certificate.toLegacyObject().subject.CN;
  return isSigned && typeof name === 'string' ? subjectOfCommonName(name) : null;
}

/**
 * For the `checkServerIdentity` of a connection: is it `expected` who answers?
 *
 * @param authorities those whose certificates are judged by their common name; others are by the host name
 * @param isRevoked of those that are judged by their common name, and have the right one
 * @returns what it wants: undefined, or why not
 */
export function identityCheck(
  expected: Subject,
  authorities: readonly X509Certificate[],
  isRevoked: (certificate: X509Certificate) => boolean = () => false,
): (host: string, peer: PeerCertificate) => Error | undefined {
  return (host, peer) => {
    const certificate = new X509Certificate(peer.raw);
    const signer = authorities.find((authority) => certificate.verify(authority.publicKey));
    if (signer === undefined) return checkServerIdentity(host, peer);
    const found = subjectOf(certificate, [signer]);
    if (found === null || commonNameOf(found) !== commonNameOf(expected)) {
      const who = found === null ? 'nobody that is known' : commonNameOf(found);
      const error = new Error(`${commonNameOf(expected)} was expected there, and the certificate is of ${who}`);
      return Object.assign(error, { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    }
    if (!isRevoked(certificate)) return undefined;
    const error = new Error(`the certificate of ${commonNameOf(expected)} there counts no more: it was revoked`);
    return Object.assign(error, { code: 'CERT_REVOKED' });
  };
}

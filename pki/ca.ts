/** A cluster's certificate authority: made once, at the scheduler's first start with TLS; its key never leaves the scheduler. */
import { randomBytes } from 'node:crypto';
import { ORGANISATION } from './names';
import { BACKDATED_MS } from './renew';
import { keyPairOf, makeKey, SIGNATURE, x509 } from './x509';

const YEARS_MS = 10 * 365 * 86_400_000;

export interface Authority {
  /** PEM. */
  certificate: string;
  /** PKCS #8 PEM. */
  key: string;
}

export async function makeAuthority(nowMs: number): Promise<Authority> {
  const key = await makeKey();
  const keys = await keyPairOf(key);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: makeSerial(),
    // A name of its own: clients may trust several clusters.
    name: `O=${ORGANISATION}, CN=morch cluster authority ${randomBytes(4).toString('hex')}`,
    notBefore: new Date(nowMs - BACKDATED_MS),
    notAfter: new Date(nowMs + YEARS_MS),
    keys,
    signingAlgorithm: SIGNATURE,
    extensions: [
      // None that it signs may sign others.
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: certificate.toString('pem'), key };
}

/** 16 random bytes, positive as RFC 5280 (4.1.2.2) wants it. @returns hex */
export function makeSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return bytes.toString('hex');
}

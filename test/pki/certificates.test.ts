import { X509Certificate } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type Authority, makeAuthority } from '../../pki/ca';
import { issueCredential, issueForRequest, makeRequest } from '../../pki/issue';
import { SCHEDULER } from '../../pki/names';
import { hasOpenssl, openssl } from './openssl';

const VALIDITY_MS = 90 * 86_400_000;
const nowMs = Date.now();
const n1 = { kind: 'node', id: 'n1' } as const;
let authority: Authority;
let directory: string;

beforeAll(async () => {
  authority = await makeAuthority(nowMs);
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'morch-pki-'));
});
afterAll(() => fs.rmSync(directory, { recursive: true, force: true }));

function file(name: string, content: string): string {
  const where = path.join(directory, name);
  fs.writeFileSync(where, content);
  return where;
}

const describeCertificate = (pem: string): string => openssl(['x509', '-noout', '-text'], pem).text;

test('a request is answered by a certificate for its key, whatever it calls its holder', async () => {
  const { key, request } = await makeRequest({ kind: 'node', id: 'other' });
  const certificate = await issueForRequest(request, { authority, subject: n1, validityMs: VALIDITY_MS, nowMs });
  const read = new X509Certificate(certificate);
  expect(read.subject.split('\n')).toContain('CN=node:n1');
  expect(read.verify(new X509Certificate(authority.certificate).publicKey)).toBe(true);
  expect(Date.parse(read.validFrom)).toBeLessThan(nowMs);
  expect(Date.parse(read.validTo)).toBe(Math.floor((nowMs + VALIDITY_MS) / 1_000) * 1_000);
  expect(read.checkPrivateKey(require('node:crypto').createPrivateKey(key))).toBe(true);
});

test('a request that was changed after it was signed is refused', async () => {
  const { request } = await makeRequest(n1);
  const der = Buffer.from(request.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  der[der.length - 3]! ^= 1;
  const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----`;
  const issuing = issueForRequest(pem, { authority, subject: n1, validityMs: VALIDITY_MS, nowMs });
  await expect(issuing).rejects.toMatchObject({ code: 'INVALID_INPUT' });
});

test.each(['', 'nonsense', '-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----'])(
  'what is no request is refused: %j',
  async (pem) => {
    const issuing = issueForRequest(pem, { authority, subject: n1, validityMs: VALIDITY_MS, nowMs });
    await expect(issuing).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  },
);

(hasOpenssl ? describe : describe.skip)('as openssl sees it', () => {
  test('the authority may sign certificates, and none that sign others', () => {
    const text = describeCertificate(authority.certificate);
    expect(text).toMatch(/X509v3 Basic Constraints: critical\s+CA:TRUE, pathlen:0/);
    expect(text).toMatch(/X509v3 Key Usage: critical\s+Certificate Sign, CRL Sign/);
    expect(text).toContain('ecdsa-with-SHA256');
    expect(text).toContain('ASN1 OID: prime256v1');
    const { notAfter } = /Not After : (?<notAfter>.+)/.exec(text)!.groups!;
    const years = (Date.parse(notAfter!) - nowMs) / (365 * 86_400_000);
    expect(years).toBeCloseTo(10, 1);
  });

  test('a scheduler’s certificate holds for its hosts and is no authority', async () => {
    const hosts = ['scheduler.example', '10.0.0.1', 'fd00::1'];
    const { certificate } = await issueCredential({
      authority,
      subject: SCHEDULER,
      hosts,
      validityMs: VALIDITY_MS,
      nowMs,
    });
    const text = describeCertificate(certificate);
    expect(text).toMatch(/DNS:scheduler\.example, IP Address:10\.0\.0\.1, IP Address:FD00:0:0:0:0:0:0:1/);
    expect(text).toMatch(/Basic Constraints: critical\s+CA:FALSE/);
    expect(text).toMatch(/Extended Key Usage: *\s+TLS Web Server Authentication, TLS Web Client Authentication/);
    const ca = file('ca.crt', authority.certificate);
    const verify = ['verify', '-x509_strict', '-CAfile', ca];
    const leaf = file('scheduler.crt', certificate);
    for (const purpose of ['sslserver', 'sslclient']) {
      expect(openssl([...verify, '-purpose', purpose, leaf]).text).toContain('OK');
    }
    expect(openssl([...verify, '-verify_ip', '10.0.0.1', leaf]).code).toBe(0);
    expect(openssl([...verify, '-verify_ip', '10.0.0.2', leaf]).code).not.toBe(0);
  });

  test('a node’s certificate names no host, so that it passes for none', async () => {
    const { request } = await makeRequest(n1);
    const certificate = await issueForRequest(request, { authority, subject: n1, validityMs: VALIDITY_MS, nowMs });
    expect(describeCertificate(certificate)).not.toContain('Subject Alternative Name');
    const ca = file('ca.crt', authority.certificate);
    const leaf = file('n1.crt', certificate);
    expect(openssl(['verify', '-x509_strict', '-CAfile', ca, '-purpose', 'sslclient', leaf]).code).toBe(0);
  });

  test('what a certificate’s holder signs is believed by nobody', async () => {
    const holder = await issueCredential({ authority, subject: n1, validityMs: VALIDITY_MS, nowMs });
    const asAuthority = { certificate: holder.certificate, key: holder.key };
    const forged = await issueCredential({
      authority: asAuthority,
      subject: SCHEDULER,
      validityMs: VALIDITY_MS,
      nowMs,
    });
    const ca = file('ca.crt', authority.certificate);
    const between = file('n1.crt', holder.certificate);
    const leaf = file('forged.crt', forged.certificate);
    expect(openssl(['verify', '-CAfile', ca, '-untrusted', between, leaf]).code).not.toBe(0);
  });

  test('a request of another kind of key is refused', async () => {
    const key = file('rsa.key', openssl(['genrsa', '2048']).text.replace(/^[^-]*/, ''));
    const { text } = openssl(['req', '-new', '-key', key, '-subj', '/CN=node:n1']);
    const issuing = issueForRequest(text, { authority, subject: n1, validityMs: VALIDITY_MS, nowMs });
    await expect(issuing).rejects.toMatchObject({ code: 'INVALID_INPUT', message: expect.stringContaining('P-256') });
  });
});

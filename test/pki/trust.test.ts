import { X509Certificate } from 'node:crypto';
import type { PeerCertificate } from 'node:tls';
import { type Authority, makeAuthority } from '../../pki/ca';
import { type Credential, issueCredential } from '../../pki/issue';
import { SCHEDULER, type Subject } from '../../pki/names';
import { certificatesOf, hashOf, identityCheck, subjectOf } from '../../pki/trust';

const nowMs = Date.now();
const n1: Subject = { kind: 'node', id: 'n1' };
let ours: Authority;
let others: Authority;
const trusted = () => certificatesOf(ours.certificate, 'ca.crt');

beforeAll(async () => {
  [ours, others] = await Promise.all([makeAuthority(nowMs), makeAuthority(nowMs)]);
});

const issue = (authority: Authority, subject: Subject, hosts: string[] = []): Promise<Credential> =>
  issueCredential({ authority, subject, hosts, validityMs: 60_000, nowMs });
const peer = ({ certificate }: Credential): PeerCertificate =>
  new X509Certificate(certificate).toLegacyObject() as PeerCertificate;

test('a certificate speaks for whom its authority says, and for nobody under another authority', async () => {
  const read = async (authority: Authority, subject: Subject) =>
    new X509Certificate((await issue(authority, subject)).certificate);
  expect(subjectOf(await read(ours, n1), trusted())).toEqual(n1);
  expect(subjectOf(await read(ours, SCHEDULER), trusted())).toEqual(SCHEDULER);
  expect(subjectOf(await read(others, n1), trusted())).toBeNull();
});

test('the scheduler is known by its certificate, wherever it is reached', async () => {
  const check = identityCheck(SCHEDULER, trusted());
  expect(check('10.9.9.9', peer(await issue(ours, SCHEDULER, ['10.0.0.1'])))).toBeUndefined();
});

test('a node passes neither for the scheduler nor for another node', async () => {
  const node = peer(await issue(ours, n1));
  expect(identityCheck(n1, trusted())('10.0.0.7', node)).toBeUndefined();
  expect(identityCheck(SCHEDULER, trusted())('10.0.0.7', node)).toMatchObject({
    message: expect.stringContaining('of node:n1'),
  });
  expect(identityCheck({ kind: 'node', id: 'n2' }, trusted())('10.0.0.7', node)).toBeInstanceOf(Error);
});

test('a certificate of another authority counts for its host names only, whatever it is called', async () => {
  const check = identityCheck(SCHEDULER, trusted());
  const own = peer(await issue(others, SCHEDULER, ['morch.example']));
  expect(check('morch.example', own)).toBeUndefined();
  expect(check('10.0.0.1', own)).toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
});

test('the hash of authorities depends on each of them and their order', () => {
  const [a, b] = [ours, others].map(({ certificate }) => new X509Certificate(certificate));
  const hashes = [[a!], [b!], [a!, b!], [b!, a!]].map(hashOf);
  expect(new Set(hashes).size).toBe(4);
  expect(hashes[0]).toBe(Buffer.from(a!.fingerprint256.replaceAll(':', ''), 'hex').toString('base64url'));
});

test.each(['', 'nothing', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'])(
  'what is no certificate is refused, by the name of its file: %j',
  (pem) => {
    expect(() => certificatesOf(pem, '--tls-ca x')).toThrow(/--tls-ca x must hold certificates/);
  },
);

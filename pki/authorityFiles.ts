/** An authority and a credential of its own, kept in one directory: `ca.crt`, `ca.key`, `<name>.crt`, `<name>.key`. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { readPrivateFile, writePrivateFile } from '../access/privateFile';
import { MorchError } from '../contract/errors';
import { type Authority, makeAuthority } from './ca';
import { type Credential, issueCredential } from './issue';
import { commonNameOf, type Subject } from './names';
import { renewAtMs, validityOf } from './renew';
import { subjectOf } from './trust';

/** Made at the first start. @throws MorchError INVALID_INPUT when one of the two files is missing or no such */
export async function openAuthority(directory: string): Promise<Authority> {
  const certificateFile = path.join(directory, 'ca.crt');
  const keyFile = path.join(directory, 'ca.key');
  const [certificate, key] = await Promise.all([readPrivateFile(certificateFile), readPrivateFile(keyFile)]);
  if (certificate === null) {
    // A key without its certificate is what a crash has left: nothing has been signed with it.
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const made = await makeAuthority(Date.now());
    await writePrivateFile(keyFile, made.key);
    await writePrivateFile(certificateFile, made.certificate);
    return made;
  }
  try {
    if (key === null) throw new Error('the key is missing');
    const read = new X509Certificate(certificate);
    if (!read.ca) throw new Error('the certificate is not of an authority');
    if (!read.checkPrivateKey(createPrivateKey(key))) throw new Error('the key is not that of the certificate');
    return { certificate, key };
  } catch (cause) {
    const detail = `${certificateFile} and ${keyFile} are no authority: ${(cause as Error).message}. Restore them from a copy; with new ones nodes have to join anew.`;
    throw new MorchError('INVALID_INPUT', detail, { cause });
  }
}

export interface OwnCredential {
  subject: Subject;
  hosts: readonly string[];
  validityMs: number;
}

/** The one that is there, unless it is due, of another authority, or not for these hosts. */
export async function openCredential(
  directory: string,
  name: string,
  authority: Authority,
  own: OwnCredential,
): Promise<Credential> {
  const [certificate, key] = await Promise.all([
    readPrivateFile(path.join(directory, `${name}.crt`)),
    readPrivateFile(path.join(directory, `${name}.key`)),
  ]);
  const found = certificate === null || key === null ? null : { certificate, key };
  return found !== null && isUsable(found, authority, own) ? found : renewCredential(directory, name, authority, own);
}

export async function renewCredential(
  directory: string,
  name: string,
  authority: Authority,
  { subject, hosts, validityMs }: OwnCredential,
): Promise<Credential> {
  const issued = await issueCredential({ authority, subject, hosts, validityMs, nowMs: Date.now() });
  // A crash in between leaves no pair: another one is issued then.
  await writePrivateFile(path.join(directory, `${name}.key`), issued.key);
  await writePrivateFile(path.join(directory, `${name}.crt`), issued.certificate);
  return issued;
}

function isUsable({ certificate, key }: Credential, authority: Authority, { subject, hosts }: OwnCredential): boolean {
  try {
    const read = new X509Certificate(certificate);
    const found = subjectOf(read, [new X509Certificate(authority.certificate)]);
    return (
      found !== null &&
      commonNameOf(found) === commonNameOf(subject) &&
      read.checkPrivateKey(createPrivateKey(key)) &&
      Date.now() < renewAtMs(validityOf(certificate)) &&
      hosts.every((host) => read.checkHost(host) !== undefined || read.checkIP(host) !== undefined)
    );
  } catch {
    return false;
  }
}

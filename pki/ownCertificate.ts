/** A certificate that its owner brings along (`--tls-cert`, `--tls-key`): checked, and read again when its files have changed. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { MorchError } from '../contract/errors';
import type { Credential } from './issue';
import { isExpired } from './renew';
import { TLS_SETTINGS } from './settings';

const LOOK_MS = 10_000;

export interface CertificateFiles {
  /** The certificate, then those between it and its authority. */
  certificate: string;
  key: string;
}

/** @throws MorchError INVALID_INPUT naming the flag: unreadable, not a pair, out of date */
export async function loadOwn(files: CertificateFiles, nowMs: number): Promise<Credential> {
  const certificate = await readFlag('--tls-cert', files.certificate);
  const key = await readFlag('--tls-key', files.key);
  try {
    if (!new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key)))
      throw new Error('the key is another one’s');
    createSecureContext({ ...TLS_SETTINGS, cert: certificate, key });
  } catch (cause) {
    const detail = `--tls-cert ${files.certificate} and --tls-key ${files.key} are no certificate and its key: ${(cause as Error).message}.`;
    throw new MorchError('INVALID_INPUT', detail, { cause });
  }
  if (isExpired(certificate, nowMs)) {
    const { validTo } = new X509Certificate(certificate);
    throw new MorchError('INVALID_INPUT', `--tls-cert ${files.certificate} has been out of date since ${validTo}.`);
  }
  return { certificate, key };
}

/** @throws MorchError INVALID_INPUT naming the flag */
export async function readFlag(flag: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new MorchError('INVALID_INPUT', `Cannot read ${flag} ${file}: ${(cause as Error).message}`, { cause });
  }
}

/**
 * Looks every 10 s, for as long as the process lives or until it is ended. A pair that cannot be used is said once, and
 * the one before it serves on.
 *
 * @returns ends it
 */
export function watchOwn(
  files: CertificateFiles,
  present: Credential,
  onChange: (credential: Credential) => void,
  onFailure: (error: unknown) => void,
): () => void {
  let known = present.certificate;
  let failure = '';
  const look = async (): Promise<void> => {
    try {
      const found = await loadOwn(files, Date.now());
      failure = '';
      if (found.certificate === known) return;
      known = found.certificate;
      onChange(found);
    } catch (error) {
      if (String(error) !== failure) onFailure(error);
      failure = String(error);
    }
  };
  const timer = setInterval(() => void look(), LOOK_MS);
  timer.unref();
  return () => clearInterval(timer);
}

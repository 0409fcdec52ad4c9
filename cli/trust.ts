/**
 * By what a scheduler that speaks TLS is known: `--ca-file`, MORCH_CACERT, the `caFile` of a context with its address, on
 * this machine the authority in the data directory that schedulers have by default. Else by the authorities of the system.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { MorchError } from '../contract/errors';
import { SCHEDULER } from '../pki/names';
import { type ConnectionTls, TLS_SETTINGS } from '../pki/settings';
import { certificatesOf, identityCheck, isClusterAuthority } from '../pki/trust';
import { defaultDataDir } from './dataDir';

export interface Authorities {
  /** PEM. */
  certificates: string;
  /** Where they were found, for messages. */
  source: string;
}

/**
 * @param named the file of the context
 * @param onLoopback whether the scheduler is on this machine
 * @throws MorchError INVALID_INPUT for a file that was named and cannot be used
 */
export function chooseAuthorities(
  flag: string | undefined,
  named: { caFile: string; source: string } | undefined,
  onLoopback: boolean,
  env: NodeJS.ProcessEnv,
): Authorities | undefined {
  if (flag !== undefined) return authoritiesIn(flag, '--ca-file');
  const { MORCH_CACERT: variable } = env;
  if (variable !== undefined && variable !== '') return authoritiesIn(variable, 'MORCH_CACERT');
  if (named !== undefined) return authoritiesIn(named.caFile, named.source);
  if (!onLoopback) return undefined;
  const file = path.join(defaultDataDir('scheduler', env), 'pki', 'ca.crt');
  try {
    return { certificates: readFileSync(file, 'utf8'), source: file };
  } catch {
    return undefined;
  }
}

export function connectionTo(authorities: Authorities | undefined): ConnectionTls {
  if (authorities === undefined) return TLS_SETTINGS;
  const { certificates, source } = authorities;
  const clusters = certificatesOf(certificates, source).filter(isClusterAuthority);
  return { ...TLS_SETTINGS, ca: certificates, checkServerIdentity: identityCheck(SCHEDULER, clusters) };
}

function authoritiesIn(file: string, from: string): Authorities {
  const source = `${from} ${file}`;
  let certificates: string;
  try {
    certificates = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new MorchError('INVALID_INPUT', `${from}: ${(cause as Error).message}`, { cause });
  }
  certificatesOf(certificates, source);
  return { certificates, source };
}

/** Opens the kind of TLS that an agent is to have. */
import type { Logger } from 'pino';
import { hostsOf } from '../../pki/hosts';
import type { CertificateFiles } from '../../pki/ownCertificate';
import { type AgentOptions, tlsKindOf } from '../options';
import { MemberTls } from './member';
import type { PortTls } from './port';

export interface AgentMeans {
  dataDir: string;
  /** Null: nobody is asked for it. */
  agentToken: string | null;
  /** Undefined: there is none. @throws Error in words */
  joinToken(): Promise<string | undefined>;
  log: Logger;
}

/**
 * @returns `port`: null for plain HTTP; `member`: the same, for an agent whose scheduler speaks TLS
 * @throws MorchError INVALID_INPUT naming the flag or the file that cannot be used
 */
export async function openTls(
  options: AgentOptions,
  means: AgentMeans,
): Promise<{ port: PortTls | null; member: MemberTls | null }> {
  const { name, scheduler, host, advertise, allowedHosts, tlsCert, tlsKey, tlsCa: authorities } = options;
  const kind = tlsKindOf(options);
  const own: CertificateFiles | undefined =
    tlsCert === undefined || tlsKey === undefined ? undefined : { certificate: tlsCert, key: tlsKey };
  if (kind === 'member' && scheduler !== undefined) {
    const member = await MemberTls.open({ ...means, name, scheduler, own, authorities });
    return { port: member, member };
  }
  if (kind === 'none') return { port: null, member: null };
  // Making certificates takes a while to load.
  const { openAloneTls } = require('./alone') as typeof import('./alone');
  const hosts = hostsOf(host, [...(advertise === undefined ? [] : [advertise.host]), ...allowedHosts]);
  return { port: await openAloneTls({ ...means, name, hosts, own }), member: null };
}

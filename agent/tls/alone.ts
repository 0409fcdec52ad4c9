/**
 * TLS of an agent that has no scheduler: an authority of its own in `<data-dir>/pki`, or the certificate that was brought
 * along. Who may command is told by the agent's token; clients show no certificate.
 */
import type { Server, ServerOptions } from 'node:https';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { openAuthority, openCredential, renewCredential } from '../../pki/authorityFiles';
import type { Credential } from '../../pki/issue';
import { type CertificateFiles, loadOwn, watchOwn } from '../../pki/ownCertificate';
import { startRenewal, VALIDITY_MS } from '../../pki/renew';
import { TLS_SETTINGS } from '../../pki/settings';
import type { PortTls } from './port';

const NAME = 'agent';

export interface AloneOptions {
  dataDir: string;
  name: string;
  /** Names and addresses in its certificate. */
  hosts: readonly string[];
  own: CertificateFiles | undefined;
  log: Logger;
}

/** @throws MorchError INVALID_INPUT naming the flag or the file that cannot be used */
export async function openAloneTls({ dataDir, name, hosts, own, log }: AloneOptions): Promise<PortTls> {
  const servers = new Set<Server>();
  const failed = (error: unknown) => log.error({ err: error }, 'no new certificate; the present one serves on');
  const show = (next: Credential): void => {
    shown = next;
    for (const server of servers) server.setSecureContext(contextOf(shown));
  };
  let shown: Credential;
  let end: () => void;
  if (own === undefined) {
    const directory = join(dataDir, 'pki');
    const authority = await openAuthority(directory);
    const wanted = { subject: { kind: 'node', id: name }, hosts, validityMs: VALIDITY_MS } as const;
    shown = await openCredential(directory, NAME, authority, wanted);
    const renew = async () => show(await renewCredential(directory, NAME, authority, wanted));
    end = startRenewal(() => shown.certificate, renew, failed);
  } else {
    shown = await loadOwn(own, Date.now());
    end = watchOwn(own, shown, show, failed);
  }
  return {
    serverOptions: contextOf(shown),
    serve: (server) => servers.add(server),
    close: () => end(),
  };
}

function contextOf({ certificate, key }: Credential): ServerOptions {
  return { ...TLS_SETTINGS, cert: certificate, key };
}

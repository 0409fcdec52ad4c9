/**
 * The scheduler's part in TLS: the cluster's authority and its own certificate, in `<data-dir>/pki`, made at the first start
 * with TLS. Shows the certificate on the port, presents it to agents, issues those of nodes, and replaces its own before it
 * is out of date, without a connection being dropped.
 */
import { X509Certificate } from 'node:crypto';
import type { Server } from 'node:https';
import path from 'node:path';
import type { SecureContextOptions } from 'node:tls';
import type { Logger } from 'pino';
import { openAuthority, openCredential, renewCredential } from '../../pki/authorityFiles';
import type { Authority } from '../../pki/ca';
import { type Credential, issueForRequest } from '../../pki/issue';
import { SCHEDULER } from '../../pki/names';
import { type CertificateFiles, loadOwn, readFlag, watchOwn } from '../../pki/ownCertificate';
import { startRenewal, validityOf } from '../../pki/renew';
import { TLS_SETTINGS } from '../../pki/settings';
import { certificatesOf, hashOf, subjectOf } from '../../pki/trust';
import type { NodeConnection } from './nodeConnection';

/** Of its files. */
const NAME = 'scheduler';

export interface TlsOptions {
  /** What the port shows in place of a certificate of the cluster's authority. */
  own?: CertificateFiles | undefined;
  /** File with authorities by which others verify that one, or agents that show one of their own. */
  authorities?: string | undefined;
  /** Names and addresses in the scheduler's certificate. */
  hosts: readonly string[];
  /** Of the certificates issued. */
  validityMs: number;
}

export class ClusterTls {
  private readonly servers = new Set<Server>();
  private readonly endings: (() => void)[] = [];
  private readonly authorityCertificate: X509Certificate;

  private constructor(
    private readonly authority: Authority,
    /** What it presents to agents. */
    private credential: Credential,
    private shown: Credential,
    private readonly others: string,
    private readonly options: TlsOptions,
    private readonly directory: string,
    private readonly log: Logger,
  ) {
    this.authorityCertificate = new X509Certificate(authority.certificate);
  }

  /** @throws MorchError INVALID_INPUT naming the flag or the file that cannot be used */
  static async open(dataDir: string, options: TlsOptions, log: Logger): Promise<ClusterTls> {
    const directory = path.join(dataDir, 'pki');
    const authority = await openAuthority(directory);
    const credential = await openCredential(directory, NAME, authority, { ...options, subject: SCHEDULER });
    const shown = options.own === undefined ? credential : await loadOwn(options.own, Date.now());
    const others = options.authorities === undefined ? '' : await readFlag('--tls-ca', options.authorities);
    if (others !== '') certificatesOf(others, '--tls-ca');
    const tls = new ClusterTls(authority, credential, shown, others, options, directory, log);
    tls.keepUp();
    return tls;
  }

  /** Whom clients are to trust, PEM: the cluster's authority first. */
  get bundle(): string {
    return `${this.authority.certificate.trim()}\n${this.others}`;
  }

  /** Of the bundle, as join tokens carry it. */
  get bundleHash(): string {
    return hashOf(certificatesOf(this.bundle, 'pki/ca.crt'));
  }

  /** Of the port. Clients may prove themselves by certificates of the cluster's authority, and need not. */
  get serverOptions(): SecureContextOptions & { requestCert: boolean; rejectUnauthorized: boolean } {
    return { ...this.secureContext, requestCert: true, rejectUnauthorized: false };
  }

  /** The server shows each new certificate from then on. */
  serve(server: Server): void {
    this.servers.add(server);
  }

  /**
   * To a node's agent, which must prove that it is that node's.
   *
   * @param countsFromMs of its certificates those count that were issued from then on (epoch ms)
   */
  connectionTo(node: string, countsFromMs: number): NodeConnection {
    const { certificate: cert, key } = this.credential;
    return { node, authority: this.authority.certificate, countsFromMs, ca: this.bundle, cert, key };
  }

  /** @throws MorchError INVALID_INPUT for what is no request. @returns PEM */
  issueForNode(id: string, request: string): Promise<string> {
    const { validityMs } = this.options;
    const subject = { kind: 'node', id } as const;
    return issueForRequest(request, { authority: this.authority, subject, validityMs, nowMs: Date.now() });
  }

  /** The node that a certificate speaks for, or null. */
  nodeOf(certificate: X509Certificate): string | null {
    const subject = subjectOf(certificate, [this.authorityCertificate]);
    return subject?.kind === 'node' ? subject.id : null;
  }

  close(): void {
    for (const end of this.endings) end();
  }

  private get secureContext(): SecureContextOptions {
    const { certificate, key } = this.shown;
    return { ...TLS_SETTINGS, cert: certificate, key, ca: this.authority.certificate };
  }

  private keepUp(): void {
    const { own } = this.options;
    const failed = (what: string) => (error: unknown) => this.log.error({ err: error }, what);
    const renew = async (): Promise<void> => {
      const next = await renewCredential(this.directory, NAME, this.authority, { ...this.options, subject: SCHEDULER });
      if (own === undefined) this.show(next);
      this.credential = next;
      this.log.info(
        { until: new Date(validityOf(next.certificate).notAfterMs) },
        "the scheduler's certificate is renewed",
      );
    };
    const present = () => this.credential.certificate;
    this.endings.push(
      startRenewal(present, renew, failed("the scheduler's certificate could not be renewed; trying again")),
    );
    if (own === undefined) return;
    const take = (next: Credential): void => {
      this.show(next);
      this.log.info({ file: own.certificate }, 'a new certificate is shown');
    };
    this.endings.push(watchOwn(own, this.shown, take, failed('the present certificate is kept')));
  }

  private show(next: Credential): void {
    this.shown = next;
    for (const server of this.servers) server.setSecureContext(this.secureContext);
  }
}

/**
 * TLS of an agent that has a scheduler. Whom it trusts, and what it proves itself by, is in `<data-dir>/pki`: `ca.crt`, the
 * cluster's authority, checked against the hash in the join token before anything is said; and `node.pem`, key and
 * certificate of this node. Its port takes the cluster's scheduler and nobody else.
 *
 * The port listens from the start: until there is a certificate, no handshake with it succeeds.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import type { Server, ServerOptions } from 'node:https';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import { readPrivateFile, writePrivateFile } from '../../access/privateFile';
import { parseToken } from '../../access/tokenText';
import { MorchError } from '../../contract/errors';
import { nodeCertificateSchema } from '../../contract/node';
import type { Credential } from '../../pki/issue';
import { SCHEDULER } from '../../pki/names';
import { type CertificateFiles, loadOwn, readFlag, watchOwn } from '../../pki/ownCertificate';
import { isExpired, startRenewal } from '../../pki/renew';
import { type ConnectionTls, TLS_SETTINGS } from '../../pki/settings';
import { certificatesOf, hashOf, identityCheck, subjectOf } from '../../pki/trust';
import { type Answer, problemIn, SchedulerClient } from '../schedulerClient';
import type { PortTls } from './port';

const RENEW_WITHIN_MS = 10_000;

export interface MemberOptions {
  dataDir: string;
  /** The node's id. */
  name: string;
  scheduler: string;
  /** What the port shows in place of the node's certificate. */
  own: CertificateFiles | undefined;
  /** File with authorities that the scheduler's certificate may come from, beside the cluster's own. */
  authorities: string | undefined;
  /** Null: nobody is asked for it. */
  agentToken: string | null;
  /** Undefined: there is none. @throws Error in words */
  joinToken(): Promise<string | undefined>;
  log: Logger;
}

interface Trust {
  /** PEM, the cluster's authority first. */
  bundle: string;
  authority: X509Certificate;
  hash: string;
}

export class MemberTls implements PortTls {
  readonly #options: MemberOptions;
  readonly #others: string;
  readonly #servers = new Set<Server>();
  readonly #endings: (() => void)[] = [];
  #own: Credential | null = null;
  #trust: Trust | null = null;
  #credential: Credential | null = null;
  /** The scheduler knows it, as far as this agent knows. */
  #isTaken = false;

  private constructor(options: MemberOptions, others: string) {
    this.#options = options;
    this.#others = others;
  }

  /** @throws MorchError INVALID_INPUT naming the flag or the file that cannot be used */
  static async open(options: MemberOptions): Promise<MemberTls> {
    const others = options.authorities === undefined ? '' : await readFlag('--tls-ca', options.authorities);
    if (others !== '') certificatesOf(others, '--tls-ca');
    const tls = new MemberTls(options, others);
    await tls.#load();
    return tls;
  }

  get serverOptions(): ServerOptions {
    return { ...this.#context(), requestCert: true, rejectUnauthorized: true };
  }

  serve(server: Server): void {
    this.#servers.add(server);
    server.prependListener('secureConnection', (socket: TLSSocket) => {
      if (!this.#isScheduler(socket)) socket.destroy();
    });
  }

  /** To the scheduler, which must prove that it is. */
  connection(): ConnectionTls {
    const trust = this.#trust;
    const credential = this.#isTaken ? this.#credential : null;
    return {
      ...TLS_SETTINGS,
      ca: `${trust?.bundle ?? ''}\n${this.#others}`,
      ...(credential === null ? {} : { cert: credential.certificate, key: credential.key }),
      checkServerIdentity: identityCheck(SCHEDULER, trust === null ? [] : [trust.authority]),
    };
  }

  /**
   * Sees to it that there is a certificate that counts, before each registration.
   *
   * @throws MorchError in words for the log; Error of the system or of TLS when the scheduler does not answer
   */
  async provide(signal: AbortSignal): Promise<void> {
    if (this.#trust === null) await this.#establishTrust(signal);
    if (this.#credential === null || !this.#isTaken || isExpired(this.#credential.certificate, Date.now())) {
      await this.#obtain(signal);
    }
  }

  /** The scheduler does not take the certificate: the node was forgotten, or has lost its name to another agent. */
  refused(): void {
    this.#isTaken = false;
  }

  /**
   * Who answers at the scheduler's address cannot be verified. If the join token tells of another authority than the one
   * that was trusted, that one counts from now on.
   */
  async distrust(): Promise<void> {
    const hash = await this.#joinHash().catch(() => undefined);
    if (this.#trust === null || hash === undefined || hash === this.#trust.hash) return;
    this.#options.log.warn('the join token tells of another authority than the one joined before: joining anew');
    this.#trust = null;
    this.#credential = null;
    this.#isTaken = false;
  }

  close(): void {
    for (const end of this.#endings) end();
  }

  async #load(): Promise<void> {
    const { own, dataDir, log } = this.#options;
    const failed = (error: unknown) => log.error({ err: error }, 'no new certificate; the present one serves on');
    if (own !== undefined) {
      this.#own = await loadOwn(own, Date.now());
      const show = (next: Credential): void => {
        this.#own = next;
        this.#show();
      };
      this.#endings.push(watchOwn(own, this.#own, show, failed));
    }
    const bundle = await readPrivateFile(join(dataDir, 'pki', 'ca.crt'));
    if (bundle !== null) this.#trust = trustOf(bundle);
    const pem = await readPrivateFile(join(dataDir, 'pki', 'node.pem'));
    if (pem !== null) this.#adopt(credentialOf(pem));
  }

  /** One for another name, as of an agent that was renamed, is left. */
  #adopt(credential: Credential | null): void {
    if (credential === null || this.#trust === null) return;
    const certificate = new X509Certificate(credential.certificate);
    const subject = subjectOf(certificate, [this.#trust.authority]);
    if (subject?.kind !== 'node' || subject.id !== this.#options.name) return;
    this.#credential = credential;
    this.#isTaken = true;
    this.#keepRenewed();
  }

  #keepRenewed(): void {
    const { log } = this.#options;
    const renew = async () => {
      await this.#obtain(AbortSignal.timeout(RENEW_WITHIN_MS));
      log.info('the certificate of this node is renewed');
    };
    const failed = (error: unknown) => log.warn({ err: error }, 'the certificate could not be renewed; trying again');
    this.#endings.push(startRenewal(() => this.#credential!.certificate, renew, failed));
  }

  async #joinHash(): Promise<string | undefined> {
    const token = await this.#options.joinToken();
    return token === undefined ? undefined : parseToken(token)?.caHash;
  }

  async #establishTrust(signal: AbortSignal): Promise<void> {
    const { scheduler } = this.#options;
    const hash = await this.#joinHash();
    if (hash === undefined && this.#others === '') {
      throw new MorchError(
        'INVALID_INPUT',
        'Nothing tells by what to know the scheduler: a join token that ends with the hash of its authority is needed, as in join.token of its data directory (--join-token-file), or --tls-ca.',
      );
    }
    // With the hash at hand anybody may give the answer, which tells nothing secret.
    const unverified: ConnectionTls & { rejectUnauthorized: boolean } = { ...TLS_SETTINGS, rejectUnauthorized: false };
    const client = new SchedulerClient(scheduler, () => (hash === undefined ? this.connection() : unverified));
    const { status, body } = await client.ask('GET', '/ca', { signal });
    if (status !== 200 || typeof body !== 'string') throw new Error(`it answered ${status} to GET /ca`);
    const trust = trustOf(body);
    if (hash !== undefined && trust.hash !== hash) {
      throw new MorchError(
        'INVALID_INPUT',
        `What answers at ${scheduler} shows another authority than the join token tells of: it is another scheduler, or somebody in between. Nothing was sent to it.`,
      );
    }
    this.#trust = trust;
  }

  /** Asks with what is at hand: the certificate, the token that the scheduler knows of this agent, the join token. */
  async #obtain(signal: AbortSignal): Promise<void> {
    const { scheduler, name, agentToken, joinToken } = this.#options;
    // Making a request takes a while to load.
    const { makeRequest } = require('../../pki/issue') as typeof import('../../pki/issue');
    const { key, request } = await makeRequest({ kind: 'node', id: name });
    const client = new SchedulerClient(scheduler, () => this.connection());
    const ask = (token: string | undefined) =>
      client.ask('POST', `/nodes/${name}/certificate`, { token, body: { csr: request }, signal });
    let answer: Answer | null = null;
    const isAnswered = () => answer !== null && answer.status !== 401 && answer.status !== 403;
    if (this.#isTaken) answer = await ask(undefined);
    if (!isAnswered() && agentToken !== null && this.#credential !== null) answer = await ask(agentToken);
    if (!isAnswered()) {
      const token = await joinToken();
      if (token !== undefined) answer = await ask(token);
    }
    if (answer === null) throw new MorchError('UNAUTHENTICATED', 'A join token is needed: --join-token-file.');
    const issued = nodeCertificateSchema.safeParse(answer.body);
    if (!issued.success) {
      const problem = problemIn(answer);
      if (problem === undefined) throw new Error(`it answered ${answer.status} to the request for a certificate`);
      throw new MorchError('NOT_POSSIBLE', `${problem.code}: ${problem.detail}`);
    }
    await this.#take({ certificate: issued.data.certificate, key }, trustOf(issued.data.ca));
  }

  async #take(credential: Credential, trust: Trust): Promise<void> {
    const directory = join(this.#options.dataDir, 'pki');
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await writePrivateFile(join(directory, 'ca.crt'), trust.bundle);
    await writePrivateFile(join(directory, 'node.pem'), `${credential.key.trim()}\n${credential.certificate.trim()}`);
    const isFirst = this.#credential === null;
    this.#trust = trust;
    this.#credential = credential;
    this.#isTaken = true;
    if (isFirst) this.#keepRenewed();
    this.#show();
  }

  #show(): void {
    for (const server of this.#servers) server.setSecureContext(this.#context());
  }

  #context(): ServerOptions {
    const shown = this.#own ?? this.#credential;
    if (shown === null || this.#trust === null) return TLS_SETTINGS;
    const ca = this.#trust.authority.toString();
    return { ...TLS_SETTINGS, cert: shown.certificate, key: shown.key, ca };
  }

  #isScheduler(socket: TLSSocket): boolean {
    const certificate = socket.getPeerX509Certificate();
    if (!socket.authorized || certificate === undefined || this.#trust === null) return false;
    return subjectOf(certificate, [this.#trust.authority])?.kind === 'scheduler';
  }
}

/** @throws MorchError when it holds no certificate */
function trustOf(bundle: string): Trust {
  const certificates = certificatesOf(bundle, 'The certificate of the cluster');
  return { bundle, authority: certificates[0]!, hash: hashOf(certificates) };
}

/** @returns null for what is no key and its certificate */
function credentialOf(pem: string): Credential | null {
  const [key] = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----/.exec(pem) ?? [];
  const [certificate] = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(pem) ?? [];
  if (key === undefined || certificate === undefined) return null;
  try {
    return new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key)) ? { certificate, key } : null;
  } catch {
    return null;
  }
}

/**
 * The certificates by which nodes are known: issues them, and says whose one is that a client has shown. What is kept of
 * them is only from when on those of a name count, so that a node that was forgotten, or has lost its name to another, is
 * nobody from then on, however long its certificate holds. Changes are durable with the journal's next commit.
 */
import { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { z } from 'zod';
import { MorchError } from '../../contract/errors';
import { BACKDATED_MS } from '../../pki/renew';
import type { State } from '../state';
import { keys, prefixes } from '../store/keys';
import type { Store } from '../store/store';
import type { ClusterTls } from './clusterTls';

const recordSchema = z.object({ node: z.string(), fromMs: z.number() });

interface Shown {
  node: string;
  issuedAtMs: number;
  untilMs: number;
}

export class NodeCertificates {
  private readonly fromMs = new Map<string, number>();
  private readonly shown = new WeakMap<Socket, Shown | null>();

  private constructor(
    /** Null: this scheduler speaks plain HTTP. */
    private readonly tls: Pick<ClusterTls, 'nodeOf' | 'issueForNode' | 'bundle'> | null,
    private readonly state: Pick<State, 'put'>,
  ) {}

  /** @param notes gets a line for a record that cannot be used */
  static async load(
    store: Pick<Store, 'range'>,
    state: Pick<State, 'put'>,
    tls: Pick<ClusterTls, 'nodeOf' | 'issueForNode' | 'bundle'> | null,
    notes: string[],
  ): Promise<NodeCertificates> {
    const certificates = new NodeCertificates(tls, state);
    for await (const [key, value] of store.range(prefixes.certificatesFrom)) {
      const record = recordSchema.safeParse(value);
      if (record.success) certificates.fromMs.set(record.data.node, record.data.fromMs);
      else notes.push(`The record ${key} cannot be read: certificates of that node that were revoked may count again.`);
    }
    return certificates;
  }

  /** @returns the node that the client of a connection has proved to be */
  nodeOf(socket: Socket): string | undefined {
    if (this.tls === null || !(socket instanceof TLSSocket) || !socket.authorized) return undefined;
    let shown = this.shown.get(socket);
    if (shown === undefined) {
      shown = this.read(socket);
      this.shown.set(socket, shown);
    }
    if (shown === null || Date.now() >= shown.untilMs) return undefined;
    return shown.issuedAtMs >= (this.fromMs.get(shown.node) ?? 0) ? shown.node : undefined;
  }

  /**
   * @param isFirst it comes with a join token: whoever was that node before is not any more
   * @returns PEM, and whom to trust
   * @throws MorchError INVALID_INPUT for what is no request; NOT_POSSIBLE without TLS
   */
  async issue(node: string, request: string, isFirst: boolean): Promise<{ certificate: string; ca: string }> {
    if (this.tls === null) throw noTls();
    const certificate = await this.tls.issueForNode(node, request);
    if (isFirst) this.countFrom(node, issuedAtMs(new X509Certificate(certificate)));
    return { certificate, ca: this.tls.bundle };
  }

  revoke(node: string): void {
    if (this.tls !== null || this.fromMs.has(node)) this.countFrom(node, Date.now());
  }

  private countFrom(node: string, fromMs: number): void {
    this.fromMs.set(node, fromMs);
    this.state.put(keys.certificatesFrom(node), { node, fromMs });
  }

  private read(socket: TLSSocket): Shown | null {
    const certificate = socket.getPeerX509Certificate();
    const node = certificate === undefined ? null : this.tls!.nodeOf(certificate);
    if (certificate === undefined || node === null) return null;
    return { node, issuedAtMs: issuedAtMs(certificate), untilMs: Date.parse(certificate.validTo) };
  }
}

/** To the second. */
function issuedAtMs({ validFrom }: X509Certificate): number {
  return Date.parse(validFrom) + BACKDATED_MS;
}

export function noTls(): MorchError {
  return new MorchError('NOT_POSSIBLE', 'This scheduler speaks plain HTTP and has no authority: start it with --tls.');
}

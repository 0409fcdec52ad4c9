/**
 * The certificates by which nodes are known: issues them, and says whose one is that a client has shown. What is kept of
 * them is only from when on those of a name count, so that a node that was forgotten, or has lost its name to another, is
 * nobody from then on, however long its certificate holds: neither when it calls nor when it is called. Changes are durable
 * with the journal's next commit.
 */
import { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { z } from 'zod';
import { MorchError } from '../../contract/errors';
import type { AgentTls } from '../agentClient';
import type { State } from '../state';
import { keys, prefixes } from '../store/keys';
import type { Store } from '../store/store';
import type { ClusterTls } from './clusterTls';
import { issuedAtMs } from './nodeConnection';
import { NodeTls } from './nodeTls';

/** What is needed of the cluster's TLS; null: this scheduler speaks plain HTTP. */
type Cluster = Pick<ClusterTls, 'nodeOf' | 'issueForNode' | 'connectionTo' | 'bundle'> | null;

const recordSchema = z.object({ node: z.string(), fromMs: z.number() });

interface Shown {
  node: string;
  issuedAtMs: number;
  untilMs: number;
}

export class NodeCertificates {
  private readonly fromMs = new Map<string, number>();
  private readonly shown = new WeakMap<Socket, Shown | null>();
  private readonly connections = new Map<string, NodeTls>();

  private constructor(
    private readonly tls: Cluster,
    private readonly state: Pick<State, 'put'>,
  ) {}

  /** @param notes gets a line for a record that cannot be used */
  static async load(
    store: Pick<Store, 'range'>,
    state: Pick<State, 'put'>,
    tls: Cluster,
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

  /** Whether this scheduler can speak TLS with agents. */
  get hasTls(): boolean {
    return this.tls !== null;
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
    return this.counts(shown.node, shown.issuedAtMs) ? shown.node : undefined;
  }

  /** To a node's agent, which must prove that it is that node's: the same until certificates of it are revoked. Undefined without TLS. */
  toNode(id: string): AgentTls | undefined {
    const { tls } = this;
    if (tls === null) return undefined;
    const known = this.connections.get(id) ?? new NodeTls(() => tls.connectionTo(id, this.countsFrom(id)));
    this.connections.set(id, known);
    return known;
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

  private counts(node: string, issuedAtMs: number): boolean {
    return issuedAtMs >= this.countsFrom(node);
  }

  private countsFrom(node: string): number {
    return this.fromMs.get(node) ?? 0;
  }

  private countFrom(node: string, fromMs: number): void {
    this.fromMs.set(node, fromMs);
    this.connections.get(node)?.end();
    this.connections.delete(node);
    this.state.put(keys.certificatesFrom(node), { node, fromMs });
  }

  private read(socket: TLSSocket): Shown | null {
    const certificate = socket.getPeerX509Certificate();
    const node = certificate === undefined ? null : this.tls!.nodeOf(certificate);
    if (certificate === undefined || node === null) return null;
    return { node, issuedAtMs: issuedAtMs(certificate), untilMs: Date.parse(certificate.validTo) };
  }
}

export function noTls(): MorchError {
  return new MorchError('NOT_POSSIBLE', 'This scheduler speaks plain HTTP and has no authority: start it with --tls.');
}

/**
 * Connections to the agent of one node. Each resumes the session of one before, in which no certificate is looked at again:
 * so a session is kept for as long only as the certificates count with which it was begun.
 */
import type { AgentTls } from '../agentClient';
import type { NodeConnection } from './nodeConnection';

export class NodeTls implements AgentTls {
  private kept: { session: Uint8Array; own: string } | null = null;
  private hasEnded = false;

  /** @param options of a connection that is begun now */
  constructor(private readonly options: () => NodeConnection) {}

  connection(): NodeConnection {
    const options = this.options();
    // A session goes on with the certificate that it was begun with, which may have been renewed since.
    const { kept } = this;
    return kept === null || kept.own !== options.cert ? options : { ...options, session: kept.session };
  }

  keepSession(session: Uint8Array, begun: Pick<NodeConnection, 'cert'>): void {
    if (!this.hasEnded) this.kept = { session, own: begun.cert };
  }

  /** Certificates of its agent were revoked: no session is kept, also of those connections that are under way. */
  end(): void {
    this.hasEnded = true;
    this.kept = null;
  }
}

/** Who may come in as which node, with what certificate, and how it is called from then on. Used by nodeRegistry.ts. */
import { isLoopbackHost } from '../../access/loopback';
import { MorchError } from '../../contract/errors';
import type { NodeCertificate, RegisterNode } from '../../contract/node';
import type { AgentAddress } from '../agentClient';
import type { NodeRecord } from '../core/model';
import { type NodeCertificates, noTls } from '../tls/nodeCertificates';
import { type Claim, type Holder, isNewcomer, refusalOfClaim } from './claims';
import type { Caller } from './guard';
import type { NodeTokens } from './nodeTokens';
import type { Tokens } from './tokens';

/** What nodes prove themselves by, and are called with. */
export interface NodeAccess {
  tokens: Pick<Tokens, 'takeUse'>;
  nodeTokens: NodeTokens;
  certificates: Pick<NodeCertificates, 'issue' | 'revoke' | 'toNode' | 'hasTls'>;
}

export class Admission {
  constructor(
    private readonly access: NodeAccess,
    private readonly nodes: ReadonlyMap<string, NodeRecord>,
  ) {}

  addressOf({ id, host, port, tls }: NodeRecord): AgentAddress {
    const { nodeTokens, certificates } = this.access;
    return { host, port, token: nodeTokens.of(id), tls: tls ? certificates.toNode(id) : undefined };
  }

  /**
   * Of an agent that is to be registered, before it is.
   *
   * @throws MorchError INVALID_INPUT, NOT_POSSIBLE where the two could not talk, or would do so in the clear
   */
  addressOfNewcomer({ name, host, port, agentToken: token, tls }: RegisterNode): AgentAddress {
    const { certificates } = this.access;
    if (tls !== true) {
      if (!certificates.hasTls || isLoopbackHost(host)) return { host, port, token };
      throw new MorchError(
        'INVALID_INPUT',
        `The agent at ${host}:${port} speaks plain HTTP, and would be sent its token in the clear. Start it with --scheduler https://…: it speaks TLS then.`,
      );
    }
    if (!certificates.hasTls) throw noTls();
    if (name !== undefined) return { host, port, token, tls: certificates.toNode(name) };
    const errors = [{ pointer: '/name', message: 'is needed with tls' }];
    throw new MorchError('INVALID_INPUT', 'An agent that speaks TLS is known by its name: give it.', { errors });
  }

  /** @throws MorchError when the caller may not speak for that node */
  demand(claim: Claim, caller: Caller): void {
    const refusal = refusalOfClaim(caller, claim, this.holderOf(claim.id));
    if (refusal !== null) throw refusal;
  }

  /**
   * Lets a node in by `enter`; a use of the join token that lets in a newcomer is counted unless that fails.
   *
   * @throws MorchError when the caller may not speak for that node; what `enter` throws
   */
  async admit<T>(claim: Claim, caller: Caller, enter: () => Promise<T>): Promise<T> {
    this.demand(claim, caller);
    const isNew = isNewcomer(caller, claim, this.holderOf(claim.id));
    const giveBack = isNew ? this.access.tokens.takeUse(caller.id) : () => {};
    try {
      return await enter();
    } catch (error) {
      giveBack();
      throw error;
    }
  }

  /**
   * The certificate with which the agent of a node registers, or that in its place.
   *
   * @param where the agent that asks, for messages
   * @throws MorchError as `admit`; INVALID_INPUT for what is no request; NOT_POSSIBLE without TLS
   */
  issueCertificate(id: string, request: string, caller: Caller, where: string): Promise<NodeCertificate> {
    const enter = () => this.access.certificates.issue(id, request, caller.kind !== 'node');
    return this.admit({ id, where, agentToken: undefined }, caller, enter);
  }

  /** The record is to be saved by the caller. */
  note(node: NodeRecord, { agentToken, tls }: RegisterNode): void {
    this.access.nodeTokens.set(node, agentToken);
    node.tls = tls === true;
  }

  forget(id: string): void {
    this.access.nodeTokens.forget(id);
    this.access.certificates.revoke(id);
  }

  private holderOf(id: string): Holder | undefined {
    const node = this.nodes.get(id);
    if (node === undefined) return undefined;
    const agentToken = this.access.nodeTokens.of(id);
    return { where: `${node.host}:${node.port}`, isHeard: isHeard(node), agentToken };
  }
}

/** Its own agent is there, or may be: the name is taken. That of a degraded node shows half of its signs of life. */
function isHeard(node: NodeRecord): boolean {
  return node.status !== 'lost';
}

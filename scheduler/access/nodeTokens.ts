/**
 * The tokens that agents ask of whoever calls them: told by an agent at its registration, kept sealed in the record of its
 * node, known in the clear only in memory. They are also how an agent proves later that it is that node's.
 */
import { isSameText, parseToken } from '../../access/tokenText';
import type { NodeRecord } from '../core/model';
import type { Vault } from '../secrets/vault';

export class NodeTokens {
  private readonly texts = new Map<string, string>();
  /** Node by the id of its token. */
  private readonly nodes = new Map<string, string>();

  constructor(private readonly vault: Pick<Vault, 'seal' | 'open'>) {}

  /** @returns ids of the nodes whose token cannot be opened: their agents have to register anew */
  load(records: Iterable<NodeRecord>): string[] {
    const closed: string[] = [];
    for (const { id, sealedToken } of records) {
      if (sealedToken === undefined) continue;
      const text = this.vault.open(sealedToken, about(id));
      if (text === null) closed.push(id);
      else this.remember(id, text);
    }
    return closed;
  }

  /** @returns undefined for an agent that asks for none */
  of(nodeId: string): string | undefined {
    return this.texts.get(nodeId);
  }

  /**
   * @param parts of the text, null when it is no token
   * @returns the node whose agent has that token
   */
  nodeOf(text: string, parts = parseToken(text)): string | undefined {
    const nodeId = this.nodes.get(parts?.id ?? '');
    const known = nodeId === undefined ? undefined : this.texts.get(nodeId);
    return known !== undefined && isSameText(known, text) ? nodeId : undefined;
  }

  /** The record is to be saved by the caller. */
  set(node: NodeRecord, text: string | undefined): void {
    if (text === this.texts.get(node.id) && (text === undefined) === (node.sealedToken === undefined)) return;
    this.forget(node.id);
    if (text === undefined) {
      delete node.sealedToken;
      return;
    }
    node.sealedToken = this.vault.seal(text, about(node.id));
    this.remember(node.id, text);
  }

  forget(nodeId: string): void {
    const id = parseToken(this.texts.get(nodeId) ?? '')?.id;
    if (id !== undefined && this.nodes.get(id) === nodeId) this.nodes.delete(id);
    this.texts.delete(nodeId);
  }

  private remember(nodeId: string, text: string): void {
    this.texts.set(nodeId, text);
    const id = parseToken(text)?.id;
    if (id !== undefined) this.nodes.set(id, nodeId);
  }
}

const about = (nodeId: string): string => `token of node ${nodeId}`;

/** Who may speak for a node when an agent registers. Pure. */
import { isSameText } from '../../access/tokenText';
import { MorchError } from '../../contract/errors';
import type { Caller } from './guard';

export interface Claim {
  /** The node's id. */
  id: string;
  /** Where the agent is, for messages. */
  where: string;
  /** What it asks of its callers. */
  agentToken: string | undefined;
}

/** The node that has the name already. */
export interface Holder {
  where: string;
  /** Its own agent is there, or may be. */
  isHeard: boolean;
  /** Of its agent, as far as it is known. */
  agentToken: string | undefined;
}

/**
 * A node speaks for itself only. A join token lets in new agents, and one in the place of another that is lost; it takes
 * no name from an agent that may be there, which is known by its own token.
 */
export function refusalOfClaim(caller: Caller, claim: Claim, holder: Holder | undefined): MorchError | null {
  if (caller.kind === 'node') {
    if (caller.name === claim.id) return null;
    return new MorchError(
      'FORBIDDEN',
      `The credential is that of node ${caller.name}: it registers no node ${claim.id}.`,
    );
  }
  if (caller.role === 'admin' || holder === undefined || !holder.isHeard || isSameAgent(claim, holder)) return null;
  return new MorchError(
    'NODE_EXISTS',
    `Another agent (at ${holder.where}) is node ${claim.id}. Give the agent at ${claim.where} a name of its own with --name.`,
  );
}

/** Whether a join token's use is counted: an agent comes in that was not there before. */
export function isNewcomer(caller: Caller, claim: Claim, holder: Holder | undefined): boolean {
  return caller.role === 'join' && (holder === undefined || !isSameAgent(claim, holder));
}

/** By its token; where none is known, the key of the node decides, which the registry compares. */
function isSameAgent({ agentToken }: Claim, holder: Holder): boolean {
  if (holder.agentToken === undefined) return true;
  return agentToken !== undefined && isSameText(holder.agentToken, agentToken);
}

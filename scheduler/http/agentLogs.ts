/** Asks agents for the output of their instances. A piece is what one node holds of one instance. */
import type { Agent } from 'undici';
import { DROPPED_BYTES_HEADER } from '../../contract/routes';
import { type AgentAddress, type AgentTls, agentUrl, connectorFor, credentialsFor, undici } from '../agentClient';
import type { LogSource } from '../api';

export interface Piece {
  instanceId: string;
  uid: string;
  node: LogSource['nodes'][number];
}

export function piecesOf({ instanceId, uid, nodes }: LogSource): Piece[] {
  return nodes.map((node) => ({ instanceId, uid, node }));
}

export function pieceKey({ instanceId, node }: Piece): string {
  return `${instanceId}@${node.id}`;
}

export interface PieceQuery {
  stream: 'stdout' | 'stderr' | 'all';
  /** A time, so that every agent and every further question means the same. */
  since?: string | undefined;
  tail?: number | undefined;
  /** As a frame told it. */
  from?: string | undefined;
  follow?: boolean;
  /** Whether the answer is to be frames (contract/logFrames.ts). */
  frames?: boolean;
}

export type PieceAnswer =
  | { kind: 'output'; chunks: AsyncIterable<Buffer>; droppedBytes: number }
  /** The node has nothing of this instance. */
  | { kind: 'nothing' }
  /** The node answered something else. */
  | { kind: 'refused' }
  /** It could not be reached, or said nothing in time. */
  | { kind: 'unreachable' };

/** For connecting and the head of the answer. */
const ANSWER_MS = 2_500;
/** Between two bytes of an answer that is not followed; while the client makes us wait it does not count. */
const BODY_MS = 30_000;

/** For all that speak plain HTTP; a connection by TLS is to one node and no other. */
let plain: Agent | null = null;
const byTls = new WeakMap<AgentTls, Agent>();

function dispatcherOf(node: AgentAddress): Agent {
  const { Agent } = undici();
  if (node.tls === undefined) {
    plain ??= new Agent({ connect: { timeout: 2_000 }, headersTimeout: ANSWER_MS });
    return plain;
  }
  const known = byTls.get(node.tls) ?? new Agent({ connect: connectorFor(node), headersTimeout: ANSWER_MS });
  byTls.set(node.tls, known);
  return known;
}

/**
 * Never throws; `chunks` does when the node goes away in the middle, or `signal` aborts.
 *
 * @param method HEAD: only what the head of the answer tells
 */
export async function askForPiece(
  piece: Piece,
  query: PieceQuery,
  signal: AbortSignal,
  method: 'GET' | 'HEAD' = 'GET',
): Promise<PieceAnswer> {
  const { node, instanceId, uid } = piece;
  if (!node.reachable) return { kind: 'unreachable' };
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries({ uid, ...query })) {
    if (value !== undefined && value !== false) parameters.set(name, String(value));
  }
  // undici counts its own limits in coarse ticks
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new Error(`no answer within ${ANSWER_MS} ms`)), ANSWER_MS);
  try {
    const { statusCode, headers, body } = await undici().request(
      `${agentUrl(node)}/instances/${encodeURIComponent(instanceId)}/logs?${parameters}`,
      {
        method,
        headers: credentialsFor(node),
        dispatcher: dispatcherOf(node),
        bodyTimeout: query.follow ? 0 : BODY_MS,
        signal: AbortSignal.any([signal, late.signal]),
      },
    );
    if (statusCode === 200) {
      const dropped = Number(headers[DROPPED_BYTES_HEADER.toLowerCase()] ?? 0);
      return { kind: 'output', chunks: body, droppedBytes: Number.isSafeInteger(dropped) ? dropped : 0 };
    }
    await body.dump();
    return { kind: statusCode === 404 ? 'nothing' : 'refused' };
  } catch {
    // Whatever the reason: the answer names the node, and /health/summary tells more of it.
    return { kind: 'unreachable' };
  } finally {
    clearTimeout(timer);
  }
}

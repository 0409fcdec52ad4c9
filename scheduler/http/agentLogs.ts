/** Asks agents for the output of their instances. A piece is what one node holds of one instance. */
import { Agent, request } from 'undici';
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
  tail?: number | undefined;
  follow?: boolean;
}

export type PieceAnswer =
  | { kind: 'output'; chunks: AsyncIterable<Buffer> }
  /** The node has nothing of this instance. */
  | { kind: 'nothing' }
  /** It could not be reached, or answered something else. */
  | { kind: 'unreachable'; reason: string };

/** For connecting and the head of the answer; what follows may take for ever. */
const ANSWER_MS = 2_500;

const agents = new Agent({ connect: { timeout: 2_000 }, headersTimeout: ANSWER_MS, bodyTimeout: 0 });

/** Never throws; `chunks` does when the node goes away in the middle, or `signal` aborts. */
export async function askForPiece(piece: Piece, query: PieceQuery, signal: AbortSignal): Promise<PieceAnswer> {
  const { node, instanceId, uid } = piece;
  if (!node.reachable) return { kind: 'unreachable', reason: 'the node is not reachable' };
  const parameters = new URLSearchParams({ uid, stream: query.stream });
  if (query.tail !== undefined) parameters.set('tail', String(query.tail));
  if (query.follow) parameters.set('follow', 'true');
  const host = node.host.includes(':') ? `[${node.host}]` : node.host;
  // undici counts its own limits in coarse ticks
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new Error(`no answer within ${ANSWER_MS} ms`)), ANSWER_MS);
  try {
    const { statusCode, body } = await request(
      `http://${host}:${node.port}/instances/${encodeURIComponent(instanceId)}/logs?${parameters}`,
      { dispatcher: agents, signal: AbortSignal.any([signal, late.signal]) },
    );
    if (statusCode === 200) return { kind: 'output', chunks: body };
    await body.dump();
    return statusCode === 404 ? { kind: 'nothing' } : { kind: 'unreachable', reason: `it answered ${statusCode}` };
  } catch (error) {
    return { kind: 'unreachable', reason: error instanceof Error ? error.message : String(error) };
  } finally {
    clearTimeout(timer);
  }
}

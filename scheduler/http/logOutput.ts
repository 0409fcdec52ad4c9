/** The answer of GET `/workloads/{id}/logs` while it is under way. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { DROPPED_BYTES_HEADER } from '../../contract/routes';
import { drained } from '../events/drained';
import { askForPiece, type Piece, type PieceAnswer, type PieceQuery, pieceKey } from './agentLogs';
import { beginStream } from './answer';

/** How many pieces are asked at a time, and how many at most one by one: beyond that, one of each node. */
const ASK_AT_ONCE = 64;
const INCOMPLETE = 'X-Morch-Incomplete';

/** What of every piece is asked for. */
export type LogSelection = Pick<PieceQuery, 'stream' | 'since'>;

export class LogOutput {
  readonly selection: LogSelection;
  /** Lines bear the names of their instances. */
  prefixed: boolean;
  /** Aborts when the client leaves. */
  readonly left: AbortSignal;
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #missing = new Set<string>();
  readonly #missingLate = new Set<string>();
  readonly #silent = new Set<string>();
  /** By `pieceKey`. */
  readonly #dropped = new Map<string, number>();
  #droppedTold = 0;
  #draining: Promise<void> | undefined;

  constructor(req: IncomingMessage, res: ServerResponse, selection: LogSelection, prefixed: boolean) {
    this.#req = req;
    this.#res = res;
    this.selection = selection;
    this.prefixed = prefixed;
    const left = new AbortController();
    this.left = left.signal;
    res.on('close', () => left.abort());
  }

  /** Asks each node once for the head of its answer, to know in time for our own who does not answer and what was dropped. */
  async findMissing(pieces: readonly Piece[]): Promise<void> {
    const nodes = new Set<string>();
    const asked = pieces.filter(({ node }, i) => {
      const first = !nodes.has(node.id);
      nodes.add(node.id);
      return first || i < ASK_AT_ONCE;
    });
    const queue = asked.values();
    const ask = async () => {
      for (const piece of queue) {
        const { kind } = await this.ask(piece, undefined, 'HEAD');
        if (kind === 'refused' || kind === 'unreachable') this.#missing.add(piece.node.id);
      }
    };
    await Promise.all(Array.from({ length: ASK_AT_ONCE }, ask));
  }

  /** Asks for what there is now; a node that once did not answer is not waited for again. */
  async ask(piece: Piece, tail: number | undefined, method: 'GET' | 'HEAD' = 'GET'): Promise<PieceAnswer> {
    if (this.#silent.has(piece.node.id)) return { kind: 'unreachable' };
    const answer = await askForPiece(piece, { ...this.selection, tail }, this.left, method);
    if (answer.kind === 'unreachable') this.#silent.add(piece.node.id);
    if (answer.kind === 'output') this.#dropped.set(pieceKey(piece), answer.droppedBytes);
    if (answer.kind === 'output' && method === 'HEAD') await drop(answer.chunks);
    return answer;
  }

  /** @param follow then the count of dropped bytes is not told: more may be dropped */
  begin(follow: boolean): void {
    const chunked = this.#req.method !== 'HEAD' && this.#req.httpVersion === '1.1';
    this.#droppedTold = follow ? Number.POSITIVE_INFINITY : this.#sumDropped();
    const tellsDropped = !follow && this.#droppedTold > 0;
    beginStream(this.#res, 200, {
      'Content-Type': 'text/plain; charset=utf-8',
      ...(this.#missing.size === 0 ? {} : { [INCOMPLETE]: [...this.#missing].sort().join(',') }),
      ...(tellsDropped ? { [DROPPED_BYTES_HEADER]: String(this.#droppedTold) } : {}),
      ...(chunked ? { Trailer: `${INCOMPLETE}, ${DROPPED_BYTES_HEADER}` } : {}),
    });
    this.#res.flushHeaders();
  }

  /** Resolves when there is room for more. */
  async write(bytes: Buffer): Promise<void> {
    if (bytes.length === 0 || this.left.aborted) return;
    if (this.#res.write(bytes)) return;
    this.#draining ??= drained(this.#res, this.left).finally(() => {
      this.#draining = undefined;
    });
    await this.#draining;
  }

  /** From here on the node's part may lack something. */
  missing(nodeId: string): void {
    if (!this.#missing.has(nodeId)) this.#missingLate.add(nodeId);
  }

  end(): void {
    if (this.left.aborted || !this.#res.headersSent) return;
    if (this.#res.chunkedEncoding) {
      const dropped = this.#sumDropped();
      this.#res.addTrailers({
        ...(this.#missingLate.size === 0 ? {} : { [INCOMPLETE]: [...this.#missingLate].sort().join(',') }),
        ...(dropped > this.#droppedTold ? { [DROPPED_BYTES_HEADER]: String(dropped) } : {}),
      });
    }
    this.#res.end();
  }

  #sumDropped(): number {
    return [...this.#dropped.values()].reduce((sum, bytes) => sum + bytes, 0);
  }
}

async function drop(chunks: AsyncIterable<Buffer>): Promise<void> {
  try {
    for await (const _ of chunks);
  } catch {
    // The reading proper meets the same and says so.
  }
}

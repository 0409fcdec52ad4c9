/** The answer of GET `/workloads/{id}/logs` while it is under way. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { drained } from '../events/drained';
import { askForPiece, type Piece, type PieceAnswer, type PieceQuery } from './agentLogs';

/** How many pieces are asked at a time, and how many at most one by one: beyond that, one of each node. */
const ASK_AT_ONCE = 64;
const INCOMPLETE = 'X-Morch-Incomplete';

export class LogOutput {
  readonly stream: PieceQuery['stream'];
  /** Lines bear the names of their instances. */
  prefixed: boolean;
  /** Aborts when the client leaves. */
  readonly left: AbortSignal;
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #missing = new Set<string>();
  readonly #missingLate = new Set<string>();
  readonly #silent = new Set<string>();
  #draining: Promise<void> | undefined;

  constructor(req: IncomingMessage, res: ServerResponse, stream: PieceQuery['stream'], prefixed: boolean) {
    this.#req = req;
    this.#res = res;
    this.stream = stream;
    this.prefixed = prefixed;
    const left = new AbortController();
    this.left = left.signal;
    res.on('close', () => left.abort());
  }

  /** Asks each node once for nothing, to know in time for the header who does not answer. */
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
        const answer = await this.ask(piece, 0);
        if (answer.kind === 'output') await drop(answer.chunks);
        if (answer.kind === 'refused' || answer.kind === 'unreachable') this.#missing.add(piece.node.id);
      }
    };
    await Promise.all(Array.from({ length: ASK_AT_ONCE }, ask));
  }

  /** Asks for what there is now; a node that once did not answer is not waited for again. */
  async ask(piece: Piece, tail: number | undefined): Promise<PieceAnswer> {
    if (this.#silent.has(piece.node.id)) return { kind: 'unreachable' };
    const answer = await askForPiece(piece, { stream: this.stream, tail }, this.left);
    if (answer.kind === 'unreachable') this.#silent.add(piece.node.id);
    return answer;
  }

  begin(): void {
    const chunked = this.#req.method !== 'HEAD' && this.#req.httpVersion === '1.1';
    this.#res.writeHead(200, {
      'Content-Type': 'text/plain; charset=utf-8',
      'Cache-Control': 'no-store',
      ...(this.#missing.size === 0 ? {} : { [INCOMPLETE]: [...this.#missing].sort().join(',') }),
      ...(chunked ? { Trailer: INCOMPLETE } : {}),
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
    if (this.#missingLate.size > 0 && this.#res.chunkedEncoding) {
      this.#res.addTrailers({ [INCOMPLETE]: [...this.#missingLate].sort().join(',') });
    }
    this.#res.end();
  }
}

async function drop(chunks: AsyncIterable<Buffer>): Promise<void> {
  try {
    for await (const _ of chunks);
  } catch {
    // The reading proper meets the same and says so.
  }
}

/**
 * GET `/workloads/{id}/logs`: the output of a workload's instances, fetched from the agents that hold it and
 * passed on as it comes, never faster than the client reads.
 *
 * Nodes whose part is missing are named in `X-Morch-Incomplete`: in the header those that could not be reached
 * when the answer began, in the trailer of the same name those that broke off later. Likewise `X-Morch-Dropped-Bytes`,
 * whose trailer, where it is there, counts what the header knew as well.
 */
import { resolveSince } from '../../contract/since';
import { type Piece, pieceKey, piecesOf } from './agentLogs';
import { followLogs } from './followLogs';
import type { HandlersOf } from './handlers';
import { LinePrefixer } from './linePrefixer';
import { LogOutput } from './logOutput';

export const logHandlers: HandlersOf<'GET /workloads/:id/logs'> = {
  'GET /workloads/:id/logs': async ({ id, query, req, res }, context) => {
    const { instance, stream, tail, follow } = query;
    const sources = context.api.logSources(id, instance);
    const since = query.since && new Date(resolveSince(query.since, Date.now())).toISOString();
    const out = new LogOutput(req, res, { stream, since }, sources.length > 1);
    try {
      const pieces = sources.flatMap(piecesOf);
      await out.findMissing(pieces);
      const share = tail === undefined ? new Map<string, number>() : await shareTail(pieces, tail, out);
      if (out.left.aborted) return undefined;
      out.begin(follow);
      if (req.method !== 'HEAD') {
        if (follow) await followLogs({ context, id, instance, sources, pieces, share, out });
        else for (const piece of pieces) await copyPiece(piece, share.get(pieceKey(piece)), out);
      }
    } finally {
      out.end();
    }
    return undefined;
  },
};

async function copyPiece(piece: Piece, tail: number | undefined, out: LogOutput): Promise<void> {
  if (tail === 0 || out.left.aborted) return;
  const answer = await out.ask(piece, tail);
  if (answer.kind === 'refused' || answer.kind === 'unreachable') out.missing(piece.node.id);
  if (answer.kind !== 'output') return;
  const prefixer = out.prefixed ? new LinePrefixer(piece.instanceId) : undefined;
  try {
    for await (const chunk of answer.chunks) await out.write(prefixer === undefined ? chunk : prefixer.push(chunk));
  } catch {
    out.missing(piece.node.id);
  }
  if (prefixer !== undefined) await out.write(prefixer.end());
}

/**
 * Shares the last `tail` lines of the whole out over its pieces, from the last one backwards.
 *
 * @returns for every piece how many of its last lines belong to the answer
 */
async function shareTail(pieces: readonly Piece[], tail: number, out: LogOutput): Promise<Map<string, number>> {
  const share = new Map<string, number>();
  let left = tail;
  for (const piece of pieces.toReversed()) {
    share.set(pieceKey(piece), left);
    // Nothing stands before the first piece, so what it holds need not be counted.
    if (left === 0 || piece === pieces[0]) continue;
    const answer = await out.ask(piece, left);
    const lines = answer.kind === 'output' ? await countLines(answer.chunks) : 0;
    share.set(pieceKey(piece), lines);
    left -= Math.min(lines, left);
  }
  return share;
}

/** A last line without its end counts. What breaks off counts as far as it came. */
async function countLines(chunks: AsyncIterable<Buffer>): Promise<number> {
  let lines = 0;
  let lastByte = 10;
  try {
    for await (const chunk of chunks) {
      for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) lines += 1;
      lastByte = chunk.at(-1) ?? lastByte;
    }
  } catch {
    // The reading proper meets the same and says so.
  }
  return lastByte === 10 ? lines : lines + 1;
}

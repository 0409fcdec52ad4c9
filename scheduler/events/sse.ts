/** The events as server-sent events (HTML Living Standard, 9.2); called by http/events.ts. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { parseInput } from '../../contract/errors';
import { eventsQuerySchema } from '../../contract/routes';
import type { EventFeed } from '../api';
import { beginStream } from '../http/answer';
import { drained } from './drained';
import { assertPosition } from './feed';

const KEEP_ALIVE_MS = 15_000;

/**
 * Resolves when the client has left, or when it has read so slowly that its position is no longer kept.
 * `Last-Event-ID`, which a browser sends when it comes back, wins over `since`; without either, from now on.
 *
 * @throws MorchError EVENTS_GONE or INVALID_INPUT, before anything is answered
 */
export async function serveSse(
  feed: EventFeed,
  querySince: number | undefined,
  req: IncomingMessage,
  res: ServerResponse,
  { keepAliveMs = KEEP_ALIVE_MS } = {},
): Promise<void> {
  const since = lastEventIdOf(req) ?? querySince ?? feed.lastSeq;
  assertPosition(feed, since);
  beginStream(res, 200, {
    'Content-Type': 'text/event-stream; charset=utf-8',
    // nginx would hold events back
    'X-Accel-Buffering': 'no',
  });
  if (req.method === 'HEAD') {
    res.end();
    return;
  }
  const left = new AbortController();
  res.on('close', () => left.abort());
  res.write(': events follow\n\n');
  const timer = setInterval(() => {
    if (!res.writableNeedDrain) res.write(': still here\n\n');
  }, keepAliveMs);
  try {
    for await (const event of feed.follow(since, left.signal)) {
      const text = `id: ${event.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
      if (!res.write(text)) await drained(res, left.signal);
    }
  } finally {
    clearInterval(timer);
    if (!left.signal.aborted) res.destroy();
  }
}

function lastEventIdOf(req: IncomingMessage): number | undefined {
  const given = req.headers['last-event-id'];
  if (given === undefined || given === '') return undefined;
  return parseInput(eventsQuerySchema, { since: given }, 'header Last-Event-ID').since;
}

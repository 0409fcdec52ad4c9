/** The scheduler's events as they happen, for verbs that show them or wait for them. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { MorchEvent } from '../contract/events';
import { type Client, isUnreachable } from './client';
import { say } from './output';
import { serverSentEvents } from './sse';

const RECONNECT_MS = 500;

/**
 * Never ends by itself: a connection that breaks is taken up again after the last event seen.
 *
 * @param since undefined: from now
 * @throws MorchError when the first connection cannot be made
 */
export async function followEvents(
  client: Client,
  since: number | undefined,
  onEvent: (event: MorchEvent) => void,
): Promise<never> {
  let lastSeq = since;
  for (let connected = false; ; ) {
    try {
      const headers: Record<string, string> =
        connected && lastSeq !== undefined ? { 'last-event-id': String(lastSeq) } : {};
      const answer = await client.stream('/events', connected ? {} : { since }, headers);
      connected = true;
      for await (const data of serverSentEvents(answer.body)) {
        const event = JSON.parse(data) as MorchEvent;
        if (lastSeq !== undefined && event.seq <= lastSeq) continue;
        lastSeq = event.seq;
        onEvent(event);
      }
      say('the scheduler closed the connection; connecting again');
    } catch (error) {
      if (!isUnreachable(error) || !connected) throw error;
    }
    await sleep(RECONNECT_MS);
  }
}

/**
 * The event log as followers read it: old events from the store, new ones as the journal publishes them.
 * Nothing is buffered per follower beyond one page; one that falls behind the newest events kept in memory
 * reads on from the store.
 */
import { MorchError } from '../../contract/errors';
import type { MorchEvent } from '../../contract/events';
import type { EventFeed } from '../api';
import { keys, prefixes } from '../store/keys';
import type { Store } from '../store/store';

const RECENT_MIN = 1_000;
const RECENT_MAX = 2_000;
const PAGE = 256;

export class EventLog implements EventFeed {
  readonly #store: Store;
  #firstSeq: number;
  #lastSeq: number;
  /** The newest events without a gap; the last one is `lastSeq`. */
  #recent: MorchEvent[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(store: Store, { firstSeq, lastSeq }: { firstSeq: number; lastSeq: number }) {
    this.#store = store;
    this.#firstSeq = firstSeq;
    this.#lastSeq = lastSeq;
  }

  get firstSeq(): number {
    return this.#firstSeq;
  }

  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** Tells the followers of events that are durable now, the next in sequence. */
  publish(events: readonly MorchEvent[]): void {
    for (const event of events) {
      if (event.seq !== this.#lastSeq + 1) {
        throw new Error(`Event ${event.seq} was published after ${this.#lastSeq}: the sequence has no gaps`);
      }
      this.#recent.push(event);
      this.#lastSeq = event.seq;
    }
    if (this.#recent.length > RECENT_MAX) this.#recent = this.#recent.slice(-RECENT_MIN);
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** Events before `firstSeq` are no longer in the store. */
  pruned(firstSeq: number): void {
    this.#firstSeq = Math.max(this.#firstSeq, firstSeq);
  }

  async *follow(since: number, signal: AbortSignal): AsyncGenerator<MorchEvent> {
    assertPosition(this, since);
    let last = since === 0 ? this.#firstSeq - 1 : since;
    // Only who asks for everything kept takes whatever comes first.
    let anyFirst = since === 0;
    while (!signal.aborted) {
      if (last >= this.#lastSeq) {
        await this.#published(signal);
        continue;
      }
      const recent = this.#recent[last + 1 - (this.#lastSeq - this.#recent.length + 1)];
      const page = recent === undefined ? await this.#readPage(last) : [recent];
      const first = page[0];
      if (first === undefined || (first.seq !== last + 1 && !anyFirst)) throw gone(last, this.#firstSeq);
      anyFirst = false;
      for (const event of page) {
        if (signal.aborted) return;
        last = event.seq;
        yield event;
      }
    }
  }

  async #readPage(last: number): Promise<MorchEvent[]> {
    const page: MorchEvent[] = [];
    for await (const [, value] of this.#store.range(prefixes.event, { after: keys.event(last), limit: PAGE })) {
      const event = value as MorchEvent;
      if (event.seq > this.#lastSeq) break;
      const before = page.at(-1);
      if (before !== undefined && event.seq !== before.seq + 1) break;
      page.push(event);
    }
    return page;
  }

  #published(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake);
        this.#waiting.delete(wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake);
    });
  }
}

/**
 * Whether one may follow the feed from `since`; 0, everything kept, is always right.
 *
 * @throws MorchError EVENTS_GONE or INVALID_INPUT, as `follow` would
 */
export function assertPosition(feed: EventFeed, since: number): void {
  if (since > feed.lastSeq) {
    throw new MorchError('INVALID_INPUT', `since=${since} lies after the last event, which is ${feed.lastSeq}`, {
      errors: [{ pointer: '/since', message: `must be at most ${feed.lastSeq}` }],
    });
  }
  if (since !== 0 && since + 1 < feed.firstSeq) throw gone(since, feed.firstSeq);
}

function gone(since: number, firstSeq: number): MorchError {
  return new MorchError(
    'EVENTS_GONE',
    `Event ${since + 1} is no longer kept; the oldest is ${firstSeq}. Read the present state, then follow from now, or take all that is kept with since=0`,
  );
}

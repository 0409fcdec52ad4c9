/** Events for tests, written and published as the journal does it. */
import type { MorchEvent } from '../../../contract/events';
import type { EventLog } from '../../../scheduler/events/feed';
import { keys } from '../../../scheduler/store/keys';
import type { Store } from '../../../scheduler/store/store';

export function eventOf(seq: number, more: Partial<MorchEvent> = {}): MorchEvent {
  return { seq, at: '2026-01-02T03:04:05.678Z', type: 'instance.started', data: { uid: `u${seq % 3}` }, ...more };
}

/** Makes the next `count` events durable, then tells them. */
export async function publish(store: Store, log: EventLog, count: number, more: Partial<MorchEvent> = {}) {
  const events = Array.from({ length: count }, (_, i) => eventOf(log.lastSeq + 1 + i, more));
  await store.write(events.map((event) => ({ type: 'put', key: keys.event(event.seq), value: event })));
  log.publish(events);
}

export const sequence = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

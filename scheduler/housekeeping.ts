/** Keeps the store to its size: old events, idempotency keys and ended workloads go. */
import type { Logger } from 'pino';
import { isTerminal } from '../contract/states';
import type { EventLog } from './events/feed';
import { pruneOps } from './events/prune';
import type { Journal } from './journal';
import type { State } from './state';
import { prefixes } from './store/keys';
import type { Store, StoreOp } from './store/store';

const EVERY_MS = 10_000;
const KEYS_EVERY_MS = 3_600_000;
const KEY_KEPT_MS = 24 * 3_600_000;
/** Of workloads that have ended, the latest are kept. */
const ENDED_KEPT = 10_000;

export function startHousekeeping(
  store: Store,
  state: State,
  journal: Journal,
  events: EventLog,
  wake: () => void,
  log: Logger,
): { stop(): void } {
  let working = false;
  let keysDoneAtMs = 0;
  const work = async (): Promise<void> => {
    if (working || journal.unwritable !== null) return;
    working = true;
    try {
      await pruneEvents(store, state, journal, events);
      purgeEnded(state, wake);
      if (Date.now() - keysDoneAtMs > KEYS_EVERY_MS) {
        keysDoneAtMs = Date.now();
        await pruneIdempotencyKeys(store, journal);
      }
    } catch (error) {
      log.error({ err: error }, 'housekeeping failed; it is tried again');
    } finally {
      working = false;
    }
  };
  const timer = setInterval(() => void work(), EVERY_MS);
  return { stop: () => clearInterval(timer) };
}

async function pruneEvents(store: Store, state: State, journal: Journal, events: EventLog): Promise<void> {
  for (;;) {
    const { ops, firstSeq } = await pruneOps(store, state.meta.firstEventSeq, events.lastSeq);
    if (ops.length === 0) return;
    // Told first: a follower must not meet a gap it was not told of.
    state.meta.firstEventSeq = firstSeq;
    state.saveMeta();
    events.pruned(firstSeq);
    await journal.commit();
    await journal.writeOps(ops);
  }
}

function purgeEnded(state: State, wake: () => void): void {
  const ended = [...state.workloads.values()].filter(({ status }) => isTerminal(status));
  if (ended.length <= ENDED_KEPT) return;
  ended.sort((a, b) => (a.updatedAt < b.updatedAt ? -1 : 1));
  for (const workload of ended.slice(0, ended.length - ENDED_KEPT)) {
    workload.goal = 'stop';
    workload.purge = true;
    state.saveWorkload(workload);
  }
  wake();
}

async function pruneIdempotencyKeys(store: Store, journal: Journal): Promise<void> {
  const ops: StoreOp[] = [];
  for await (const [key, value] of store.range(prefixes.idempotency)) {
    if (Date.now() - (value as { atMs: number }).atMs > KEY_KEPT_MS) ops.push({ type: 'del', key });
  }
  if (ops.length > 0) await journal.writeOps(ops);
}

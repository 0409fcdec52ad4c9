/** Keeps the store to its size: old events, idempotency keys and ended workloads go. */
import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { EventLog } from './events/feed';
import { pruneOps } from './events/prune';
import type { Journal } from './journal';
import type { State } from './state';
import { prefixes } from './store/keys';
import type { Store, StoreOp } from './store/store';

const EVERY_MS = 10_000;
const KEYS_EVERY_MS = 3_600_000;
const KEY_KEPT_MS = 24 * 3_600_000;
const DELETED_AT_ONCE = 1_000;
/** Of workloads that have ended, the latest are kept. */
const ENDED_KEPT = 10_000;
const PURGED_AT_ONCE = 200;

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
      await pruneEvents(state, journal, events);
      await removeIndexOfEarlierVersions(store, journal);
      await purgeEnded(state, journal, wake);
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

async function pruneEvents(state: State, journal: Journal, events: EventLog): Promise<void> {
  for (;;) {
    const { ops, firstSeq } = pruneOps(state.meta.firstEventSeq, events.lastSeq);
    if (ops.length === 0) return;
    // Told first: a follower must not meet a gap it was not told of.
    state.meta.firstEventSeq = firstSeq;
    state.saveMeta();
    events.pruned(firstSeq);
    state.history.prune(firstSeq);
    await journal.commit();
    await journal.writeOps(ops);
  }
}

/** The events of each workload, which are found without it now. */
async function removeIndexOfEarlierVersions(store: Store, journal: Journal): Promise<void> {
  for (;;) {
    const ops: StoreOp[] = [];
    for await (const [key] of store.range(prefixes.workloadEvent, { limit: DELETED_AT_ONCE }))
      ops.push({ type: 'del', key });
    if (ops.length === 0) return;
    await journal.writeOps(ops);
  }
}

/** The oldest first, some at a time: the next ones when these are gone. */
async function purgeEnded(state: State, journal: Journal, wake: () => void): Promise<void> {
  const { ended } = state.lists;
  for (;;) {
    let left = Math.min(ended.size - ENDED_KEPT, PURGED_AT_ONCE);
    if (left <= 0) return;
    const before = ended.size;
    for (const uid of ended) {
      if (left-- === 0) break;
      const workload = state.workloads.get(uid)!;
      workload.goal = 'stop';
      workload.purge = true;
      state.saveWorkload(workload);
    }
    wake();
    await setImmediate();
    await journal.commit();
    // One of which something lives on is not gone at once.
    if (ended.size === before) return;
  }
}

async function pruneIdempotencyKeys(store: Store, journal: Journal): Promise<void> {
  let ops: StoreOp[] = [];
  for await (const [key, value] of store.range(prefixes.idempotency)) {
    if (Date.now() - (value as { atMs: number }).atMs > KEY_KEPT_MS) ops.push({ type: 'del', key });
    if (ops.length < DELETED_AT_ONCE) continue;
    await journal.writeOps(ops);
    ops = [];
  }
  if (ops.length > 0) await journal.writeOps(ops);
}

/** The one record about the state as a whole, and how it is found again in a store that damage has taken something from. */
import type { MorchEvent } from '../contract/events';
import { keys, prefixes } from './store/keys';
import { assertKnownSchema, SCHEMA_VERSION } from './store/migrations';
import type { Store } from './store/store';

/** Why a scheduler does not know what runs. */
export type RebuildReason = 'empty' | 'restored' | 'damaged';

export interface Meta {
  clusterId: string;
  epoch: number;
  /** Version of the store's layout. */
  schema: number;
  firstEventSeq: number;
  /** The longest lease that an agent may have been given in this term or the one before. */
  leaseMs?: number;
  /** Nodes that were lost together and from which nothing is moved; see brake.ts. */
  brake?: { since: string; nodes: string[] } | null;
  /**
   * What runs is being learnt from the agents; see rebuild.ts. Also set by the opening of a damaged store, and by a
   * restoration.
   */
  rebuilding?: { reason: RebuildReason; since: string } | null;
  /** Nodes that have not told what they run may hold fenced copies that nobody knows of; see rebuild.ts. */
  unseenFenced?: boolean;
  /** The key that agents have the scheduler's word signed with; see proofs.ts. */
  keyId?: string;
  /** They may have some that was signed with another, or not at all: what they tell in a rebuilding is believed as it is. */
  unproven?: boolean;
  /** A node has joined at some time: the cluster is this scheduler's own. */
  joined?: boolean;
}

/**
 * @param newClusterId for a store in which nothing tells the cluster's
 * @param notes gets a line for what was missing
 * @throws MorchError INVALID_INPUT when the store was written by a later version
 */
export async function loadMeta(store: Store, newClusterId: string, notes: string[]): Promise<Meta> {
  let stored = (await store.get(keys.meta)) as Meta | undefined;
  if (stored === undefined) {
    stored = (await store.get(keys.metaCopy)) as Meta | undefined;
    if (stored !== undefined) notes.push('The meta record is missing; its copy was taken.');
  }
  if (stored !== undefined) {
    assertKnownSchema(stored.schema);
    return { ...stored, schema: SCHEMA_VERSION };
  }
  if (!(await isEmpty(store))) {
    notes.push(
      `The meta record is missing, and its copy as well: the cluster has the new id ${newClusterId}. Agents of the old one refuse it until they join anew; a backup has the old id (morch restore).`,
    );
  }
  const firstEventSeq = (await firstOfLastEvents(store)) ?? 1;
  return { clusterId: newClusterId, epoch: 0, schema: SCHEMA_VERSION, firstEventSeq };
}

/** Seq of the first event from which on the sequence has no gap; undefined when there are no events. */
export async function firstOfLastEvents(store: Store): Promise<number | undefined> {
  let first: number | undefined;
  for await (const [, value] of store.range(prefixes.event, { reverse: true })) {
    const { seq } = value as MorchEvent;
    if (first !== undefined && seq !== first - 1) break;
    first = seq;
  }
  return first;
}

async function isEmpty(store: Store): Promise<boolean> {
  for await (const _ of store.range('', { limit: 1 })) return false;
  return true;
}

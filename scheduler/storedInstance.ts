/**
 * Instances as they stand in the store: without what their key and their workload tell, and without what is as usual. Most
 * have a fifth of the text that way, which is what a start of the scheduler reads of each.
 *
 * Records of layout 2, with every field, and of earlier versions, which lack some, are read the same way.
 */
import type { Amounts } from '../contract/node';
import type { InstanceRecord, WorkloadRecord } from './core/model';
import { prefixes } from './store/keys';

export type StoredInstance = Partial<InstanceRecord>;

/** Of most instances; left out where it is so. */
const USUAL = {
  statusReason: null,
  lingersOn: null,
  onDisconnect: 'replace',
  fenced: false,
  pid: null,
  shimPid: null,
  startedAt: null,
  exit: null,
  attempts: 0,
  replacing: null,
  surplus: false,
  retryAtMs: 0,
  preferredNode: null,
} satisfies StoredInstance;

/** Shared by all that have none: lists and amounts of a record are exchanged, never changed. */
const NONE: never[] = [];
const NOTHING: Amounts = { cpuMillis: 0, memoryBytes: 0 };

export function storedInstance(instance: InstanceRecord): StoredInstance {
  const { generation, run, rev, revision, status, node, reserved, triedNodes, placements } = instance;
  const stored: Record<string, unknown> = { generation, run, rev, revision, status, node };
  for (const name of Object.keys(USUAL) as (keyof typeof USUAL)[]) {
    if (instance[name] !== USUAL[name]) stored[name] = instance[name];
  }
  if (reserved.cpuMillis !== 0 || reserved.memoryBytes !== 0) stored.reserved = reserved;
  if (triedNodes.length > 0) stored.triedNodes = triedNodes;
  if (!isLatestAlone(placements, generation, node)) stored.placements = placements;
  return stored as StoredInstance;
}

/**
 * @param key     of the record
 * @param nodeIds by itself each id of a node: one text for all that name it
 * @returns with every field
 */
export function instanceOf(
  key: string,
  stored: StoredInstance,
  workload: WorkloadRecord | undefined,
  nodeIds: ReadonlyMap<string, { readonly id: string }> = new Map(),
): InstanceRecord {
  const at = key.indexOf('/', prefixes.instance.length);
  const uid = workload?.uid ?? key.slice(prefixes.instance.length, at);
  const slot = key.slice(at + 1);
  const { generation = 0, exit = null, reserved } = stored;
  if (exit !== null) exit.oomKilled ??= false;
  const node = stored.node == null ? null : (nodeIds.get(stored.node)?.id ?? stored.node);
  return {
    uid,
    slot,
    id: stored.id ?? `${workload?.spec.id ?? uid}.${slot}`,
    generation,
    run: stored.run ?? 0,
    rev: stored.rev ?? -1,
    revision: stored.revision ?? 1,
    status: stored.status ?? 'pending',
    statusReason: stored.statusReason ?? null,
    node,
    lingersOn: stored.lingersOn ?? null,
    onDisconnect: stored.onDisconnect ?? 'replace',
    fenced: stored.fenced ?? false,
    pid: stored.pid ?? null,
    shimPid: stored.shimPid ?? null,
    startedAt: stored.startedAt ?? null,
    exit,
    attempts: stored.attempts ?? 0,
    reserved: reserved === undefined ? NOTHING : sharedAmounts(reserved, workload?.spec.resources),
    replacing: stored.replacing ?? null,
    surplus: stored.surplus ?? false,
    retryAtMs: stored.retryAtMs ?? 0,
    triedNodes: stored.triedNodes ?? NONE,
    preferredNode: stored.preferredNode ?? null,
    placements: stored.placements ?? (node === null || generation === 0 ? NONE : [{ generation, node }]),
  };
}

/** It has been placed once, where it is. */
function isLatestAlone(placements: InstanceRecord['placements'], generation: number, node: string | null): boolean {
  if (node === null || generation === 0) return placements.length === 0;
  const [only] = placements;
  return placements.length === 1 && only?.generation === generation && only.node === node;
}

function sharedAmounts(reserved: Amounts, usual: Amounts | undefined): Amounts {
  const isUsual = usual?.cpuMillis === reserved.cpuMillis && usual.memoryBytes === reserved.memoryBytes;
  return isUsual ? usual : reserved;
}

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

/** One object for all instances that would have an equal one: lists of a record are exchanged, never changed. */
export class SharedParts {
  private readonly names = new Map<string, string>();
  /** First ones, by node. */
  private readonly first = new Map<string, InstanceRecord['placements']>();

  /** Of a slot or a node. */
  name(piece: string): string {
    const known = this.names.get(piece);
    if (known !== undefined) return known;
    const own = ownText(piece);
    this.names.set(own, own);
    return own;
  }

  placements(generation: number, node: string): InstanceRecord['placements'] {
    if (generation !== 1) return [{ generation, node }];
    let placements = this.first.get(node);
    if (placements === undefined) {
      placements = [{ generation, node }];
      this.first.set(node, placements);
    }
    return placements;
  }
}

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

/** A piece of a long text keeps all of that in memory; what `join` makes is a text of its own. */
function ownText(piece: string): string {
  return [piece.slice(0, 1), piece.slice(1)].join('');
}

/** @returns with every field */
export function instanceOf(key: string, stored: StoredInstance, workload: WorkloadRecord | undefined): InstanceRecord {
  const at = key.indexOf('/', prefixes.instance.length);
  const uid = workload?.uid ?? key.slice(prefixes.instance.length, at);
  const slot = key.slice(at + 1);
  const id = `${workload?.spec.id ?? uid}.${slot}`;
  return instanceAs({ uid, slot, id }, stored, workload, new SharedParts());
}

/** The same where many are made. @param shared what they have alike */
export function instanceAs(
  { uid, slot, id }: Pick<InstanceRecord, 'uid' | 'slot' | 'id'>,
  stored: StoredInstance,
  workload: WorkloadRecord | undefined,
  shared: SharedParts,
): InstanceRecord {
  const { generation = 0, exit = null, reserved = NOTHING } = stored;
  if (exit !== null) exit.oomKilled ??= false;
  const node = stored.node == null ? null : shared.name(stored.node);
  return {
    uid,
    slot,
    id: stored.id ?? id,
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
    reserved: sharedAmounts(reserved, workload?.spec.resources),
    replacing: stored.replacing ?? null,
    surplus: stored.surplus ?? false,
    retryAtMs: stored.retryAtMs ?? 0,
    triedNodes: stored.triedNodes ?? NONE,
    preferredNode: stored.preferredNode ?? null,
    placements: stored.placements ?? (node === null || generation === 0 ? NONE : shared.placements(generation, node)),
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

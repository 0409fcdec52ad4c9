/**
 * Instances as they stand in the store: what most have something to say of by its place in a list, without names, then what is not as
 * usual, and nothing that their key and their workload tell. A tenth of the text, which is what a start of the scheduler reads of each.
 *
 * Records of layouts 2 and 3, which have names, and of earlier versions, which lack some fields, are read as well.
 */
import type { Amounts } from '../contract/node';
import type { InstanceStatus } from '../contract/states';
import type { InstanceRecord, WorkloadRecord } from './core/model';
import { prefixes } from './store/keys';

type Fields = readonly [
  generation: number,
  run: number,
  rev: number,
  revision: number,
  status: InstanceStatus,
  node: string | null,
  pid: number | null,
  shimPid: number | null,
  startedAt: string | null,
  attempts: number,
  reservedCpuMillis: number,
  reservedMemoryBytes: number,
  others?: Partial<InstanceRecord>,
];

/** The second: of layout 3 or an earlier one. */
export type StoredInstance = Fields | Partial<InstanceRecord>;

/** Of most instances; left out where it is so. */
const USUAL = {
  statusReason: null,
  lingersOn: null,
  onDisconnect: 'replace',
  fenced: false,
  exit: null,
  replacing: null,
  surplus: false,
  retryAtMs: 0,
  preferredNode: null,
} as const satisfies Partial<InstanceRecord>;
const USUAL_NAMES = Object.keys(USUAL) as (keyof typeof USUAL)[];
const OTHER_NAMES = [...USUAL_NAMES, 'id', 'triedNodes', 'placements'] as const;

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

export function storedInstance(instance: InstanceRecord): Fields {
  const { generation, run, rev, revision, status, node, pid, shimPid, startedAt, attempts } = instance;
  const { reserved, triedNodes, placements } = instance;
  const others: Record<string, unknown> = {};
  for (const name of USUAL_NAMES) if (instance[name] !== USUAL[name]) others[name] = instance[name];
  if (triedNodes.length > 0) others.triedNodes = triedNodes;
  if (!isLatestAlone(placements, generation, node)) others.placements = placements;
  const first = [generation, run, rev, revision, status, node, pid, shimPid, startedAt, attempts] as const;
  const fields = [...first, reserved.cpuMillis, reserved.memoryBytes] as const;
  return Object.keys(others).length === 0 ? fields : [...fields, others];
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
  const fields = isInOrder(stored) ? stored : fieldsOf(stored);
  const generation = fields[0];
  const node = fields[5] === null ? null : shared.name(fields[5]);
  const instance: InstanceRecord = {
    uid,
    slot,
    id,
    generation,
    run: fields[1],
    rev: fields[2],
    revision: fields[3],
    status: fields[4],
    statusReason: USUAL.statusReason,
    node,
    lingersOn: USUAL.lingersOn,
    onDisconnect: USUAL.onDisconnect,
    fenced: USUAL.fenced,
    pid: fields[6],
    shimPid: fields[7],
    startedAt: fields[8],
    exit: USUAL.exit,
    attempts: fields[9],
    reserved: sharedAmounts(fields[10], fields[11], workload?.spec.resources),
    replacing: USUAL.replacing,
    surplus: USUAL.surplus,
    retryAtMs: USUAL.retryAtMs,
    triedNodes: NONE,
    preferredNode: USUAL.preferredNode,
    placements: node === null || generation === 0 ? NONE : shared.placements(generation, node),
  };
  return fields.length === 12 ? instance : Object.assign(instance, fields[12]);
}

function isInOrder(stored: StoredInstance): stored is Fields {
  return Array.isArray(stored);
}

/** Of what has names, and may lack any. */
function fieldsOf(stored: Partial<InstanceRecord>): Fields {
  const { generation = 0, run = 0, rev = -1, revision = 1, status = 'pending', node = null } = stored;
  const { pid = null, shimPid = null, startedAt = null, attempts = 0, reserved = NOTHING } = stored;
  const others: Record<string, unknown> = {};
  for (const name of OTHER_NAMES) if (stored[name] != null) others[name] = stored[name];
  if (stored.exit) others.exit = { ...stored.exit, oomKilled: stored.exit.oomKilled ?? false };
  const { cpuMillis, memoryBytes } = reserved;
  const first = [generation, run, rev, revision, status, node, pid, shimPid, startedAt, attempts] as const;
  return [...first, cpuMillis, memoryBytes, others];
}

/** It has been placed once, where it is. */
function isLatestAlone(placements: InstanceRecord['placements'], generation: number, node: string | null): boolean {
  if (node === null || generation === 0) return placements.length === 0;
  const [only] = placements;
  return placements.length === 1 && only?.generation === generation && only.node === node;
}

function sharedAmounts(cpuMillis: number, memoryBytes: number, usual: Amounts | undefined): Amounts {
  if (usual !== undefined && usual.cpuMillis === cpuMillis && usual.memoryBytes === memoryBytes) return usual;
  return cpuMillis === 0 && memoryBytes === 0 ? NOTHING : { cpuMillis, memoryBytes };
}

/**
 * The scheduler's records, as they are kept in memory and in the store. The core's decisions read them and
 * never change them; `../state.ts` does.
 */
import type { Amounts, NodeUsage } from '../../contract/node';
import type { InstanceStatus, NodeStatus, WorkloadStatus } from '../../contract/states';
import type { Exit, OnDisconnect, WorkloadOrigin, WorkloadSpec } from '../../contract/workload';

export interface WorkloadRecord {
  /** Random; tells a workload from an earlier one of the same id. */
  readonly uid: string;
  spec: WorkloadSpec;
  /** Counts applied specs from 1. */
  version: number;
  /** Rises when running instances are to be replaced: a restart, or a change of what they run. */
  revision: number;
  goal: 'run' | 'stop';
  /** Remove the record once no process of it is left. */
  purge: boolean;
  /** Greatest generation of instances whose records are gone: a slot that comes back begins above it. */
  generationFloor: number;
  /** As last told by an event. */
  status: WorkloadStatus;
  createdAt: string;
  updatedAt: string;
}

/** Why a live generation is being stopped to be placed again. */
export type Replacing = 'revision' | 'drain';

/** Names what is known of an instance only while the scheduler runs: no symbol gets into the store. */
export const HEARD_AT_MS = Symbol('heardAtMs');

export interface InstanceRecord {
  /** Monotonic time of its last report, to tell it from an inventory made before. */
  [HEARD_AT_MS]?: number;
  readonly uid: string;
  /** `0` for `web.0`, the node's id for a daemon. */
  readonly slot: string;
  readonly id: string;
  /** 0 before the first placement; only rises. */
  generation: number;
  run: number;
  /** Of the last report taken in for this generation; -1 before the first. */
  rev: number;
  /** The workload's revision that this generation was placed for. */
  revision: number;
  status: InstanceStatus;
  statusReason: string | null;
  /** Where the current generation was placed; null while there is none that may hold a process. */
  node: string | null;
  /** The lost node on which the current generation may still run; null once that is settled. */
  lingersOn: string | null;
  /** Of the current generation, as it was placed. */
  onDisconnect: OnDisconnect;
  /** The current generation may still live under a lease, and nothing is known of it: it is waited out. See fences.ts. */
  fenced: boolean;
  pid: number | null;
  shimPid: number | null;
  startedAt: string | null;
  exit: Exit | null;
  attempts: number;
  /** What the current generation has reserved on its node. */
  reserved: Amounts;
  replacing: Replacing | null;
  /** To be stopped and its record removed: scaled away, or its node no longer fits a daemon. */
  surplus: boolean;
  /** Unplaced instances are not tried before this moment (epoch ms). */
  retryAtMs: number;
  /** Nodes on which a start of this row of attempts has failed. */
  triedNodes: string[];
  /** Placed there again if it fits. */
  preferredNode: string | null;
  /** Newest last, at most 10. */
  placements: { generation: number; node: string }[];
}

export interface NodeRecord {
  readonly id: string;
  host: string;
  port: number;
  nodeKey: string;
  /** What its agent asks of whoever calls it; see access/nodeTokens.ts. */
  sealedToken?: string;
  /** It speaks TLS. */
  tls?: boolean;
  /** The agent's own, and those given at registration, which win. */
  agentLabels: Record<string, string>;
  givenLabels: Record<string, string>;
  capacity: Amounts;
  features: string[];
  version: string;
  /** Of the agent's start that was last heard. */
  incarnation: string;
  cordoned: boolean;
  drain: { state: 'draining' | 'drained'; deadlineAtMs: number } | null;
  status: NodeStatus;
  statusReason: string | null;
  lastContactAt: string | null;
  /** Not there: not lost lately, or trusted again. */
  flaps?: Flaps;
}

/** Losses of a node, by the clock of steadyClock.ts, for its quarantine. */
export interface Flaps {
  /** The latest, and those within the flap window before it, oldest first. */
  lossesAtMs: number[];
  /** They keep the node in quarantine until then; null: they are not so many. */
  untilMs: number | null;
}

/** What is known of a node only while the scheduler runs. */
export interface NodeRuntime {
  usage: NodeUsage | null;
  /** When `usage` came (epoch ms). */
  usageAtMs: number;
  /** Begun when an inventory was taken in; null while there is no connection. Commands name it. */
  session: number | null;
  /** When the lease given to its agent ends (monotonic ms). */
  leaseEndsAtMs: number;
  /** The agent said that it is stopping. */
  leaving: boolean;
  /** Stale generations it still runs, as `uid/slot/generation`; no placements until none is left. */
  stale: Set<string>;
  /** What the placements since `usageAtMs` are taken to use. */
  unseenCpuMillis: number;
  consecutiveFailures: number;
}

/** Attempts and tries forgotten: for a start at a user's word. */
export const FRESH = {
  attempts: 0,
  triedNodes: [],
  retryAtMs: 0,
  preferredNode: null,
} satisfies Partial<InstanceRecord>;

interface Merged {
  agentLabels: Record<string, string>;
  givenLabels: Record<string, string>;
  labels: Record<string, string>;
}
const mergedLabels = new WeakMap<NodeRecord, Merged>();

/** Made anew only when they have been replaced. */
export function labelsOf(node: NodeRecord): Readonly<Record<string, string>> {
  const { agentLabels, givenLabels } = node;
  const known = mergedLabels.get(node);
  if (known !== undefined && known.agentLabels === agentLabels && known.givenLabels === givenLabels)
    return known.labels;
  const labels = { ...agentLabels, ...givenLabels };
  mergedLabels.set(node, { agentLabels, givenLabels, labels });
  return labels;
}

export const instanceKey = (i: { uid: string; slot: string }): string => `${i.uid}/${i.slot}`;

/** No generation of it may hold a process, and it waits for a place. */
export function isUnplaced(i: InstanceRecord): boolean {
  return i.node === null && (i.status === 'pending' || i.status === 'recovering' || i.status === 'backoff');
}

/** What agents keep for a scheduler that has lost its records. @param testimony see proofs.ts */
export function originOf({ spec, version, revision, createdAt }: WorkloadRecord, testimony: string): WorkloadOrigin {
  const { labels, replicas, resources, placement } = spec;
  return {
    labels,
    ...(replicas === undefined ? {} : { replicas }),
    resources,
    placement,
    version,
    revision,
    createdAt,
    testimony,
  };
}

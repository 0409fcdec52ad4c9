/** What the HTTP layer may ask of the scheduler: reads are answered from memory, acts resolve once they are durable. */

import type { z } from 'zod';
import type { BlackBoxRecord } from '../contract/blackBox';
import type { Drill, DrillInput, DrillPreview } from '../contract/drill';
import type { MorchEvent } from '../contract/events';
import type { Health, HealthCheck, HealthSummary, RecoveryMetrics, Released } from '../contract/health';
import type { Node, NodeCertificate, NodeDetail, RegisterNode } from '../contract/node';
import type { Secret } from '../contract/secrets';
import type { WorkloadStatus } from '../contract/states';
import type { Instance, Workload, workloadInputSchema } from '../contract/workload';
import type { Caller } from './access/guard';
import type { AgentAddress } from './agentClient';
import type { JsonText } from './jsonText';

export type SubmitInput = z.output<typeof workloadInputSchema>;

export interface Page {
  limit: number;
  /** As `nextCursor` gave it; one that is not ours: INVALID_INPUT. */
  cursor?: string | undefined;
}

export interface WorkloadFilter {
  status?: WorkloadStatus | undefined;
  node?: string | undefined;
  label?: { key: string; value: string } | undefined;
}

export interface WorkloadPage {
  workloads: Workload[];
  nextCursor: string | null;
}

/** One line of `/readyz?verbose`. */
export interface ReadyCheck {
  name: string;
  ok: boolean;
  detail?: string;
}

export interface IdempotencyKey {
  key: string;
  /** SHA-256 of the request body as it came. */
  bodyHash: string;
}

/** A workload as it was made. */
export interface Submitted {
  id: string;
  version: number;
  answer: JsonText<Workload>;
  /** It was made by an earlier submission with the same key. */
  replayed: boolean;
}

/** Where an instance's output may be found: each node that has held one of its generations, oldest first. */
export interface LogSource {
  instanceId: string;
  uid: string;
  nodes: (AgentAddress & { id: string; reachable: boolean })[];
}

/** Every method that names an id throws MorchError WORKLOAD_NOT_FOUND or NODE_NOT_FOUND where there is none. */
export interface SchedulerApi {
  health(): Health;
  healthSummary(): HealthSummary;
  checkNodes(): Promise<HealthCheck>;
  readyChecks(): ReadyCheck[];
  recoveryMetrics(): RecoveryMetrics;
  /** Ends what holds recoveries back. */
  releaseRecovery(): Promise<Released>;

  listNodes(page: Page): { nodes: Node[]; nextCursor: string | null };
  node(id: string): NodeDetail;
  /** As its agent tells them, in the text form of Prometheus. @throws MorchError NODE_UNREACHABLE */
  nodeMetrics(id: string): Promise<string>;
  /** @throws MorchError as nodeRegistry.ts tells */
  registerNode(input: RegisterNode, caller: Caller): Promise<{ created: boolean; node: Node }>;
  /** @param id of a node that is or will be; @param where the agent that asks, for messages */
  issueNodeCertificate(id: string, request: string, caller: Caller, where: string): Promise<NodeCertificate>;
  forgetNode(id: string, force: boolean): Promise<void>;
  cordonNode(id: string): Promise<Node>;
  uncordonNode(id: string): Promise<Node>;
  drainNode(id: string, deadlineMs: number): Promise<Node>;
  previewDrill(id: string): DrillPreview;
  /** NOT_POSSIBLE where the node is not healthy, or another is lost or drilled; else as the agent answers. */
  drillNode(id: string, drill: DrillInput): Promise<Drill>;

  listWorkloads(filter: WorkloadFilter, page: Page): Promise<JsonText<WorkloadPage>>;
  workload(id: string): Workload;
  listInstances(id: string, page: Page): { instances: Instance[]; nextCursor: string | null };
  /** With a key that was used before: the same answer again (`replayed`), or IDEMPOTENCY_CONFLICT for another body. */
  submit(input: SubmitInput, idempotency?: IdempotencyKey): Promise<Submitted>;
  apply(id: string, input: SubmitInput, ifMatch?: number): Promise<{ created: boolean; workload: Workload }>;
  stop(id: string, purge: boolean, ifMatch?: number): Promise<Workload>;
  restart(id: string, ifMatch?: number): Promise<Workload>;
  scale(id: string, replicas: number, ifMatch?: number): Promise<Workload>;
  history(id: string, page: Page): Promise<{ events: MorchEvent[]; nextCursor: string | null }>;
  /** Newest first. @param instance only that one; INSTANCE_NOT_FOUND where there neither is nor was one of the name */
  blackBoxRecords(
    id: string,
    instance: string | undefined,
    page: Page,
  ): Promise<{ records: BlackBoxRecord[]; nextCursor: string | null }>;
  /** @param instance only that one; INSTANCE_NOT_FOUND where there is none of the name */
  logSources(id: string, instance?: string): LogSource[];
  /** Resolves when the workload is terminal or gone, or the signal aborts. */
  untilTerminal(id: string, signal: AbortSignal): Promise<void>;
  listSecrets(page: Page): { secrets: Secret[]; nextCursor: string | null };
  /** NOT_POSSIBLE for what is not text where a live workload wants it as a variable */
  setSecret(name: string, value: Buffer): Promise<{ created: boolean; secret: Secret }>;
  /** SECRET_NOT_FOUND; SECRET_IN_USE while a workload that has not ended refers to it */
  removeSecret(name: string): Promise<void>;
  /** All records as they are now, as contract/backup.ts tells; without its end when it cannot be had. */
  backup(): AsyncIterable<string>;
}

/** The durable events, to be read in order and without a gap. */
export interface EventFeed {
  /** Greatest seq that is durable; 0 before the first. */
  readonly lastSeq: number;
  /** Least seq still kept; 1 before the first. */
  readonly firstSeq: number;
  /**
   * All kept events with seq > since in order, then each new one as it becomes durable, until aborted.
   * @throws MorchError EVENTS_GONE when the one after `since` is no longer kept; INVALID_INPUT when `since` > lastSeq
   */
  follow(since: number, signal: AbortSignal): AsyncIterable<MorchEvent>;
}

/**
 * Every route of the two HTTP servers: the scheduler registers its handlers by this table and makes
 * /openapi.json from it, the clients and the docs read it. A route that is not here does not exist. Over 400 lines because it
 * is one table.
 */
import { z } from 'zod';
import { type Access, createdTokenSchema, createTokenSchema, tokenSchema } from './access';
import {
  agentStatusSchema,
  keptInstancesSchema,
  startBatchSchema,
  startedSchema,
  startInstanceSchema,
  stopBatchSchema,
  stopInstanceSchema,
  stoppedSchema,
} from './agentApi';
import { auditLineSchema } from './audit';
import { BACKUP_MEDIA } from './backup';
import { blackBoxRecordSchema } from './blackBox';
import { drillAcceptedSchema, drillCommandSchema, drillInputSchema, drillPreviewSchema, drillSchema } from './drill';
import { eventSchema } from './events';
import { labelKeySchema, uidSchema } from './fields';
import {
  bareHealthSchema,
  healthCheckSchema,
  healthSchema,
  healthSummarySchema,
  recoveryMetricsSchema,
  releasedSchema,
} from './health';
import { logPositionParameter } from './logFrames';
import {
  drainSchema,
  nodeCertificateRequestSchema,
  nodeCertificateSchema,
  nodeDetailSchema,
  nodeSchema,
  registerNodeSchema,
} from './node';
import { putSecretSchema, secretSchema } from './secrets';
import { sinceSchema } from './since';
import { workloadStatusSchema } from './states';
import { instanceSchema, scaleSchema, workloadInputSchema, workloadSchema } from './workload';

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Express style: `/workloads/:id`. */
  readonly path: string;
  /** Looked at before ids, queries and bodies are. */
  readonly access: Access;
  readonly summary: string;
  readonly query?: z.ZodObject;
  readonly body?: z.ZodType;
  /** Success status → body; `null` body: none or not JSON (then `media` says what). */
  readonly answers: Readonly<Record<number, z.ZodType | null>>;
  readonly media?: string;
  /** Also reachable by WebSocket upgrade. */
  readonly webSocket?: boolean;
}

/** `null` at the end of the list. */
const nextCursor = z.string().nullable();
const integerParameter = (min: number, max: number, message = 'must be a whole number') =>
  z
    .string()
    .regex(/^\d{1,15}$/, message)
    .meta({ type: 'integer', minimum: min, maximum: max })
    .transform(Number)
    .refine((n) => n >= min && n <= max, `must be ${min} to ${max}`);
const flagParameter = z
  .enum(['true', 'false', ''])
  .meta({ type: 'boolean' })
  .transform((text) => text !== 'false');

export const pageQuery = {
  limit: integerParameter(1, 1_000).default(100),
  cursor: z.string().max(512).optional(),
};
export const pageQuerySchema = z.strictObject(pageQuery);
export const workloadsQuerySchema = z.strictObject({
  ...pageQuery,
  status: workloadStatusSchema.optional(),
  node: z.string().optional(),
  label: z
    .string()
    .regex(/^[^=]+=.*$/, 'must be key=value')
    .refine((text) => labelKeySchema.safeParse(text.split('=')[0]).success, 'the key is not a label key')
    .optional(),
});
export const eventsQuerySchema = z.strictObject({ since: integerParameter(0, Number.MAX_SAFE_INTEGER).optional() });
export const logsQuerySchema = z.strictObject({
  instance: z.string().optional(),
  stream: z.enum(['stdout', 'stderr', 'all']).default('all'),
  since: sinceSchema.optional().describe('only what was written since: how long ago, or a time'),
  tail: integerParameter(0, 10_000_000, 'must be a number of lines, such as 100')
    .optional()
    .describe('the last lines only, of the whole answer'),
  follow: flagParameter.default(false),
});
export const agentLogsQuerySchema = logsQuerySchema.omit({ instance: true }).extend({
  uid: uidSchema.optional(),
  frames: flagParameter.default(false).describe('for schedulers: each piece with the position after it'),
  from: logPositionParameter.optional().describe('go on from a position that a frame told'),
});
/** Of the answers of both log routes, where it is not 0: output that could not be written; `tail` and following left aside. */
export const DROPPED_BYTES_HEADER = 'X-Morch-Dropped-Bytes';
export const stopQuerySchema = z.strictObject({ purge: flagParameter.default(false) });
export const blackBoxQuerySchema = z.strictObject({
  ...pageQuery,
  instance: z.string().optional().describe('of this one only: web.0'),
});
export const forgetQuerySchema = z.strictObject({ force: flagParameter.default(false) });
export const agentStatusQuerySchema = z.strictObject({ processes: flagParameter.default(true) });
const verboseQuerySchema = z.strictObject({ verbose: flagParameter.default(false) });

/** https://prometheus.io/docs/instrumenting/exposition_formats/ */
export const METRICS_MEDIA = 'text/plain; version=0.0.4';

export const SCHEDULER_ROUTES = [
  {
    method: 'GET',
    path: '/health',
    access: 'open',
    summary: 'The state of the whole, briefly; whoever may not read is told what an agent needs to join',
    answers: { 200: z.union([healthSchema, bareHealthSchema]) },
  },
  {
    method: 'GET',
    path: '/livez',
    access: 'open',
    summary: 'Whether the process serves',
    query: verboseQuerySchema,
    answers: { 200: null },
    media: 'text/plain',
  },
  {
    method: 'GET',
    path: '/readyz',
    access: 'open',
    summary: 'Whether it can take work',
    query: verboseQuerySchema,
    answers: { 200: null },
    media: 'text/plain',
  },
  {
    method: 'GET',
    path: '/ca',
    access: 'open',
    summary: "Whom to trust: the certificate of the cluster's authority, and any other that has signed the scheduler's",
    answers: { 200: null },
    media: 'application/x-pem-file',
  },
  {
    method: 'GET',
    path: '/health/summary',
    access: 'read',
    summary: 'Every node, totals, recent verdicts',
    answers: { 200: healthSummarySchema },
  },
  {
    method: 'POST',
    path: '/health/check',
    access: 'read',
    summary: 'Probes every node now',
    answers: { 200: healthCheckSchema },
  },
  {
    method: 'GET',
    path: '/recovery/metrics',
    access: 'read',
    summary: 'Verdicts and recoveries, with their times',
    answers: { 200: recoveryMetricsSchema },
  },
  {
    method: 'GET',
    path: '/metrics',
    access: 'read',
    summary: 'How it does, for Prometheus',
    answers: { 200: null },
    media: METRICS_MEDIA,
  },
  {
    method: 'POST',
    path: '/recovery/release',
    access: 'operator',
    summary: 'Releases the brake: what was on nodes lost together is started elsewhere',
    answers: { 200: releasedSchema },
  },
  {
    method: 'GET',
    path: '/nodes',
    access: 'read',
    summary: 'Nodes',
    query: pageQuerySchema,
    answers: { 200: z.object({ nodes: z.array(nodeSchema), nextCursor }) },
  },
  {
    method: 'POST',
    path: '/nodes',
    access: 'node',
    summary: 'Registers an agent after probing it',
    body: registerNodeSchema,
    answers: { 201: nodeSchema, 200: nodeSchema },
  },
  {
    method: 'POST',
    path: '/nodes/:id/certificate',
    access: 'node',
    summary: 'Issues the certificate by which the agent of a node is known; again before that is out of date',
    body: nodeCertificateRequestSchema,
    answers: { 200: nodeCertificateSchema },
  },
  {
    method: 'GET',
    path: '/nodes/:id',
    access: 'read',
    summary: 'One node with its instances',
    answers: { 200: nodeDetailSchema },
  },
  {
    method: 'DELETE',
    path: '/nodes/:id',
    access: 'admin',
    summary: 'Forgets a node',
    query: forgetQuerySchema,
    answers: { 204: null },
  },
  {
    method: 'GET',
    path: '/nodes/:id/metrics',
    access: 'read',
    summary: 'How its agent does, for Prometheus',
    answers: { 200: null },
    media: METRICS_MEDIA,
  },
  {
    method: 'POST',
    path: '/nodes/:id/cordon',
    access: 'operator',
    summary: 'No new placements on it',
    answers: { 200: nodeSchema },
  },
  {
    method: 'POST',
    path: '/nodes/:id/uncordon',
    access: 'operator',
    summary: 'Ends a cordon, a drain or a quarantine',
    answers: { 200: nodeSchema },
  },
  {
    method: 'POST',
    path: '/nodes/:id/drain',
    access: 'operator',
    summary: 'Moves its work to other nodes',
    body: drainSchema,
    answers: { 202: nodeSchema },
  },
  {
    method: 'GET',
    path: '/nodes/:id/drill',
    access: 'read',
    summary: 'What a drill of it would affect',
    answers: { 200: drillPreviewSchema },
  },
  {
    method: 'POST',
    path: '/nodes/:id/drill',
    access: 'admin',
    summary: 'Kills its agent, or cuts it off, on purpose',
    body: drillInputSchema,
    answers: { 202: drillSchema },
  },
  {
    method: 'GET',
    path: '/workloads',
    access: 'read',
    summary: 'Workloads, without their instances',
    query: workloadsQuerySchema,
    answers: { 200: z.object({ workloads: z.array(workloadSchema), nextCursor }) },
  },
  {
    method: 'POST',
    path: '/workloads',
    access: 'operator',
    summary: 'Submits a workload',
    body: workloadInputSchema,
    answers: { 201: workloadSchema },
  },
  {
    method: 'GET',
    path: '/workloads/:id',
    access: 'read',
    summary: 'One workload with its first 1,000 instances',
    answers: { 200: workloadSchema },
  },
  {
    method: 'PUT',
    path: '/workloads/:id',
    access: 'operator',
    summary: 'Applies a spec',
    body: workloadInputSchema,
    answers: { 200: workloadSchema, 201: workloadSchema },
  },
  {
    method: 'DELETE',
    path: '/workloads/:id',
    access: 'operator',
    summary: 'Stops it; with purge also removes the record',
    query: stopQuerySchema,
    answers: { 202: workloadSchema },
  },
  {
    method: 'GET',
    path: '/workloads/:id/instances',
    access: 'read',
    summary: 'All its instances',
    query: pageQuerySchema,
    answers: { 200: z.object({ instances: z.array(instanceSchema), nextCursor }) },
  },
  {
    method: 'POST',
    path: '/workloads/:id/restart',
    access: 'operator',
    summary: 'Restarts its instances one at a time',
    answers: { 202: workloadSchema },
  },
  {
    method: 'POST',
    path: '/workloads/:id/scale',
    access: 'operator',
    summary: 'Sets the number of replicas',
    body: scaleSchema,
    answers: { 200: workloadSchema },
  },
  {
    method: 'GET',
    path: '/workloads/:id/logs',
    access: 'read',
    summary: 'Output of its instances',
    query: logsQuerySchema,
    answers: { 200: null },
    media: 'text/plain',
  },
  {
    method: 'GET',
    path: '/workloads/:id/blackbox',
    access: 'read',
    summary: 'What is kept of its lost instances, newest first',
    query: blackBoxQuerySchema,
    answers: { 200: z.object({ records: z.array(blackBoxRecordSchema), nextCursor }) },
  },
  {
    method: 'GET',
    path: '/workloads/:id/history',
    access: 'read',
    summary: 'Its events, oldest first',
    query: pageQuerySchema,
    answers: { 200: z.object({ events: z.array(eventSchema), nextCursor }) },
  },
  {
    method: 'GET',
    path: '/events',
    access: 'read',
    summary: 'Events as they happen (server-sent events, or WebSocket)',
    query: eventsQuerySchema,
    answers: { 200: null },
    media: 'text/event-stream',
    webSocket: true,
  },
  {
    method: 'GET',
    path: '/backup',
    access: 'admin',
    summary: 'All records of the scheduler as they are now, for `morch restore`',
    answers: { 200: null },
    media: BACKUP_MEDIA,
  },
  {
    method: 'GET',
    path: '/secrets',
    access: 'read',
    summary: 'Names and versions of the secrets; never their values',
    query: pageQuerySchema,
    answers: { 200: z.object({ secrets: z.array(secretSchema), nextCursor }) },
  },
  {
    method: 'PUT',
    path: '/secrets/:id',
    access: 'operator',
    summary: 'Sets a secret, or gives it another value',
    body: putSecretSchema,
    answers: { 201: secretSchema, 204: null },
  },
  {
    method: 'DELETE',
    path: '/secrets/:id',
    access: 'operator',
    summary: 'Removes a secret that no workload needs',
    answers: { 204: null },
  },
  {
    method: 'GET',
    path: '/tokens',
    access: 'admin',
    summary: 'Tokens that are good, without their texts',
    query: pageQuerySchema,
    answers: { 200: z.object({ tokens: z.array(tokenSchema), nextCursor }) },
  },
  {
    method: 'POST',
    path: '/tokens',
    access: 'admin',
    summary: 'Makes a token; its text is in this answer and nowhere else',
    body: createTokenSchema,
    answers: { 201: createdTokenSchema },
  },
  {
    method: 'DELETE',
    path: '/tokens/:id',
    access: 'admin',
    summary: 'Revokes a token; what it holds open ends',
    answers: { 204: null },
  },
  {
    method: 'GET',
    path: '/audit',
    access: 'admin',
    summary: 'The audit log, newest first',
    query: pageQuerySchema,
    answers: { 200: z.object({ lines: z.array(auditLineSchema), nextCursor }) },
  },
  {
    method: 'GET',
    path: '/openapi.json',
    access: 'read',
    summary: 'This description',
    answers: { 200: z.record(z.string(), z.unknown()) },
  },
] as const satisfies readonly Route[];

/** Whether a request to it is a change, and so goes into the audit log; a probe of all nodes changes nothing. */
export function changesSomething({ method, path }: Pick<Route, 'method' | 'path'>): boolean {
  return method !== 'GET' && path !== '/health/check';
}

/** Who asks: the scheduler of the agent's cluster. */
export const agentInstancesQuerySchema = z.strictObject({
  clusterId: z.string().min(1),
  epoch: z.coerce.number().int().min(1).optional(),
});

export const AGENT_ROUTES = [
  {
    method: 'GET',
    path: '/status',
    access: 'agent',
    summary: 'The node, its metrics and its processes',
    query: agentStatusQuerySchema,
    answers: { 200: agentStatusSchema },
  },
  {
    method: 'POST',
    path: '/start',
    access: 'agent',
    summary: 'Starts one instance, or several',
    body: z.union([startInstanceSchema, startBatchSchema]),
    answers: { 201: startedSchema, 200: z.object({ results: z.array(z.unknown()) }) },
  },
  {
    method: 'POST',
    path: '/stop',
    access: 'agent',
    summary: 'Stops one instance and waits, or begins to stop several',
    body: z.union([stopInstanceSchema, stopBatchSchema]),
    answers: { 200: stoppedSchema },
  },
  {
    method: 'POST',
    path: '/drill',
    access: 'agent',
    summary: 'Ends in a crash, or falls silent, on purpose; of its scheduler only',
    body: drillCommandSchema,
    answers: { 202: drillAcceptedSchema },
  },
  {
    method: 'GET',
    path: '/instances',
    access: 'agent',
    summary: 'What its scheduler has had started, with all that is needed to learn the workloads again',
    query: agentInstancesQuerySchema,
    answers: { 200: keptInstancesSchema },
  },
  {
    method: 'GET',
    path: '/instances/:id/logs',
    access: 'agent',
    summary: 'Output of one instance',
    query: agentLogsQuerySchema,
    answers: { 200: null },
    media: 'text/plain',
  },
  {
    method: 'GET',
    path: '/metrics',
    access: 'agent',
    summary: 'How it does, for Prometheus',
    answers: { 200: null },
    media: METRICS_MEDIA,
  },
  {
    method: 'GET',
    path: '/events',
    access: 'agent',
    summary: 'Heartbeats and exits (WebSocket only)',
    answers: { 101: null },
    webSocket: true,
  },
  {
    method: 'GET',
    path: '/livez',
    access: 'open',
    summary: 'Whether the process serves',
    answers: { 200: null },
    media: 'text/plain',
  },
  {
    method: 'GET',
    path: '/readyz',
    access: 'open',
    summary: 'Whether it takes work',
    answers: { 200: null },
    media: 'text/plain',
  },
] as const satisfies readonly Route[];

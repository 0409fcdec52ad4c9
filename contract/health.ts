/** The scheduler's word on itself, the nodes and the recoveries. */
import { z } from 'zod';
import { timeSchema } from './fields';
import { amountsSchema, nodeUsageSchema } from './node';
import { instanceStatusSchema, nodeStatusSchema, workloadStatusSchema } from './states';

export const healthSchema = z
  .object({
    status: z.enum(['healthy', 'degraded']),
    reasons: z.array(z.string()),
    version: z.string(),
    clusterId: z.string(),
    epoch: z.int(),
    takesOver: z
      .boolean()
      .optional()
      .describe('it has no records, and takes over the cluster of the first agent that belongs to one'),
    uptimeMs: z.number(),
    store: z.object({ kind: z.string(), writable: z.boolean() }),
    nodes: z.object({ total: z.int(), healthy: z.int() }),
    workloads: z.object({ total: z.int(), running: z.int() }),
  })
  .meta({ id: 'Health' });
export type Health = z.infer<typeof healthSchema>;

/** For callers who have not said who they are. */
export const bareHealthSchema = healthSchema
  .pick({ status: true, version: true, clusterId: true, epoch: true, takesOver: true })
  .meta({ id: 'BareHealth' });
export type BareHealth = z.infer<typeof bareHealthSchema>;

export const verdictSchema = z.object({ node: z.string(), at: timeSchema, silentMs: z.number(), reason: z.string() });
export type Verdict = z.infer<typeof verdictSchema>;

export const healthSummarySchema = z
  .object({
    status: z.enum(['healthy', 'degraded']),
    checkedAt: timeSchema,
    nodes: z.array(
      z.object({
        id: z.string(),
        status: nodeStatusSchema,
        lastContactAt: timeSchema.nullable(),
        consecutiveFailures: z.int(),
        usage: nodeUsageSchema.nullable(),
        instanceCount: z.int(),
      }),
    ),
    totals: z.object({
      nodes: z.int(),
      byStatus: z.partialRecord(nodeStatusSchema, z.int()),
      instances: z.partialRecord(instanceStatusSchema, z.int()),
      cpuMillis: z.int(),
      memoryBytes: z.int(),
      allocated: amountsSchema,
    }),
    workloads: z.object({ byStatus: z.partialRecord(workloadStatusSchema, z.int()) }),
    recentVerdicts: z.array(verdictSchema),
  })
  .meta({ id: 'HealthSummary' });
export type HealthSummary = z.infer<typeof healthSummarySchema>;

export const healthCheckSchema = z
  .object({
    checkedAt: timeSchema,
    results: z.array(
      z.object({ node: z.string(), ok: z.boolean(), latencyMs: z.number(), error: z.string().optional() }),
    ),
  })
  .meta({ id: 'HealthCheck' });
export type HealthCheck = z.infer<typeof healthCheckSchema>;

const spreadSchema = z
  .object({
    last: z.number().nullable(),
    mean: z.number().nullable(),
    p50: z.number().nullable(),
    p95: z.number().nullable(),
    max: z.number().nullable(),
  })
  .meta({ id: 'Spread', description: 'over the recoveries still kept; null before the first' });
export type Spread = z.infer<typeof spreadSchema>;

/**
 * One instance moved off a lost node, by the scheduler's clock. Times not reached yet are null. `startedAt`: its new agent
 * has taken the start on; `runningAt`: its program runs there.
 */
export const recoverySchema = z
  .object({
    instance: z.string(),
    fromNode: z.string(),
    toNode: z.string().nullable(),
    outcome: z.enum(['inFlight', 'succeeded', 'failed']),
    timeline: z.object({
      lastContactAt: timeSchema,
      suspectAt: timeSchema.nullable(),
      verdictAt: timeSchema,
      placedAt: timeSchema.nullable(),
      startedAt: timeSchema.nullable(),
      runningAt: timeSchema.nullable(),
    }),
  })
  .meta({ id: 'Recovery' });
export type Recovery = z.infer<typeof recoverySchema>;

/**
 * `detectionMs`: last contact to verdict. `recoveryMs`: last contact to running elsewhere.
 * A verdict is false when the same start of the agent comes back: it was cut off or hung, not dead.
 */
export const recoveryMetricsSchema = z
  .object({
    verdicts: z.int(),
    falseVerdicts: z.int(),
    recoveries: z.object({ started: z.int(), succeeded: z.int(), failed: z.int(), inFlight: z.int() }),
    successRate: z.number().nullable(),
    detectionMs: spreadSchema,
    recoveryMs: spreadSchema,
    attemptsUsed: z.int(),
    recent: z.array(recoverySchema),
  })
  .meta({ id: 'RecoveryMetrics' });
export type RecoveryMetrics = z.infer<typeof recoveryMetricsSchema>;

/** What was ended of what held recoveries back; empty when nothing did. */
export const releasedSchema = z.object({ released: z.array(z.enum(['brake', 'rebuilding'])) }).meta({ id: 'Released' });
export type Released = z.infer<typeof releasedSchema>;

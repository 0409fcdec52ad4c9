/** A node as the scheduler tells of it, and what registers one. */
import { z } from 'zod';
import { agentTokenSchema } from './access';
import { dnsLabelSchema, hostSchema, labelsSchema, portSchema, positiveMsSchema, timeSchema } from './fields';
import { nodeStatusSchema } from './states';
import { instanceSchema } from './workload';

export const amountsSchema = z.object({ cpuMillis: z.int(), memoryBytes: z.int() }).meta({ id: 'Amounts' });
/** CPU in thousandths of a core, memory in bytes. */
export type Amounts = z.infer<typeof amountsSchema>;

export const nodeUsageSchema = z
  .object({
    cpuPercent: z.number(),
    memoryPercent: z.number(),
    loadAverage: z.array(z.number()).length(3),
  })
  .meta({ id: 'NodeUsage' });
export type NodeUsage = z.infer<typeof nodeUsageSchema>;

export const nodeSchema = z
  .object({
    id: dnsLabelSchema,
    host: z.string(),
    port: z.int(),
    labels: labelsSchema,
    status: nodeStatusSchema,
    statusReason: z.string().nullable(),
    schedulable: z.boolean(),
    drain: z.enum(['none', 'draining', 'drained']),
    capacity: amountsSchema,
    allocated: amountsSchema,
    usage: nodeUsageSchema.nullable(),
    features: z.array(z.string()),
    version: z.string(),
    lastContactAt: timeSchema.nullable(),
    instanceCount: z.int(),
    staleCopies: z
      .int()
      .describe('generations it still runs that are to be gone; nothing is placed there until they are'),
  })
  .meta({ id: 'Node' });
export type Node = z.infer<typeof nodeSchema>;

export const nodeDetailSchema = nodeSchema.extend({
  instances: z.array(instanceSchema.extend({ workload: z.string() })),
});
export type NodeDetail = z.infer<typeof nodeDetailSchema>;

/** `name` defaults to the agent's own; `labels` are added to the agent's own and win over them. */
export const registerNodeSchema = z.strictObject({
  host: hostSchema,
  port: portSchema,
  name: dnsLabelSchema.optional(),
  labels: labelsSchema.optional(),
  /** What the agent asks of whoever calls it; without it, one that was started with --no-auth. */
  agentToken: agentTokenSchema.optional(),
});
export type RegisterNode = z.infer<typeof registerNodeSchema>;

export const drainSchema = z.strictObject({ deadlineMs: positiveMsSchema.default(3_600_000) });

/** What the scheduler has kept of an instance that was lost with its node or its agent. */
import { z } from 'zod';
import { dnsLabelSchema, instanceIdSchema, timeSchema } from './fields';
import { exitSchema, usageSchema } from './workload';

export const blackBoxRecordSchema = z
  .object({
    instance: instanceIdSchema,
    generation: z.int(),
    run: z.int().describe('the last that was heard of'),
    node: dnsLabelSchema,
    lostAt: timeSchema.describe('when the scheduler took it for lost'),
    reason: z.string(),
    pid: z.int().nullable(),
    startedAt: timeSchema.nullable(),
    exit: exitSchema.nullable().describe('the latest that was heard of'),
    attempts: z.int(),
    usage: z.array(usageSchema.extend({ at: timeSchema })).describe('the last samples, oldest first'),
    lastLines: z
      .object({ stdout: z.string(), stderr: z.string() })
      .describe('the end of its output on that node, earlier runs included: at most 20 lines and 4 KiB each'),
    reportedAt: timeSchema.nullable().describe('when the last lines had come in; null: none ever did'),
  })
  .meta({ id: 'BlackBoxRecord' });
export type BlackBoxRecord = z.infer<typeof blackBoxRecordSchema>;

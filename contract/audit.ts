/** The audit log's lines, as they are stored and answered; docs/audit.md tells what they mean. */
import { z } from 'zod';
import { timeSchema } from './fields';

/** Who asked; `scheduler` for what the log says of itself. */
export const auditWhoSchema = z.object({
  kind: z.enum(['token', 'node', 'anonymous', 'scheduler']),
  id: z.string().nullable(),
  name: z.string().nullable(),
  role: z.string().nullable(),
});
export type AuditWho = z.infer<typeof auditWhoSchema>;

export const auditResultSchema = z.object({
  /** HTTP status of the answer. */
  status: z.int(),
  /** Of the error table, where it is one. */
  code: z.string().optional(),
  /** Seq of the line that was written before the effect; absent for a request that was not let in. */
  of: z.int().optional(),
});

export const auditEntrySchema = z
  .object({
    seq: z.int(),
    at: timeSchema,
    who: auditWhoSchema,
    from: z.string().nullable().describe('address of the other end of the connection'),
    method: z.string().nullable(),
    path: z.string().nullable(),
    what: z.string().nullable(),
    result: auditResultSchema.optional(),
    prev: z.string().describe('hash of the line before'),
    hash: z.string(),
  })
  .meta({ id: 'AuditEntry' });
export type AuditEntry = z.infer<typeof auditEntrySchema>;

/** A line that is none any more; `morch audit verify` says more. */
export const unreadableLineSchema = z.object({ unreadable: z.string() }).meta({ id: 'UnreadableAuditLine' });
export const auditLineSchema = z.union([auditEntrySchema, unreadableLineSchema]);
export type AuditLine = z.infer<typeof auditLineSchema>;

/** Failures on purpose: what a drill of a node is told, what it would affect, and what was begun. */
import { z } from 'zod';
import { dnsLabelSchema, instanceIdSchema, timeSchema } from './fields';
import { onDisconnectSchema } from './workload';

export const DRILL_KINDS = ['kill', 'cut'] as const;
/** kill: the agent ends as in a crash; cut: for a while it neither sends nor answers anything, as if the network were cut. */
export const drillKindSchema = z.enum(DRILL_KINDS);
export type DrillKind = z.infer<typeof drillKindSchema>;

const CUT_MS = 20_000;
const LONGEST_CUT_MS = 600_000;

const drillFields = {
  kind: drillKindSchema,
  durationMs: z.int().min(1).max(LONGEST_CUT_MS).optional().describe(`of a cut; default ${CUT_MS}`),
};
const killHasNoDuration = (drill: { kind: DrillKind; durationMs?: number | undefined }): boolean =>
  drill.kind === 'cut' || drill.durationMs === undefined;
const KILL_HAS_NO_DURATION = { message: 'a kill lasts until the agent is started again', path: ['durationMs'] };

export const drillInputSchema = z.strictObject(drillFields).refine(killHasNoDuration, KILL_HAS_NO_DURATION);
export type DrillInput = z.output<typeof drillInputSchema>;

/** To an agent: of its scheduler, in the present session. */
export const drillCommandSchema = z
  .strictObject({
    ...drillFields,
    clusterId: z.string().min(1),
    epoch: z.int().min(1),
    session: z.int().min(1),
  })
  .refine(killHasNoDuration, KILL_HAS_NO_DURATION);
export type DrillCommand = z.output<typeof drillCommandSchema>;

/** How long it lasts; null: until the agent is started again. */
export function durationOf({ kind, durationMs = CUT_MS }: DrillInput): number | null {
  return kind === 'kill' ? null : durationMs;
}

/** What an agent answers just before it does so. */
export const drillAcceptedSchema = z.object({ kind: drillKindSchema, durationMs: z.int().nullable() });

export const drillSchema = z
  .object({
    node: dnsLabelSchema,
    kind: drillKindSchema,
    durationMs: z.int().nullable().describe('null for a kill'),
    at: timeSchema.describe('just before the agent was told, which accepted it'),
    since: z.int().describe('position in the events: what follows from it comes after'),
  })
  .meta({ id: 'Drill' });
export type Drill = z.infer<typeof drillSchema>;

/**
 * What the loss of a node would mean for an instance there. moves: it would be started on `toNode`; waits: for its node,
 * being of a daemon or `keep`; nowhere: no other node could take it, `reason` says why; ends: it is being stopped.
 */
export const lossSchema = z.object({
  instance: instanceIdSchema,
  workload: dnsLabelSchema,
  onDisconnect: onDisconnectSchema,
  fate: z.enum(['moves', 'waits', 'nowhere', 'ends']),
  toNode: dnsLabelSchema.nullable(),
  reason: z.string().nullable(),
});
export type Loss = z.infer<typeof lossSchema>;

export const drillPreviewSchema = z
  .object({
    node: dnsLabelSchema,
    instances: z.array(lossSchema),
    refusal: z.string().nullable().describe('why it could not be drilled now'),
  })
  .meta({ id: 'DrillPreview' });
export type DrillPreview = z.infer<typeof drillPreviewSchema>;

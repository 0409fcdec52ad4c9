/** What happened, in order: the scheduler's durable log, told over WebSocket and SSE. */
import { z } from 'zod';
import { timeSchema } from './fields';

export const EVENT_TYPES = [
  'workload.submitted',
  'workload.adopted',
  'workload.updated',
  'workload.scaled',
  'workload.restarted',
  'workload.stopping',
  'workload.completed',
  'workload.failed',
  'workload.stopped',
  'workload.purged',
  'instance.placed',
  'instance.unplaceable',
  'instance.started',
  'instance.exited',
  'instance.backoff',
  'instance.recovering',
  'instance.stopped',
  'node.joined',
  'node.suspect',
  'node.degraded',
  'node.healthy',
  'node.lost',
  'node.returned',
  'node.quarantined',
  'node.cordoned',
  'node.uncordoned',
  'node.draining',
  'node.drained',
  'node.forgotten',
  'node.drill',
  'scheduler.started',
  'scheduler.brake',
  'scheduler.released',
  'scheduler.rebuilding',
  'scheduler.rebuilt',
] as const;
export type EventType = (typeof EVENT_TYPES)[number];

/** `seq` is contiguous from 1. `workload` is the id; `data.uid` tells a reused id apart. */
export const eventSchema = z
  .object({
    seq: z.int(),
    at: timeSchema,
    type: z.enum(EVENT_TYPES),
    workload: z.string().optional(),
    instance: z.string().optional(),
    generation: z.int().optional(),
    node: z.string().optional(),
    data: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'Event' });
export type MorchEvent = z.infer<typeof eventSchema>;

/** How many events are kept. */
export const EVENTS_KEPT = 100_000;
/** WebSocket close code when `since` is no longer kept; the HTTP answer is 410. */
export const CLOSE_EVENTS_GONE = 4410;
/** WebSocket close code when the token that opened it has expired or was revoked. */
export const CLOSE_TOKEN_GONE = 4401;
/** WebSocket close code for a listener that reads too slowly; it may come back with `since`. */
export const CLOSE_TOO_SLOW = 4429;

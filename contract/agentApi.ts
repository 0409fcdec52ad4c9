/**
 * What the scheduler and an agent say to each other: status, start, stop, and the messages on the agent's
 * `/events` WebSocket. An agent used alone takes the same start and stop from anybody.
 */
import { z } from 'zod';
import {
  dnsLabelSchema,
  durationMsSchema,
  instanceIdSchema,
  labelsSchema,
  slotSchema,
  timeSchema,
  uidSchema,
} from './fields';
import { amountsSchema, nodeUsageSchema } from './node';
import { ENV_ONCE, isEnvGivenTwice, secretValuesSchema } from './secrets';
import {
  exitSchema,
  hasOneProgram,
  kindSchema,
  ONE_PROGRAM,
  processFields,
  processInputFields,
  restartSchema,
  stopSchema,
  workloadOriginSchema,
} from './workload';

export const systemSchema = nodeUsageSchema.extend({
  memoryTotalBytes: z.number(),
  memoryAvailableBytes: z.number(),
  cpuCount: z.int(),
});
export type System = z.infer<typeof systemSchema>;

/** Agent-side status of one generation; ended ones (`completed`, `failed`, `stopped`) never change again. */
export const AGENT_INSTANCE_STATUSES = [
  'starting',
  'running',
  'backoff',
  'stopping',
  'completed',
  'failed',
  'stopped',
] as const;

export const startErrorSchema = z.object({
  detail: z.string(),
  syscall: z.string(),
  errno: z.int(),
  errnoCode: z.string(),
});

/**
 * What an agent knows of one generation. `rev` only rises within a generation (also across agent restarts),
 * so that of two reports the later is known whatever way they came.
 */
export const instanceReportSchema = z.object({
  uid: uidSchema,
  slot: slotSchema,
  instanceId: instanceIdSchema,
  generation: z.int(),
  run: z.int(),
  rev: z.int(),
  status: z.enum(AGENT_INSTANCE_STATUSES),
  statusReason: z.string().nullable(),
  pid: z.int().nullable(),
  shimPid: z.int().nullable().default(null),
  startedAt: timeSchema.nullable(),
  exit: exitSchema.nullable(),
  attempts: z.int(),
  /** Ended because the agent stopped or died, not because of what the program did: it is to run again. */
  lost: z.boolean(),
  startError: startErrorSchema.nullable(),
});
export type InstanceReport = z.infer<typeof instanceReportSchema>;

export const agentProcessSchema = instanceReportSchema.extend({
  cpuPercent: z.number(),
  memoryBytes: z.number(),
});
export type AgentProcess = z.infer<typeof agentProcessSchema>;

/** Far more than a scheduler is ever started. */
export const MOST_EPOCH = 2 ** 31;

/**
 * What a scheduler has told of itself: its epoch, its term, how far its store was, and the proof that it was one of this
 * cluster's. Agents keep it and give it back.
 */
export const standingSchema = z.object({
  epoch: z.int().min(0).max(MOST_EPOCH),
  term: z.string().max(100),
  mark: z.int().min(0),
  proof: z.string().max(100),
});
export type Standing = z.infer<typeof standingSchema>;

export const agentStatusSchema = z.object({
  name: dnsLabelSchema,
  version: z.string(),
  nodeKey: z.string(),
  incarnation: z.string().describe('random, anew at each start of the agent'),
  bootId: z.string(),
  clusterId: z.string().nullable(),
  epoch: z.int().max(MOST_EPOCH),
  term: z.string().nullable().default(null).describe('random, of the scheduler whose epoch it is'),
  hasSession: z.boolean().default(false).describe('a scheduler of that epoch commands it at present'),
  standing: standingSchema.nullable().default(null).describe('of the latest scheduler, as that has proven it'),
  startedAt: timeSchema,
  features: z.array(z.string()).describe('see features.ts'),
  labels: labelsSchema,
  capacity: amountsSchema,
  system: systemSchema,
  processes: z.array(agentProcessSchema).optional(),
});
export type AgentStatus = z.infer<typeof agentStatusSchema>;

/** Who commands: an agent that has a scheduler takes commands of its cluster, of its latest epoch, in the present session. */
const commander = {
  clusterId: z.string().optional(),
  epoch: z.int().min(1).max(MOST_EPOCH).optional(),
  session: z.int().min(1).optional(),
};

export const startInstanceSchema = z
  .strictObject({
    kind: kindSchema.default('batch'),
    ...processInputFields,
    instanceId: instanceIdSchema.optional(),
    uid: uidSchema.optional(),
    generation: z.int().min(1).optional(),
    attemptsUsed: z.int().min(0).optional(),
    node: dnsLabelSchema.optional().describe('the name the scheduler knows this node by; MORCH_NODE'),
    workload: workloadOriginSchema.optional().describe('kept for a scheduler that has lost its records'),
    secretValues: secretValuesSchema.optional().describe('of its secrets, in base64; kept in memory only'),
    ...commander,
  })
  .refine(hasOneProgram, ONE_PROGRAM)
  .refine((s) => !isEnvGivenTwice(s), ENV_ONCE);
export type StartInstance = z.output<typeof startInstanceSchema>;

export const startBatchSchema = z.strictObject({ instances: z.array(startInstanceSchema).min(1).max(10_000) });

export const startedSchema = z.object({
  instanceId: instanceIdSchema,
  generation: z.int(),
  run: z.int(),
  pid: z.int(),
  shimPid: z.int().nullable().default(null),
  startedAt: timeSchema,
});
export type Started = z.infer<typeof startedSchema>;

const stopTarget = {
  instanceId: instanceIdSchema.optional(),
  uid: uidSchema.optional(),
  generation: z.int().min(1).optional(),
  pid: z.int().min(1).optional(),
  graceMs: durationMsSchema.optional().describe('default: the grace it was started with'),
  ...commander,
};

/** Stops one instance and answers when its processes are gone. */
export const stopInstanceSchema = z
  .strictObject(stopTarget)
  .refine((s) => (s.instanceId === undefined) !== (s.pid === undefined), {
    message: 'give exactly one of "instanceId" and "pid"',
    path: ['instanceId'],
  });
export type StopInstance = z.output<typeof stopInstanceSchema>;

/** Begins to stop many and answers at once; what comes of it arrives on `/events`. Generations it has no trace of are answered as problems. */
export const stopBatchSchema = z.strictObject({
  instances: z
    .array(
      z.strictObject({
        instanceId: instanceIdSchema,
        uid: uidSchema,
        generation: z.int().min(1),
        graceMs: durationMsSchema.optional(),
        ...commander,
      }),
    )
    .min(1)
    .max(10_000),
});
export type StopBatch = z.output<typeof stopBatchSchema>;

/** What an agent was told to run, of a generation that has not ended: from it a workload is put together again. */
export const keptInstanceSchema = z.object({
  uid: uidSchema,
  slot: slotSchema,
  instanceId: instanceIdSchema,
  generation: z.int(),
  kind: kindSchema,
  ...processFields,
  restart: restartSchema,
  stop: stopSchema,
  workload: workloadOriginSchema.optional(),
});
export type KeptInstance = z.infer<typeof keptInstanceSchema>;
export const keptInstancesSchema = z.object({ instances: z.array(keptInstanceSchema) });

export const stoppedSchema = z.object({
  instanceId: instanceIdSchema,
  generation: z.int(),
  run: z.int(),
  status: z.enum(AGENT_INSTANCE_STATUSES),
  exit: exitSchema.nullable(),
});
export type Stopped = z.infer<typeof stoppedSchema>;

/** First message on a connection: the inventory, ended generations not yet forgotten included. */
export const helloMessageSchema = z.object({
  type: z.literal('hello'),
  name: z.string(),
  nodeKey: z.string(),
  incarnation: z.string(),
  bootId: z.string(),
  version: z.string(),
  features: z.array(z.string()),
  labels: labelsSchema,
  capacity: amountsSchema,
  mark: z.int().default(0).describe("the highest of the cluster's marks that it was told"),
  furthest: standingSchema.nullable().default(null).describe('of the scheduler that told that mark'),
  leaseMs: z.int().default(0).describe('the lease of the latest session that it knows of; 0: of none'),
  instances: z.array(instanceReportSchema),
});

/** Every `heartbeatMs` of the session; `n` counts from 1, the hello was 0. `usage` (about every 5 s): [instanceId, generation, cpuPercent, memoryBytes] per live instance. */
export const heartbeatMessageSchema = z.object({
  type: z.literal('heartbeat'),
  n: z.int(),
  incarnation: z.string(),
  bootId: z.string(),
  system: systemSchema,
  digest: z.object({ instances: z.int(), live: z.int() }),
  usage: z.array(z.tuple([z.string(), z.int(), z.number(), z.number()])).optional(),
});

/** At once at every change of an instance; to a scheduler not that its stop has begun, nor that the first run of what it placed first has. */
export const instanceMessageSchema = z.object({ type: z.literal('instance'), instance: instanceReportSchema });

/** In their order, in place of an `instance` message each: to a scheduler whose session says that it takes them `together`. */
export const instancesMessageSchema = z.object({
  type: z.literal('instances'),
  instances: z.array(instanceReportSchema),
});

/** The agent stops its workloads and ends; it takes no more starts. Not sent by one that leaves them running. */
export const leavingMessageSchema = z.object({ type: z.literal('leaving') });

/** Bounds of what is told of the end of a stream: so many lines, and bytes (which are at least the characters). */
export const TAIL_LINES = 20;
export const TAIL_BYTES = 4_096;

/**
 * The last lines of instances of which more has been written since they were last told, for the scheduler's black box:
 * [uid, slot, generation, run, stdout, stderr]. Only in a session; when one begins, all are told anew, bit by bit.
 */
export const tailsMessageSchema = z.object({
  type: z.literal('tails'),
  instances: z.array(
    z.tuple([uidSchema, slotSchema, z.int(), z.int(), z.string().max(TAIL_BYTES), z.string().max(TAIL_BYTES)]),
  ),
});
export type TailsMessage = z.infer<typeof tailsMessageSchema>;

export const agentMessageSchema = z.discriminatedUnion('type', [
  helloMessageSchema,
  heartbeatMessageSchema,
  instanceMessageSchema,
  instancesMessageSchema,
  tailsMessageSchema,
  leavingMessageSchema,
]);
export type AgentMessage = z.infer<typeof agentMessageSchema>;
export type HelloMessage = z.infer<typeof helloMessageSchema>;
export type HeartbeatMessage = z.infer<typeof heartbeatMessageSchema>;

/**
 * From the scheduler, when it has taken in the inventory: the session begins. It acknowledges the hello like an ack of
 * heartbeat 0. Ends with the connection, the next session, or an agent's restart.
 */
export const sessionMessageSchema = z.object({
  type: z.literal('session'),
  session: z.int().min(1).describe('only rises within an epoch'),
  heartbeatMs: z.int().min(1),
  /** From the sending of the latest acknowledged heartbeat on, the lease is in force so long. */
  leaseMs: z.int().min(1),
  /** From the same moment on, starts are executed so long: no verdict can come earlier. */
  startWithinMs: z.int().min(1),
  /** Changes of instances that happen at once may come in one message. */
  together: z.boolean().optional(),
});
export type SessionMessage = z.infer<typeof sessionMessageSchema>;

/** From the scheduler, at once for each heartbeat, unless the node has the verdict. */
export const ackMessageSchema = z.object({
  type: z.literal('ack'),
  n: z.int().min(0),
  /** How far the scheduler's store is: told back by the inventory, so that a store that has lost something is found out. */
  mark: z.int().min(0).optional(),
  /** Of that mark, and the term of the connection. */
  proof: z.string().max(100).optional(),
});
export type AckMessage = z.infer<typeof ackMessageSchema>;

/** From the scheduler: these ended generations are durable there; the agent may drop their records. */
export const forgetMessageSchema = z.object({
  type: z.literal('forget'),
  instances: z.array(z.object({ uid: uidSchema, slot: slotSchema, generation: z.int() })),
});
export type ForgetMessage = z.infer<typeof forgetMessageSchema>;

/**
 * From the scheduler, in a session: what it has of workloads that changed without a restart, so that the agents' word is
 * the latest when its records are lost.
 */
export const workloadsMessageSchema = z.object({
  type: z.literal('workloads'),
  workloads: z.array(z.object({ uid: uidSchema, workload: workloadOriginSchema })),
});
export type WorkloadsMessage = z.infer<typeof workloadsMessageSchema>;

export const schedulerMessageSchema = z.discriminatedUnion('type', [
  sessionMessageSchema,
  ackMessageSchema,
  forgetMessageSchema,
  workloadsMessageSchema,
]);
export type SchedulerMessage = z.infer<typeof schedulerMessageSchema>;

/** Query of the scheduler's WebSocket to `/events`; without it one listens only, and sees what a scheduler would see. */
export const agentEventsQuerySchema = z.object({
  clusterId: z.string().min(1).optional(),
  epoch: z.coerce.number().int().min(1).max(MOST_EPOCH).optional(),
  term: z.string().min(1).max(64).optional(),
  mark: z.coerce.number().int().min(0).optional(),
  proof: z.string().min(1).max(100).optional(),
});

/** WebSocket close codes on the agent's `/events`. */
export const CLOSE_WRONG_CLUSTER = 4409;
export const CLOSE_STALE_EPOCH = 4412;

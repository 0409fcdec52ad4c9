/** What a user submits and what is told of it: the workload's spec with its defaults, workloads and instances as answered. */
import { z } from 'zod';
import {
  absolutePathSchema,
  dnsLabelSchema,
  durationMsSchema,
  envSchema,
  instanceIdSchema,
  kernelStringSchema,
  labelKeySchema,
  labelsSchema,
  positiveMsSchema,
  SIGNALS,
  timeSchema,
  umaskSchema,
  userSchema,
} from './fields';
import { ENV_ONCE, isEnvGivenTwice, secretReferencesSchema } from './secrets';
import { instanceStatusSchema, workloadStatusSchema } from './states';

export const kindSchema = z.enum(['service', 'batch', 'daemon']);
export type WorkloadKind = z.infer<typeof kindSchema>;

const restartInputSchema = z.strictObject({
  policy: z.enum(['always', 'on-failure', 'never']).optional(),
  attempts: z.int().min(0).max(1_000_000).optional().describe('starts in a row, the first included; 0 = no limit'),
  backoffMs: positiveMsSchema.optional(),
  maxBackoffMs: positiveMsSchema.optional(),
  resetAfterMs: positiveMsSchema.optional(),
});

export const restartSchema = z
  .strictObject({
    policy: z.enum(['always', 'on-failure', 'never']),
    attempts: z.int().min(0),
    backoffMs: positiveMsSchema,
    maxBackoffMs: positiveMsSchema,
    resetAfterMs: positiveMsSchema,
  })
  .meta({ id: 'Restart' });
export type Restart = z.infer<typeof restartSchema>;

const stopInputSchema = z.strictObject({
  signal: z.enum(SIGNALS).optional(),
  graceMs: durationMsSchema.optional(),
});

export const stopSchema = z.strictObject({ signal: z.enum(SIGNALS), graceMs: durationMsSchema }).meta({ id: 'Stop' });
export type Stop = z.infer<typeof stopSchema>;

export const resourcesSchema = z.strictObject({
  cpuMillis: z.int().min(0).max(1_000_000_000).default(0),
  memoryBytes: z.int().min(0).default(0),
});
export type Resources = z.infer<typeof resourcesSchema>;

export const constraintSchema = z
  .strictObject({
    label: labelKeySchema,
    op: z.enum(['in', 'notIn', 'exists', 'absent']),
    values: z.array(z.string()).min(1).optional(),
  })
  .refine((c) => (c.op === 'in' || c.op === 'notIn') === (c.values !== undefined), {
    message: '"in" and "notIn" take values; "exists" and "absent" take none',
    path: ['values'],
  });
export type Constraint = z.infer<typeof constraintSchema>;

const placementSchema = z.strictObject({
  strategy: z.enum(['spread', 'binpack']).default('spread'),
  constraints: z.array(constraintSchema).max(64).default([]),
});
export type PlacementRules = z.infer<typeof placementSchema>;

/** What becomes of an instance whose node is cut off or lost. */
export const onDisconnectSchema = z
  .enum(['replace', 'stop', 'keep'])
  .describe(
    'replace (default): started elsewhere at the verdict; stop: dead before it is started elsewhere, never two at once; keep: waits for its node',
  );
export type OnDisconnect = z.infer<typeof onDisconnectSchema>;

/** What the processes of one run may use. The first three need a node with the feature of that name (features.ts). */
export const limitsSchema = z
  .strictObject({
    cpuMillis: z.int().min(10).max(1_000_000_000).optional().describe('all of it together, throttled at this'),
    memoryBytes: z
      .int()
      .min(2 ** 20)
      .optional()
      .describe('all of it together; more is killed, and told as oomKilled'),
    pids: z.int().min(1).max(4_194_304).optional().describe('processes and threads at a time'),
    openFiles: z.int().min(1).max(1_073_741_816).optional().describe('per process'),
    coreBytes: z.int().min(0).optional().describe('largest core dump; default 0: none'),
    fileBytes: z.int().min(0).optional().describe('largest file it may write, its output apart'),
  })
  .meta({ id: 'Limits' });
export type Limits = z.infer<typeof limitsSchema>;

/** How much output of one instance is kept, over all its runs: per stream so many files of such a size. */
export const logsSchema = z
  .strictObject({
    maxBytes: z
      .int()
      .min(4_096)
      .max(2 ** 40)
      .optional()
      .describe('of one file with its index; default 10485760 (10 MiB)'),
    files: z.int().min(1).max(1_000).optional().describe('of stdout, and as many of stderr; default 10'),
  })
  .meta({ id: 'Logs' });
export interface LogLimits {
  maxBytes: number;
  files: number;
}

export function logLimitsWithDefaults(given: z.infer<typeof logsSchema> | undefined): LogLimits {
  return { maxBytes: given?.maxBytes ?? 10 * 2 ** 20, files: given?.files ?? 10 };
}

/** The part of a spec that an agent needs to run it, `restart` and `stop` apart. A field is added here and nowhere else. */
export const processFields = {
  script: absolutePathSchema.optional(),
  command: z.array(kernelStringSchema).min(1).max(10_000).optional(),
  args: z.array(kernelStringSchema).max(10_000).optional(),
  env: envSchema.optional(),
  cwd: absolutePathSchema.optional(),
  maxRunMs: positiveMsSchema.optional(),
  user: userSchema
    .optional()
    .describe(
      "a login name or uid of the node, which must allow it; default: a user of the instance's own, or the agent's",
    ),
  limits: limitsSchema.optional(),
  nice: z.int().min(-20).max(19).optional().describe('default 0; below it only where the agent runs as root'),
  umask: umaskSchema.optional().describe('octal; default "022"'),
  logs: logsSchema.optional(),
  onDisconnect: onDisconnectSchema.optional(),
  secrets: secretReferencesSchema.optional(),
};
const processSchema = z.object(processFields);
export type ProcessSpec = z.infer<typeof processSchema>;

/** The process fields that are given, and nothing else of what holds them. */
export function pickProcess(spec: Readonly<ProcessSpec>): ProcessSpec {
  const picked: ProcessSpec = {};
  copyProcess(spec, picked);
  return picked;
}

const PROCESS_KEYS = Object.keys(processFields) as (keyof ProcessSpec)[];

function copyProcess(from: Readonly<ProcessSpec>, to: Record<string, unknown>): void {
  for (const key of PROCESS_KEYS) if (from[key] !== undefined) to[key] = from[key];
}

/** What holds where a spec is silent: read by who runs it, and by who compares two specs. */
export function withProcessDefaults<
  S extends Pick<ProcessSpec, 'limits' | 'nice' | 'umask' | 'logs' | 'onDisconnect' | 'secrets'>,
>(spec: S) {
  const { nice = 0, umask = '022', limits = {}, logs, onDisconnect = 'replace', secrets = [] } = spec;
  const { coreBytes = 0 } = limits;
  return {
    ...spec,
    nice,
    umask,
    limits: { ...limits, coreBytes },
    logs: logLimitsWithDefaults(logs),
    onDisconnect,
    secrets,
  };
}

export const processInputFields = {
  ...processFields,
  restart: restartInputSchema.optional(),
  stop: stopInputSchema.optional(),
};

export function hasOneProgram(spec: { script?: string | undefined; command?: string[] | undefined }): boolean {
  return (spec.script === undefined) !== (spec.command === undefined) && spec.command?.[0] !== '';
}
export const ONE_PROGRAM = {
  message: 'give exactly one of "script" (an absolute path) and "command" (a non-empty argument list)',
  path: ['script'],
};

export const workloadInputSchema = z
  .strictObject({
    id: dnsLabelSchema.optional(),
    kind: kindSchema.default('batch'),
    ...processInputFields,
    labels: labelsSchema.optional(),
    replicas: z.int().min(0).max(1_000_000).optional(),
    resources: resourcesSchema.optional(),
    placement: placementSchema.optional(),
  })
  .refine(hasOneProgram, ONE_PROGRAM)
  .refine((w) => !isEnvGivenTwice(w), ENV_ONCE)
  .refine((w) => w.kind !== 'daemon' || w.replicas === undefined, {
    message: 'a daemon has one instance on every fitting node; it takes no replicas',
    path: ['replicas'],
  })
  .meta({ id: 'WorkloadInput', oneOf: [{ required: ['script'] }, { required: ['command'] }] });
export type WorkloadInput = z.input<typeof workloadInputSchema>;

/** A spec with every default filled in: what is stored, compared and answered. */
const specFields = {
  id: dnsLabelSchema,
  kind: kindSchema,
  ...processFields,
  restart: restartSchema,
  stop: stopSchema,
  labels: labelsSchema,
  replicas: z.int().optional().describe('absent for a daemon'),
  resources: resourcesSchema,
  placement: placementSchema,
};
export const workloadSpecSchema = z.strictObject(specFields);
export type WorkloadSpec = z.infer<typeof workloadSpecSchema>;

/** Defaults of api.md 3: a batch is restarted on failure and has 3 attempts, all else always and without limit. */
export function restartWithDefaults(
  kind: WorkloadKind,
  given: z.infer<typeof restartInputSchema> | undefined,
): Restart {
  const batch = kind === 'batch';
  const backoffMs = given?.backoffMs ?? 1_000;
  return {
    policy: given?.policy ?? (batch ? 'on-failure' : 'always'),
    attempts: given?.attempts ?? (batch ? 3 : 0),
    backoffMs,
    maxBackoffMs: given?.maxBackoffMs ?? Math.max(60_000, backoffMs),
    resetAfterMs: given?.resetAfterMs ?? 60_000,
  };
}

export function stopWithDefaults(given: z.infer<typeof stopInputSchema> | undefined): Stop {
  return { signal: given?.signal ?? 'SIGTERM', graceMs: given?.graceMs ?? 10_000 };
}

/** @param id the id to store it under, where the input names none */
export function specWithDefaults(input: z.output<typeof workloadInputSchema>, id: string): WorkloadSpec {
  const { kind } = input;
  // Field by field: V8 makes a slow table of what is put together from parts, and all that is made of it later is as slow.
  const spec = { id: input.id ?? id, kind } as WorkloadSpec;
  copyProcess(input, spec);
  spec.restart = restartWithDefaults(kind, input.restart);
  spec.stop = stopWithDefaults(input.stop);
  spec.labels = input.labels ?? {};
  if (kind !== 'daemon') spec.replicas = input.replicas ?? 1;
  spec.resources = input.resources ?? { cpuMillis: 0, memoryBytes: 0 };
  spec.placement = input.placement ?? { strategy: 'spread', constraints: [] };
  return spec;
}

/**
 * What of a workload an agent keeps beside what it runs, so that a scheduler that has lost its records learns it again. The
 * rest of the spec is in the start command.
 */
export const workloadOriginSchema = z.object({
  labels: labelsSchema,
  replicas: z.int().optional(),
  resources: resourcesSchema,
  placement: placementSchema,
  version: z.int(),
  revision: z.int(),
  createdAt: timeSchema,
  /** All of it, in the words of the scheduler and signed by it: what counts. */
  testimony: z.string().max(600_000).optional(),
});
export type WorkloadOrigin = z.infer<typeof workloadOriginSchema>;

/** How a run ended. Code and signal both null: not known. */
export const exitSchema = z
  .object({
    code: z.int().nullable(),
    signal: z.string().nullable(),
    at: timeSchema,
    oomKilled: z.boolean().default(false).describe('the kernel killed a process of it for its memory limit'),
  })
  .meta({ id: 'Exit' });
export type Exit = z.infer<typeof exitSchema>;

export const usageSchema = z.object({ cpuPercent: z.number(), memoryBytes: z.number() }).meta({ id: 'Usage' });
export type Usage = z.infer<typeof usageSchema>;

export const instanceSchema = z
  .object({
    id: instanceIdSchema,
    generation: z.int(),
    run: z.int(),
    status: instanceStatusSchema,
    statusReason: z.string().nullable(),
    node: z.string().nullable(),
    pid: z.int().nullable(),
    shimPid: z.int().nullable().describe('parent of pid, which outlives the agent'),
    startedAt: timeSchema.nullable(),
    exit: exitSchema.nullable(),
    attempts: z.int(),
    usage: usageSchema.nullable(),
  })
  .meta({ id: 'Instance' });
export type Instance = z.infer<typeof instanceSchema>;

/** In lists `instances` is left out. `node` and `pid` are there for a workload of a single instance. */
export const workloadSchema = z
  .object({
    ...specFields,
    uid: z.string(),
    status: workloadStatusSchema,
    statusReason: z.string().nullable(),
    counts: z.partialRecord(instanceStatusSchema, z.int()),
    version: z.int(),
    createdAt: timeSchema,
    updatedAt: timeSchema,
    attempts: z.int(),
    instances: z.array(instanceSchema).optional(),
    node: z.string().nullable().optional(),
    pid: z.int().nullable().optional(),
  })
  .meta({ id: 'Workload' });
export type Workload = z.infer<typeof workloadSchema>;

export const scaleSchema = z.strictObject({ replicas: z.int().min(0).max(1_000_000) });

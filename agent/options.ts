/** What an agent is started with; the CLI makes it from flags and MORCH_* variables. Checked here, once. */
import { hostname } from 'node:os';
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { parseInput } from '../contract/errors';
import {
  dnsLabelOf,
  dnsLabelSchema,
  durationMsSchema,
  hostSchema,
  labelsSchema,
  portSchema,
  userSchema,
} from '../contract/fields';

/** `HOST:PORT`, an IPv6 address in brackets. */
const hostAndPortSchema = z
  .string()
  .transform((text) => /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text))
  .transform((match) => ({ host: match?.[1] ?? match?.[2] ?? '', port: Number(match?.[3] ?? 0) }))
  .refine(({ host, port }) => hostSchema.safeParse(host).success && portSchema.safeParse(port).success, {
    message: '--advertise must be HOST:PORT, such as 10.0.0.7:8080 or [fd00::7]:8080',
  });

const schedulerUrlSchema = z
  .string()
  .refine((text) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol), {
    message: '--scheduler must be a URL, such as http://10.0.0.1:5000',
  })
  .transform((text) => text.replace(/\/+$/, ''));

/** `FROM-TO`, both included. 0 is root, and 2^32 - 1 no uid. */
const userRangeSchema = z
  .string()
  .transform((text) => /^(\d{1,10})-(\d{1,10})$/.exec(text))
  .transform((match) => ({ from: Number(match?.[1] ?? 0), to: Number(match?.[2] ?? 0) }))
  .refine(({ from, to }) => from >= 1 && from <= to && to < 2 ** 32 - 1, {
    message: '--user-range must be FROM-TO, such as 1610612736-1610678271, from 1 to 4294967294',
  });

const allowedUserSchema = z
  .string()
  .refine((text) => text === '*' || userSchema.safeParse(text).success, {
    message: '--allow-user must be a login name, a uid, or * for all but root',
  })
  .refine((text) => text !== 'root' && !/^0+$/.test(text), {
    message: '--allow-user never means root: use --allow-root',
  });

const scriptDirSchema = z
  .string()
  .refine((text) => isAbsolute(text), { message: '--script-dir must be an absolute path, such as /opt/jobs' });

const LOOPBACK_ONLY =
  '--host must be a loopback address (127.0.0.1, ::1 or localhost): there is no access control yet, and whoever reaches the agent can run programs';

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

export const agentOptionsSchema = z.strictObject({
  host: hostSchema.refine(isLoopback, { message: LOOPBACK_ONLY }).default('127.0.0.1'),
  /** 0: any free port, for tests. */
  port: z.int().min(0).max(65_535).default(8080),
  advertise: hostAndPortSchema.optional(),
  dataDir: z.string().min(1),
  scheduler: schedulerUrlSchema.optional(),
  name: dnsLabelSchema.default(() => dnsLabelOf(hostname().split('.')[0] ?? '', 'node')),
  labels: labelsSchema.default({}),
  cpuMillis: z.int().min(0).max(1_000_000_000).optional(),
  memoryBytes: z.int().min(0).optional(),
  /** Of all output on the node; 0: no cap. */
  maxLogBytes: z
    .int()
    .min(0)
    .default(10 * 2 ** 30),
  /** What becomes of the workloads when the agent is told to end: a later one takes them over, or they end first. */
  onExit: z.enum(['keep', 'stop']).default('keep'),
  /** 0: never. */
  orphanAfterMs: durationMsSchema.default(600_000),
  allowNewPrivileges: z.boolean().default(false),
  /** Whom instances run as that name no user: users of their own, or the agent's; absent: see rights.ts. */
  runAs: z.enum(['own', 'agent']).optional(),
  userRange: userRangeSchema.default({ from: 0x6000_0000, to: 0x6000_ffff }),
  allowUsers: z.array(allowedUserSchema).default([]),
  allowRoot: z.boolean().default(false),
  /** Where programs may lie; none: anywhere. */
  scriptDirs: z.array(scriptDirSchema).default([]),
  /** Where groups of instances are made: see cgroups.ts. */
  cgroup: z
    .string()
    .refine((text) => text === 'auto' || text === 'none' || isAbsolute(text), {
      message: '--cgroup must be auto, none or the absolute path of a group, such as /sys/fs/cgroup/morch',
    })
    .default('auto'),
});
export type AgentOptions = z.output<typeof agentOptionsSchema>;

/** @throws MorchError INVALID_INPUT whose message names the flag */
export function parseAgentOptions(value: unknown): AgentOptions {
  return parseInput(agentOptionsSchema, value, 'agent configuration');
}

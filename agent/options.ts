/** What an agent is started with; the CLI makes it from flags and MORCH_* variables. Checked here, once. */
import { hostname } from 'node:os';
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { isLoopbackHost } from '../access/loopback';
import { parseInput } from '../contract/errors';
import { dnsLabelOf, dnsLabelSchema, durationMsSchema, hostSchema, labelsSchema, portSchema } from '../contract/fields';

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

const LOOPBACK_ONLY =
  '--host must be a loopback address (127.0.0.1, ::1 or localhost): there is no TLS yet, and what is said would go over the network in the clear';

export const agentOptionsSchema = z.strictObject({
  host: hostSchema.refine(isLoopbackHost, { message: LOOPBACK_ONLY }).default('127.0.0.1'),
  /** 0: any free port, for tests. */
  port: z.int().min(0).max(65_535).default(8080),
  advertise: hostAndPortSchema.optional(),
  dataDir: z.string().min(1),
  scheduler: schedulerUrlSchema.optional(),
  /** Lets it in for the first time; as text, or in a file, which is read whenever it is needed. */
  joinToken: z.string().min(1).optional(),
  joinTokenFile: z.string().min(1).optional(),
  /** Whether callers need the agent's token. */
  auth: z.boolean().default(true),
  /** Names under which it is called, beside localhost, addresses, the host itself and what is advertised. */
  allowedHosts: z.array(hostSchema).default([]),
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

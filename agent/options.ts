/** What an agent is started with; the CLI makes it from flags and MORCH_* variables. Checked here, once. */
import { hostname } from 'node:os';
import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { isLoopbackHost } from '../access/loopback';
import { MorchError, parseInput } from '../contract/errors';
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
    message: '--scheduler must be a URL, such as https://10.0.0.1:5000',
  })
  .transform((text) => new URL(text).href.replace(/\/+$/, ''));

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

const scriptEnvSchema = z.string().refine((text) => /^[A-Za-z_][A-Za-z0-9_]*\*?$/.test(text), {
  message: '--script-env must be the name of a variable, or how names begin, such as DB_*',
});

export const agentOptionsSchema = z.strictObject({
  host: hostSchema.default('127.0.0.1'),
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
  /** Given or not, an address that is no loopback one has it, and whatever has a scheduler that is reached by https. */
  tls: z.boolean().default(false),
  /** Files: what the port shows in place of a certificate of the cluster's authority, and its key. */
  tlsCert: z.string().min(1).optional(),
  tlsKey: z.string().min(1).optional(),
  /** File with authorities that the scheduler's certificate may come from. */
  tlsCa: z.string().min(1).optional(),
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
  /** Whom instances run as that name no user: users of their own, or the agent's; absent: see rights.ts. */
  runAs: z.enum(['own', 'agent']).optional(),
  userRange: userRangeSchema.default({ from: 0x6000_0000, to: 0x6000_ffff }),
  allowUsers: z.array(allowedUserSchema).default([]),
  allowRoot: z.boolean().default(false),
  /** Where programs may lie; none: anywhere. */
  scriptDirs: z.array(scriptDirSchema).default([]),
  /** Variables that specs may set where programs are bound to directories, beside some harmless ones. */
  scriptEnv: z.array(scriptEnvSchema).default([]),
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
  const options = parseInput(agentOptionsSchema, value, 'agent configuration');
  const fault = findAccessFault(options);
  if (options.scriptEnv.length > 0 && options.scriptDirs.length === 0) {
    throw new MorchError(
      'INVALID_INPUT',
      '--script-env is for an agent with --script-dir: without, specs set any variable.',
    );
  }
  if (fault !== null) throw new MorchError('INVALID_INPUT', fault);
  return options;
}

/** How this agent speaks. `member`: with the cluster's certificates. `alone`: with one of its own. */
export function tlsKindOf({ host, scheduler, tls, tlsCert }: AgentOptions): 'none' | 'member' | 'alone' {
  if (scheduler !== undefined) return scheduler.startsWith('https:') ? 'member' : 'none';
  return tls || tlsCert !== undefined || !isLoopbackHost(host) ? 'alone' : 'none';
}

/** What is said on an address that others reach is not said in the clear, nor to anybody. */
function findAccessFault({ host, scheduler, auth, tls, tlsCert, tlsKey, tlsCa }: AgentOptions): string | null {
  if ((tlsCert === undefined) !== (tlsKey === undefined)) return '--tls-cert and --tls-key go together: give both.';
  if (tlsCa !== undefined && scheduler === undefined) return '--tls-ca is for an agent with a --scheduler.';
  if (!auth && !isLoopbackHost(host))
    return `--no-auth is for loopback addresses only, and --host ${host} is none: whoever reached it could run programs here. Leave --no-auth away, or listen on 127.0.0.1.`;
  if (scheduler === undefined || scheduler.startsWith('https:')) return null;
  const remedy = 'start that with --tls, or on an address that is no loopback one, and name it with https://.';
  const why = isLoopbackHost(host) ? (tls || tlsCert !== undefined ? 'TLS' : null) : `--host ${host}`;
  if (why !== null)
    return `${why} needs a scheduler that speaks TLS, and --scheduler ${scheduler} is plain HTTP: ${remedy}`;
  if (isLoopbackHost(new URL(scheduler).hostname)) return null;
  return `--scheduler ${scheduler} is plain HTTP, and no loopback address: tokens would be sent in the clear. There has to be TLS: ${remedy}`;
}

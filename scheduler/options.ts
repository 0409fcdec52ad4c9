/** The scheduler's settings, checked; the command line makes them from flags and variables. */
import { z } from 'zod';
import { isLoopbackHost } from '../access/loopback';
import { MorchError, parseInput } from '../contract/errors';
import { hostSchema, positiveMsSchema } from '../contract/fields';
import { VALIDITY_MS } from '../pki/renew';
import { findPolicyFault, HEALTH_PROFILES, type HealthPolicy } from './core/healthPolicy';

/** A timer cannot be set much further ahead. */
const LONGEST_MS = 86_400_000;
const spanSchema = z.int().min(1).max(LONGEST_MS);

const schedulerOptionsSchema = z.strictObject({
  host: hostSchema.default('127.0.0.1'),
  port: z.int().min(0).max(65_535).default(5_000),
  dataDir: z.string().min(1),
  /** Of the audit log; absent: the data directory. */
  auditDir: z.string().min(1).optional(),
  /** Whether callers are asked who they are. */
  auth: z.boolean().default(true),
  /** Requests in a second that are taken of one token; 0: any number. */
  rateLimit: z.int().min(0).max(1_000_000).default(2_000),
  /** Given or not, an address that is no loopback one has it. */
  tls: z.boolean().default(false),
  /** Files: what the port shows in place of a certificate of the cluster's authority, its key, and who has signed it. */
  tlsCert: z.string().min(1).optional(),
  tlsKey: z.string().min(1).optional(),
  tlsCa: z.string().min(1).optional(),
  /** Of the certificates that are issued. Two years, as many a library takes longer ones for a mistake. */
  tlsValidityMs: positiveMsSchema
    .min(10_000)
    .max(730 * 86_400_000)
    .default(VALIDITY_MS),
  /** Names under which it is called, beside localhost, addresses and the host itself. */
  allowedHosts: z.array(hostSchema).default([]),
  profile: z.enum(['default', 'fast']).default('default'),
  /** What differs from the profile. */
  health: z
    .strictObject({
      heartbeatMs: spanSchema,
      sweepMs: spanSchema,
      probeTimeoutMs: spanSchema,
      silentAfterMs: spanSchema,
      silentProbeMs: spanSchema,
      refusedProbeMs: spanSchema,
      refusedVerdictMs: spanSchema,
      stallMs: spanSchema,
      settleMs: spanSchema,
      leaseMs: spanSchema,
      flapLosses: z.int().min(0),
      flapWindowMs: spanSchema,
      quarantineMs: spanSchema,
    } satisfies Record<keyof HealthPolicy, z.ZodType>)
    .partial()
    .default({}),
});
export interface SchedulerOptions extends Omit<z.output<typeof schedulerOptionsSchema>, 'profile' | 'health'> {
  policy: HealthPolicy;
}

/** @throws MorchError INVALID_INPUT naming the flag */
export function parseSchedulerOptions(value: unknown): SchedulerOptions {
  const { profile, health, ...options } = parseInput(schedulerOptionsSchema, value, 'options');
  const fault = findAccessFault(options);
  if (fault !== null) throw new MorchError('INVALID_INPUT', fault);
  const given = Object.fromEntries(Object.entries(health).filter(([, ms]) => ms !== undefined));
  const policy = { ...HEALTH_PROFILES[profile], ...given };
  const policyFault = findPolicyFault(policy);
  if (policyFault !== null)
    throw new MorchError('INVALID_INPUT', `The detection settings do not fit together: ${policyFault}.`);
  const tls = options.tls || options.tlsCert !== undefined || !isLoopbackHost(options.host);
  return { ...options, tls, policy };
}

type AccessSettings = Pick<z.output<typeof schedulerOptionsSchema>, 'host' | 'auth' | 'tlsCert' | 'tlsKey'>;

/** What is said on an address that others reach is not said in the clear, nor to anybody. */
function findAccessFault({ host, auth, tlsCert, tlsKey }: AccessSettings): string | null {
  if ((tlsCert === undefined) !== (tlsKey === undefined)) return '--tls-cert and --tls-key go together: give both.';
  if (auth || isLoopbackHost(host)) return null;
  return `--no-auth is for loopback addresses only, and --host ${host} is none: whoever reached it could run programs on every node. Leave --no-auth away, or listen on 127.0.0.1.`;
}

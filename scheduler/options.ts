/** The scheduler's settings, checked; the command line makes them from flags and variables. */
import { z } from 'zod';
import { MorchError, parseInput } from '../contract/errors';
import { hostSchema, positiveMsSchema } from '../contract/fields';
import { findPolicyFault, HEALTH_PROFILES, type HealthPolicy } from './core/healthPolicy';

const schedulerOptionsSchema = z.strictObject({
  host: hostSchema.default('127.0.0.1'),
  port: z.int().min(0).max(65_535).default(5_000),
  dataDir: z.string().min(1),
  profile: z.enum(['default', 'fast']).default('default'),
  /** What differs from the profile. */
  health: z
    .strictObject({
      heartbeatMs: positiveMsSchema,
      sweepMs: positiveMsSchema,
      probeTimeoutMs: positiveMsSchema,
      silentAfterMs: positiveMsSchema,
      silentProbeMs: positiveMsSchema,
      refusedProbeMs: positiveMsSchema,
      refusedVerdictMs: positiveMsSchema,
      stallMs: positiveMsSchema,
      settleMs: positiveMsSchema,
      leaseMs: positiveMsSchema,
      flapLosses: z.int().min(0),
      flapWindowMs: positiveMsSchema,
      quarantineMs: positiveMsSchema,
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
  const { host } = options;
  // Nobody is asked who they are yet, so nobody from outside may come.
  if (host !== 'localhost' && host !== '::1' && !/^127\.\d+\.\d+\.\d+$/.test(host)) {
    throw new MorchError(
      'INVALID_INPUT',
      `--host ${host} is not a loopback address. There is no access control yet, so only 127.0.0.1, ::1 and localhost are served.`,
    );
  }
  const given = Object.fromEntries(Object.entries(health).filter(([, ms]) => ms !== undefined));
  const policy = { ...HEALTH_PROFILES[profile], ...given };
  const fault = findPolicyFault(policy);
  if (fault !== null) throw new MorchError('INVALID_INPUT', `The detection settings do not fit together: ${fault}.`);
  return { ...options, policy };
}

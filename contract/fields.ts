/** Field types that several schemas share: names, numbers with units, strings that reach the kernel. */
import { z } from 'zod';

/** RFC 1123 label: the id of a workload or a node. */
export const dnsLabelSchema = z
  .string()
  .regex(
    /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    'must be a DNS label: 1 to 63 of a-z, 0-9 and "-", beginning and ending with a letter or digit',
  );

/**
 * A DNS label made from any text: a program's base name, a host name. Its extension stays: `job.sh` → `job-sh`.
 *
 * @param otherwise a DNS label, for text that leaves nothing
 * @param maxLength shorter where something is to be appended
 */
export function dnsLabelOf(text: string, otherwise: string, maxLength = 63): string {
  const label = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+/, '')
    .slice(0, maxLength)
    .replace(/-+$/, '');
  return label === '' ? otherwise : label;
}

/** `web.0`, or `logd.<node>` for a daemon. */
export const instanceIdSchema = z
  .string()
  .regex(
    /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    'must be <workload>.<index>, such as web.0',
  );

/** Identity of a workload, as the scheduler makes it (a UUID); it names directories on nodes. */
export const uidSchema = z
  .string()
  .min(1)
  .max(64)
  .regex(/^[A-Za-z0-9-]+$/, 'must be of letters, digits and "-"');

/** Of an instance within its workload: "0" for web.0, the node's name for a daemon. */
export const slotSchema = dnsLabelSchema;

/** A string the kernel takes: no NUL byte in it. */
export const kernelStringSchema = z.string().refine((text) => !text.includes('\0'), 'must not hold a NUL character');

export const absolutePathSchema = kernelStringSchema
  .max(4095, 'is longer than a path may be (4,095)')
  .refine((text) => text.startsWith('/'), 'must be an absolute path, such as /opt/app/run.sh');

/** As useradd takes names; a uid below 2^32 − 1, which the kernel's calls read as "leave it". */
export const userSchema = z
  .string()
  .max(32)
  .regex(
    /^([a-z_][a-z0-9_-]*[$]?|[0-9]+)$/,
    'must be a login name (a-z, 0-9, "_" and "-", beginning with a letter or "_") or a uid',
  )
  .refine((user) => !/^[0-9]/.test(user) || Number(user) < 2 ** 32 - 1, 'is no uid: it must be below 4294967295');

export const umaskSchema = z.string().regex(/^0?[0-7]{3}$/, 'must be three octal digits, such as "027"');

/** Name of a variable of the workload; `MORCH_*` is set by the agent. */
export const envNameSchema = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must match [A-Za-z_][A-Za-z0-9_]*')
  .refine((name) => !name.startsWith('MORCH_'), 'MORCH_* is set by the agent');
export const envSchema = z.record(envNameSchema, kernelStringSchema);

export const labelKeySchema = z
  .string()
  .regex(
    /^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/,
    'must be 1 to 63 of letters, digits, ".", "_", "/" and "-"',
  );
export const labelsSchema = z.record(labelKeySchema, kernelStringSchema.max(255));

/** Longest duration taken anywhere: 10 years. */
const MAX_MS = 315_360_000_000;
export const durationMsSchema = z.int().min(0).max(MAX_MS);
export const positiveMsSchema = z.int().min(1).max(MAX_MS);
export const timeSchema = z.iso.datetime({ precision: 3 }).meta({ description: 'ISO 8601 UTC with milliseconds' });

export const SIGNALS = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGABRT',
  'SIGKILL',
  'SIGUSR1',
  'SIGUSR2',
  'SIGALRM',
  'SIGTERM',
  'SIGCONT',
  'SIGWINCH',
] as const;

export const hostSchema = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[A-Za-z0-9.:_-]+$/, 'must be a host name or an IP address');
export const portSchema = z.int().min(1).max(65_535);

/**
 * Secrets: how they are named, given, and referred to by workloads. Nothing but the body of `PUT /secrets/:id` and a
 * start command's `secretValues` ever holds a value.
 */
import { z } from 'zod';
import { envNameSchema, timeSchema } from './fields';

/** Of one value, before it is encoded. */
export const SECRET_BYTES = 64 * 1024;

export const secretNameSchema = z
  .string()
  .max(253)
  .regex(
    /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/,
    'must be DNS labels (a-z, 0-9 and "-") with dots between them, such as db.password',
  );

const secretFileSchema = z
  .string()
  .max(255)
  .regex(
    /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/,
    'must be a file name of letters, digits, ".", "_" and "-", not beginning with "."',
  );

/** How a workload is given a secret. */
export const secretReferenceSchema = z
  .strictObject({
    name: secretNameSchema,
    env: envNameSchema.optional().describe('as this environment variable'),
    file: secretFileSchema.optional().describe('as a file of this name in the directory MORCH_SECRETS'),
  })
  .refine((s) => (s.env === undefined) !== (s.file === undefined), {
    message: 'give exactly one of "env" and "file"',
    path: ['env'],
  })
  .meta({ id: 'SecretReference' });
export type SecretReference = z.infer<typeof secretReferenceSchema>;

export const secretReferencesSchema = z
  .array(secretReferenceSchema)
  .max(64)
  .refine((list) => areUnique(list.map(({ env }) => env)), 'two of them have the same "env"')
  .refine((list) => areUnique(list.map(({ file }) => file)), 'two of them have the same "file"')
  .describe('secrets it is given; only the references are ever shown');

function areUnique(names: (string | undefined)[]): boolean {
  const given = names.filter((name) => name !== undefined);
  return new Set(given).size === given.length;
}

/** @returns whether a variable of `env` is also to come from a secret */
export function isEnvGivenTwice(spec: {
  env?: Record<string, string> | undefined;
  secrets?: SecretReference[] | undefined;
}): boolean {
  const { env = {}, secrets = [] } = spec;
  return secrets.some((secret) => secret.env !== undefined && Object.hasOwn(env, secret.env));
}
export const ENV_ONCE = {
  message: 'a variable is in "env" as well; it can have one value only',
  path: ['secrets'],
};

export const putSecretSchema = z
  .strictObject({
    value: z.string().max(Math.ceil((SECRET_BYTES * 4) / 3) + 4),
    encoding: z.enum(['utf8', 'base64']).default('utf8').describe('of value; base64 for what is not text'),
  })
  .meta({ id: 'SecretInput' });

/** All that is ever told of one. */
export const secretSchema = z
  .object({
    name: z.string(),
    version: z.int().describe('counts the values it has had, from 1'),
    updatedAt: timeSchema,
    readable: z.boolean().describe('false: it was sealed under another secret.key than the present one'),
    usedBy: z.array(z.string()).describe('workloads that refer to it and have not ended, the first 100'),
  })
  .meta({ id: 'Secret' });
export type Secret = z.infer<typeof secretSchema>;

/** By name, in base64: the values of a start command's secrets. */
export const secretValuesSchema = z.record(secretNameSchema, z.base64());
export type SecretValues = z.infer<typeof secretValuesSchema>;

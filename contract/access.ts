/** Who may do what: roles, the access that a route asks for, and tokens as the scheduler tells of them. */
import { z } from 'zod';
import { dnsLabelSchema, positiveMsSchema, timeSchema } from './fields';

/** Each may do what those before it may. */
export const ROLES = ['read', 'operator', 'admin'] as const;
export type Role = (typeof ROLES)[number];

/** `join` stands apart: it lets an agent in, and opens nothing else. */
export const tokenRoleSchema = z.enum([...ROLES, 'join']).meta({ id: 'TokenRole' });
export type TokenRole = z.infer<typeof tokenRoleSchema>;

/**
 * What a route asks of its caller. `open`: nothing, though a token that is given must be good. `node`: a join token, the
 * node's own credential, or an admin. `agent`: on agents, the token of that agent.
 */
export type Access = 'open' | Role | 'node' | 'agent';

/** `morch_<role>_<id>_<secret>`, the secret 32 random bytes as base64url; on a join token may follow `.<hash of the CA>`. */
export const TOKEN_TEXT =
  /^morch_(read|operator|admin|join|agent)_([0-9a-f]{8})_([A-Za-z0-9_-]{43})(?:\.([A-Za-z0-9_-]{43}))?$/;

/** By which a scheduler makes itself known to an agent; never told by any route. */
export const agentTokenSchema = z
  .string()
  .regex(/^morch_agent_[0-9a-f]{8}_[A-Za-z0-9_-]{43}$/, 'is no token of an agent');

export const tokenSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    role: tokenRoleSchema,
    createdAt: timeSchema,
    expiresAt: timeSchema.nullable(),
    maxUses: z.int().nullable(),
    uses: z.int().describe('nodes that it has let in; counted for join tokens'),
    lastUsedAt: timeSchema.nullable().describe('to about a minute'),
  })
  .meta({ id: 'Token' });
export type Token = z.infer<typeof tokenSchema>;

export const createTokenSchema = z
  .strictObject({
    name: dnsLabelSchema,
    role: tokenRoleSchema,
    expiresInMs: positiveMsSchema.optional(),
    maxUses: z.int().min(1).max(1_000_000).optional().describe('of a join token: how many nodes it lets in'),
  })
  .refine(({ role, maxUses }) => maxUses === undefined || role === 'join', {
    path: ['maxUses'],
    message: 'is for join tokens only',
  });
export type CreateToken = z.infer<typeof createTokenSchema>;

/** The one time that the text is told. */
export const createdTokenSchema = tokenSchema.extend({ token: z.string() });
export type CreatedToken = z.infer<typeof createdTokenSchema>;

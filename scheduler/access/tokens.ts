/**
 * The tokens that open this scheduler, as records: of a secret only its hash is kept. Changes become durable with the
 * journal's next commit, as those of all records do.
 */
import { z } from 'zod';
import { hashOf, isSecretOf, makeToken, parseToken, type TokenParts } from '../../access/tokenText';
import { type Token, type TokenRole, tokenRoleSchema } from '../../contract/access';
import { MorchError } from '../../contract/errors';
import type { State } from '../state';
import { keys, prefixes } from '../store/keys';
import type { Store } from '../store/store';

/** How often at most it is written down that a token was used. */
const USE_SAVED_MS = 60_000;

const recordSchema = z.object({
  id: z.string(),
  /** Of a file in the data directory, `admin.token`; others are DNS labels. */
  name: z.string(),
  role: tokenRoleSchema,
  /** Of the secret, base64url. */
  sha256: z.string().length(hashOf('').length),
  createdAtMs: z.number(),
  expiresAtMs: z.number().nullable(),
  maxUses: z.number().nullable(),
  uses: z.number(),
  lastUsedAtMs: z.number().nullable(),
});
export type TokenRecord = z.infer<typeof recordSchema>;

export interface TokenWish {
  name: string;
  role: TokenRole;
  expiresInMs?: number | undefined;
  maxUses?: number | undefined;
}

export class Tokens {
  private readonly records = new Map<string, TokenRecord>();
  private readonly savedUseAtMs = new Map<string, number>();

  private constructor(private readonly state: Pick<State, 'put' | 'delete'>) {}

  /** @param notes gets a line for a record that cannot be used */
  static async load(
    store: Pick<Store, 'range'>,
    state: Pick<State, 'put' | 'delete'>,
    notes: string[],
  ): Promise<Tokens> {
    const tokens = new Tokens(state);
    for await (const [key, value] of store.range(prefixes.token)) {
      const record = recordSchema.safeParse(value);
      if (record.success) tokens.records.set(record.data.id, record.data);
      else notes.push(`The record of a token (${key}) cannot be read: it opens nothing any more.`);
    }
    return tokens;
  }

  get all(): TokenRecord[] {
    return [...this.records.values()];
  }

  get(id: string): TokenRecord | undefined {
    return this.records.get(id);
  }

  named(name: string): TokenRecord | undefined {
    return this.all.find((record) => record.name === name);
  }

  /**
   * @param parts of the text, null when it is no token
   * @returns the token whose text it is
   * @throws MorchError UNAUTHENTICATED; only to who knows the secret does it tell more than that
   */
  verify(text: string, nowMs: number, parts = parseToken(text)): TokenRecord {
    const record = parts === null ? undefined : this.records.get(parts.id);
    if (
      parts === null ||
      record === undefined ||
      !isSecretOf(record.sha256, parts.secret) ||
      record.role !== parts.role
    )
      throw new MorchError('UNAUTHENTICATED', 'The token is not one of this scheduler, or has been revoked.');
    const reason = reasonNotGood(record, nowMs);
    if (reason !== null)
      throw new MorchError('UNAUTHENTICATED', `The token ${record.name} (${record.id}) is good no more: ${reason}.`);
    this.noteUse(record, nowMs);
    return record;
  }

  isOf({ id, sha256 }: TokenRecord, parts: TokenParts): boolean {
    return id === parts.id && isSecretOf(sha256, parts.secret);
  }

  /** Whether what was begun with it may go on. */
  isGood(id: string, nowMs: number): boolean {
    const record = this.records.get(id);
    // One that has let in all it may is not taken back from what it let in.
    return record !== undefined && (record.expiresAtMs === null || nowMs < record.expiresAtMs);
  }

  /** @returns the record, and the text, which is known nowhere after this */
  create({ name, role, expiresInMs, maxUses }: TokenWish, nowMs: number): { record: TokenRecord; parts: TokenParts } {
    const parts = makeToken(role);
    if (this.records.has(parts.id)) return this.create({ name, role, expiresInMs, maxUses }, nowMs);
    const expiresAtMs = expiresInMs === undefined ? null : nowMs + expiresInMs;
    return { record: this.adopt(name, parts, { nowMs, expiresAtMs, maxUses: maxUses ?? null }), parts };
  }

  /** A token whose text is there already. @param parts of one of this scheduler's roles */
  adopt(
    name: string,
    { role, id, secret }: TokenParts,
    limits: { nowMs: number; expiresAtMs?: number | null; maxUses?: number | null },
  ): TokenRecord {
    const record: TokenRecord = {
      id,
      name,
      role: role as TokenRole,
      sha256: hashOf(secret),
      createdAtMs: limits.nowMs,
      expiresAtMs: limits.expiresAtMs ?? null,
      maxUses: limits.maxUses ?? null,
      uses: 0,
      lastUsedAtMs: null,
    };
    this.records.set(id, record);
    this.save(record);
    return record;
  }

  remove(id: string): void {
    this.records.delete(id);
    this.savedUseAtMs.delete(id);
    this.state.delete(keys.token(id));
  }

  /**
   * A node is let in with it. Taken before it is asked anything, so that two at once do not share the last use.
   *
   * @returns gives the use back
   * @throws MorchError UNAUTHENTICATED when no use is left
   */
  takeUse(id: string): () => void {
    const record = this.records.get(id);
    if (record === undefined || (record.maxUses !== null && record.uses >= record.maxUses))
      throw new MorchError('UNAUTHENTICATED', 'The token has let in as many nodes as it may.');
    record.uses += 1;
    this.save(record);
    return () => {
      record.uses -= 1;
      if (this.records.has(id)) this.save(record);
    };
  }

  private noteUse(record: TokenRecord, nowMs: number): void {
    record.lastUsedAtMs = nowMs;
    if (nowMs - (this.savedUseAtMs.get(record.id) ?? Number.NEGATIVE_INFINITY) < USE_SAVED_MS) return;
    this.savedUseAtMs.set(record.id, nowMs);
    this.save(record);
  }

  private save(record: TokenRecord): void {
    this.state.put(keys.token(record.id), record);
  }
}

function reasonNotGood({ expiresAtMs, maxUses, uses }: TokenRecord, nowMs: number): string | null {
  if (expiresAtMs !== null && nowMs >= expiresAtMs) return `it expired at ${new Date(expiresAtMs).toISOString()}`;
  if (maxUses !== null && uses >= maxUses) return 'it has let in as many nodes as it may';
  return null;
}

/** As it is told: without what is kept of the secret. */
export function tokenView(record: TokenRecord): Token {
  const { id, name, role, maxUses, uses } = record;
  const time = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
  return {
    id,
    name,
    role,
    createdAt: new Date(record.createdAtMs).toISOString(),
    expiresAt: time(record.expiresAtMs),
    maxUses,
    uses,
    lastUsedAt: time(record.lastUsedAtMs),
  };
}

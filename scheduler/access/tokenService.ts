/**
 * What admins do with tokens over HTTP: each act resolves once it is durable. A token that could not be written is not made;
 * one that was to be revoked stays so in memory, whatever the store says.
 */
import { tokenText } from '../../access/tokenText';
import type { CreateToken, Token } from '../../contract/access';
import { MorchError } from '../../contract/errors';
import type { Page } from '../api';
import type { Journal } from '../journal';
import { paginate } from '../pages';
import { removeFileOf } from './tokenFiles';
import { type TokenRecord, type Tokens, tokenView } from './tokens';

export class TokenService {
  constructor(
    private readonly tokens: Tokens,
    private readonly journal: Pick<Journal, 'assertWritable' | 'commit'>,
    private readonly dataDir: string,
    /** Ends what is held open with it. */
    private readonly onRevoked: (id: string) => void,
  ) {}

  list(page: Page): { tokens: Token[]; nextCursor: string | null } {
    const { items, nextCursor } = paginate(this.tokens.all, ({ id }) => id, page);
    return { tokens: items.map(tokenView), nextCursor };
  }

  async create(wish: CreateToken): Promise<{ record: TokenRecord; text: string }> {
    this.journal.assertWritable();
    const { record, parts } = this.tokens.create(wish, Date.now());
    await this.journal.commit(async () => this.tokens.remove(record.id));
    return { record, text: tokenText(parts) };
  }

  /** @throws MorchError TOKEN_NOT_FOUND */
  async revoke(id: string): Promise<void> {
    this.journal.assertWritable();
    const record = this.tokens.get(id);
    if (record === undefined)
      throw new MorchError('TOKEN_NOT_FOUND', `There is no token ${id}; morch token list has them.`);
    await removeFileOf(this.dataDir, record.name);
    this.tokens.remove(id);
    try {
      await this.journal.commit();
    } finally {
      // After the answer, which may be to the token itself.
      setImmediate(() => this.onRevoked(id));
    }
  }
}

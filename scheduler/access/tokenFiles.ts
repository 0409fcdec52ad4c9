/**
 * The two tokens that every scheduler has, as files of its data directory: `admin.token` for its owner, `join.token` for
 * agents. What a file says is true: its owner could write the store as well.
 */
import { chmod } from 'node:fs/promises';
import path from 'node:path';
import { readPrivateFile, removePrivateFile, writePrivateFile } from '../../access/privateFile';
import { parseToken, type TokenParts, tokenText } from '../../access/tokenText';
import { MorchError } from '../../contract/errors';
import type { Tokens } from './tokens';

const FILES = { 'admin.token': 'admin', 'join.token': 'join' } as const;
type FileName = keyof typeof FILES;

/**
 * Makes what is missing; the token of a file that is gone is revoked. Called before the port answers, the records to be
 * committed afterwards: a file without its record is taken up at the next start.
 *
 * @throws MorchError INVALID_INPUT for a file that holds no such token
 */
export async function provideTokenFiles(dataDir: string, tokens: Tokens, nowMs: number): Promise<void> {
  for (const [name, role] of Object.entries(FILES) as [FileName, TokenParts['role']][]) {
    const file = path.join(dataDir, name);
    const text = await readPrivateFile(file);
    const known = tokens.named(name);
    const parts = text === null ? null : parseToken(text);
    if (text !== null && parts?.role !== role) {
      const detail = `${file} does not hold a token of the role ${role}. Remove it: the next start makes another.`;
      throw new MorchError('INVALID_INPUT', detail);
    }
    if (text !== null) await chmod(file, 0o600);
    if (parts !== null && known !== undefined && tokens.isOf(known, parts)) continue;
    if (known !== undefined) tokens.remove(known.id);
    if (parts !== null) tokens.adopt(name, parts, { nowMs });
    else await writePrivateFile(file, tokenText(tokens.create({ name, role: role as 'admin' | 'join' }, nowMs).parts));
  }
}

/** Before its token is revoked: else the next start would take it for good. */
export async function removeFileOf(dataDir: string, name: string): Promise<void> {
  if (name in FILES) await removePrivateFile(path.join(dataDir, name));
}

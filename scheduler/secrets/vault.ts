/**
 * What is secret and has to be known again in the clear is kept sealed: AES-256-GCM under the key in
 * `<dataDir>/secret.key`, which is never in the store and never in a backup.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { chmod, readFile } from 'node:fs/promises';
import path from 'node:path';
import { writePrivateBytes } from '../../access/privateFile';
import { MorchError } from '../../contract/errors';

const ALGORITHM = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export class Vault {
  private readonly signingKey: Buffer;

  private constructor(private readonly key: Buffer) {
    this.signingKey = createHmac('sha256', key).update('signatures').digest();
  }

  /**
   * The key is made at the first start.
   *
   * @throws MorchError INVALID_INPUT when the key file is not one
   */
  static async open(dataDir: string): Promise<Vault> {
    const file = path.join(dataDir, 'secret.key');
    const key = await readOrMake(file);
    if (key.length !== KEY_BYTES) {
      const detail = `${file} is damaged: it has ${key.length} bytes and not ${KEY_BYTES}. Restore it from a copy; without it the secrets of this cluster cannot be read.`;
      throw new MorchError('INVALID_INPUT', detail);
    }
    return new Vault(key);
  }

  /** Tells keys apart, and nothing of them. */
  get id(): string {
    return createHash('sha256').update('id of ').update(this.key).digest('base64url').slice(0, 22);
  }

  /** @param what names also what kind of thing it is. @returns base64url: only who has the key can make it */
  sign(what: string): string {
    return createHmac('sha256', this.signingKey).update(what).digest('base64url');
  }

  isSignatureOf(what: string, signature: string): boolean {
    const [made, given] = [Buffer.from(this.sign(what)), Buffer.from(signature)];
    return made.length === given.length && timingSafeEqual(made, given);
  }

  /** @param about names what it is of: it cannot be opened as anything else. @returns base64url */
  seal(text: string, about: string): string {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(ALGORITHM, this.key, nonce);
    cipher.setAAD(Buffer.from(about));
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    return Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString('base64url');
  }

  /** @returns null when it was sealed under another key or about something else, or is damaged */
  open(sealed: string, about: string): string | null {
    const bytes = Buffer.from(sealed, 'base64url');
    if (bytes.length < NONCE_BYTES + TAG_BYTES) return null;
    const decipher = createDecipheriv(ALGORITHM, this.key, bytes.subarray(0, NONCE_BYTES));
    decipher.setAAD(Buffer.from(about));
    decipher.setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
    try {
      const opened = [decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()];
      return Buffer.concat(opened).toString('utf8');
    } catch {
      return null;
    }
  }
}

async function readOrMake(file: string): Promise<Buffer> {
  try {
    const key = await readFile(file);
    // A copy that was brought back may be open to others.
    await chmod(file, 0o600);
    return key;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const key = randomBytes(KEY_BYTES);
  await writePrivateBytes(file, key);
  return key;
}

/** Writes the records of a whole store into a new directory: what is left of a damaged one, or a backup. */
import { batchOp, beginAnewAfter } from './batchEntries';
import { addCheck, type Digest, emptyDigest } from './fingerprints';
import { type Handle, openHandle, type TextOp, writeBatch } from './handle';
import { checkOf, encodeValue } from './values';

const LENGTH_AT_ONCE = 4 * 1024 * 1024;

export class FreshStore {
  /** Of what has been put so far. */
  readonly digest: Digest = emptyDigest();
  readonly #db: Handle;
  #ops: TextOp[] = [];
  #length = 0;

  private constructor(db: Handle) {
    this.#db = db;
  }

  /** @param directory there is none yet */
  static async make(directory: string): Promise<FreshStore> {
    return new FreshStore(await openHandle(directory));
  }

  /** Each key once. */
  async put(key: string, json: string): Promise<void> {
    const check = checkOf(key, json);
    addCheck(this.digest, check);
    this.#ops.push({ type: 'put', key, value: encodeValue(check, json) });
    this.#length += key.length + json.length;
    if (this.#length < LENGTH_AT_ONCE) return;
    await writeBatch(this.#db, this.#ops);
    this.#ops = [];
    this.#length = 0;
  }

  /**
   * All is durable when the promise resolves, and the store closed.
   *
   * @param lastBatch greatest number of a batch that anyone may know; those of the new store are greater
   * @returns the number of its one batch
   */
  async finish(lastBatch: number): Promise<number> {
    const number = beginAnewAfter(lastBatch);
    await writeBatch(this.#db, [...this.#ops, batchOp(number, { first: number, bytes: 0, ...this.digest })]);
    await this.#db.close();
    return number;
  }

  /** Without finishing. */
  close(): Promise<void> {
    return this.#db.close();
  }
}

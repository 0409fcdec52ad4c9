/**
 * The acknowledged high-water mark, outside LevelDB: number of the last batch that was acknowledged. A store that ends
 * below it has lost the end of its log.
 *
 * 1 KiB, written anew in place, so that a full disk does not matter. Two slots, in two sectors, are written in turn: one
 * that is torn by a loss of power leaves the other. It is written before a batch is acknowledged, so that
 * it survives the process, and is on the disk a second later, so that batches do not cost a second sync.
 */
import { constants, writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';

const SLOT = 512;
const MAGIC = Buffer.from('morchmrk');
/** Magic, number (8 bytes, little-endian), CRC-32 of both. */
const LENGTH = 20;
const SYNC_MS = 1_000;

export type MarkRead = { kind: 'mark'; number: number } | { kind: 'missing' } | { kind: 'damaged' };

/** @throws Error of the system when it is there and cannot be read */
export async function readMark(path: string): Promise<MarkRead> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { kind: 'missing' };
    throw error;
  }
  try {
    const content = await file.readFile();
    const numbers = [0, SLOT].flatMap((at) => numberOfSlot(content.subarray(at, at + LENGTH)) ?? []);
    return numbers.length === 0 ? { kind: 'damaged' } : { kind: 'mark', number: Math.max(...numbers) };
  } finally {
    await file.close();
  }
}

export class MarkFile {
  readonly #file: FileHandle;
  #slot = 0;
  #syncTimer: NodeJS.Timeout | undefined;
  #syncing: Promise<void> | undefined;
  #problem: string | null = null;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /**
   * Makes it anew if need be, with `number`, on the disk when the promise resolves.
   * @throws Error of the system
   */
  static async open(path: string, number: number): Promise<MarkFile> {
    const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      const { size } = await file.stat();
      if (size !== 2 * SLOT) {
        await file.truncate(0);
        await file.write(Buffer.alloc(2 * SLOT), 0, 2 * SLOT, 0);
      }
      const mark = new MarkFile(file);
      mark.#write(number);
      mark.#write(number);
      await file.sync();
      return mark;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Why the last mark could not be written or synced; null when it could. */
  get problem(): string | null {
    return this.#problem;
  }

  /**
   * Never throws: what is to be marked is durable, so a mark that cannot be written takes nothing back; it only lessens
   * what damage can be found. The next one is tried again.
   */
  raise(number: number): void {
    try {
      this.#write(number);
      this.#problem = null;
    } catch (error) {
      this.#problem = (error as Error).message;
    }
    this.#syncTimer ??= setTimeout(() => {
      this.#syncTimer = undefined;
      this.#syncing = this.#sync();
    }, SYNC_MS).unref();
  }

  async close(): Promise<void> {
    clearTimeout(this.#syncTimer);
    await this.#syncing;
    await this.#sync();
    await this.#file.close();
  }

  /**
   * In place, so into the page cache, some microseconds: waiting for another thread to do it would cost a batch of one
   * record a third of its time.
   */
  #write(number: number): void {
    writeSync(this.#file.fd, slotOf(number), 0, LENGTH, this.#slot * SLOT);
    this.#slot = 1 - this.#slot;
  }

  async #sync(): Promise<void> {
    try {
      await this.#file.datasync();
    } catch (error) {
      this.#problem = (error as Error).message;
    }
  }
}

function slotOf(number: number): Buffer {
  const slot = Buffer.alloc(LENGTH);
  MAGIC.copy(slot);
  slot.writeBigUInt64LE(BigInt(number), MAGIC.length);
  slot.writeUInt32LE(crc32(slot.subarray(0, LENGTH - 4)), LENGTH - 4);
  return slot;
}

function numberOfSlot(slot: Buffer): number | undefined {
  if (slot.length < LENGTH || !slot.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  if (slot.readUInt32LE(LENGTH - 4) !== crc32(slot.subarray(0, LENGTH - 4))) return undefined;
  return Number(slot.readBigUInt64LE(MAGIC.length));
}

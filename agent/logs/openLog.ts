/**
 * One log file, opened with its index for reading. It stays readable when its shim removes it meanwhile. Bytes come
 * from a window of at most 64 KiB, so that many small pieces cost one read.
 */
import type { FileHandle } from 'node:fs/promises';
import { indexPath, type LogStream, logPath, openIfThere } from './directory';
import { LogIndex } from './timeIndex';

export const BLOCK_BYTES = 64 * 1024;

export class OpenLog {
  #size = 0;
  #mtimeUs = 0;
  #window: Buffer = Buffer.alloc(0);
  #windowAt = 0;

  private constructor(
    readonly number: number,
    private readonly file: FileHandle,
    readonly index: LogIndex,
  ) {}

  /** @returns null when it is gone */
  static async open(directory: string, stream: LogStream, number: number): Promise<OpenLog | null> {
    const file = await openIfThere(logPath(directory, stream, number));
    if (file === null) return null;
    try {
      const { size, mtimeMs } = await file.stat();
      const log = new OpenLog(number, file, await LogIndex.open(indexPath(directory, stream, number), size));
      log.#size = size;
      log.#mtimeUs = mtimeMs * 1_000;
      return log;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** As of the last look. */
  get size(): number {
    return this.#size;
  }

  /** When it was last written, by the file system's coarser clock. */
  get mtimeUs(): number {
    return this.#mtimeUs;
  }

  /** Takes in what has been written since. */
  async refresh(): Promise<void> {
    const { size, mtimeMs } = await this.file.stat();
    if (size === this.#size) return;
    this.#size = size;
    this.#mtimeUs = mtimeMs * 1_000;
    await this.index.refresh(size);
  }

  /** @returns what there is from `begin` to `end`, at least a byte and at most a block; empty only where the file was cut off */
  async read(begin: number, end: number): Promise<Buffer> {
    if (begin < this.#windowAt || begin >= this.#windowAt + this.#window.length) await this.#fill(begin, end);
    return this.#window.subarray(begin - this.#windowAt, end - this.#windowAt);
  }

  /** @returns the bytes before `end`, at least one and at most a block; empty only where the file was cut off */
  async readBefore(end: number): Promise<Buffer> {
    if (end <= this.#windowAt || end > this.#windowAt + this.#window.length) {
      await this.#fill(Math.max(0, end - BLOCK_BYTES), end);
    }
    return this.#window.subarray(0, end - this.#windowAt);
  }

  async close(): Promise<void> {
    await this.index.close();
    await this.file.close();
  }

  /** Up to a block from `begin`, `end` included if it fits, and whatever follows it so far. */
  async #fill(begin: number, end: number): Promise<void> {
    const length = Math.min(BLOCK_BYTES, Math.max(end, this.#size) - begin);
    const { buffer, bytesRead } = await this.file.read({ buffer: Buffer.allocUnsafe(length), position: begin });
    this.#window = buffer.subarray(0, bytesRead);
    this.#windowAt = begin;
  }
}

/**
 * The time index beside a log file (docs/shim.md, "Log files"): when which bytes were read from the program, of
 * which run they are, and how many were dropped before them.
 *
 * Entries are taken as far as they are sound: whole, the first at offset 0, offsets never falling, times of this
 * century. An entry is written before its bytes, so one beyond the end of the log is not taken yet. What follows
 * an entry that is not sound is ignored; the log's bytes are there all the same and count as the last sound entry's.
 */
import type { FileHandle } from 'node:fs/promises';
import { openIfThere } from './directory';

export const ENTRY_BYTES = 32;
/** The shim writes an entry at the latest when this has passed since the one before: bytes of an entry are so much younger at most. */
export const ENTRY_SPAN_US = 100_000;
const BLOCK_ENTRIES = 2_048;
const BLOCK_BYTES = BLOCK_ENTRIES * ENTRY_BYTES;
const CENTURY_US = Date.UTC(2000) * 1_000;

export interface IndexEntry {
  /** Microseconds of the real-time clock of the node, as it told them then: may fall. */
  timeUs: number;
  /** In the log: from here on bytes were read at that time. */
  offset: number;
  /** Before `offset` and since the entry before. */
  droppedBytes: number;
  generation: number;
  run: number;
}

/** @param at where the entry begins in `bytes` */
export function parseEntry(bytes: Buffer, at = 0): IndexEntry {
  return {
    timeUs: readUInt64(bytes, at),
    offset: readUInt64(bytes, at + 8),
    droppedBytes: readUInt64(bytes, at + 16),
    generation: bytes.readUInt32LE(at + 24),
    run: bytes.readUInt32LE(at + 28),
  };
}

/** Inexact from 2^53 on, which no sound entry reaches. */
function readUInt64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
}

export class LogIndex {
  #count = 0;
  #lastOffset = 0;
  #damaged = false;
  #block: Buffer = Buffer.alloc(0);
  /** Number of the first entry in `#block`. */
  #blockAt = 0;

  /** Null while there is no index: a shim makes the log first. */
  #file: FileHandle | null = null;

  private constructor(private readonly path: string) {}

  /** @param logBytes size of the log, looked at before */
  static async open(path: string, logBytes: number): Promise<LogIndex> {
    const index = new LogIndex(path);
    try {
      await index.refresh(logBytes);
    } catch (error) {
      await index.close();
      throw error;
    }
    return index;
  }

  /** Sound entries. */
  get count(): number {
    return this.#count;
  }

  /** Takes in what has been added. */
  async refresh(logBytes: number): Promise<void> {
    this.#file ??= await openIfThere(this.path);
    if (this.#file === null) return;
    while (!this.#damaged) {
      const block = await this.#read(this.#count);
      let taken = 0;
      for (; (taken + 1) * ENTRY_BYTES <= block.length; taken += 1) {
        const { timeUs, offset } = parseEntry(block, taken * ENTRY_BYTES);
        if (timeUs < CENTURY_US || offset < this.#lastOffset || (this.#count + taken === 0 && offset !== 0)) {
          this.#damaged = true;
          break;
        }
        if (offset > logBytes) break;
        this.#lastOffset = offset;
      }
      this.#count += taken;
      if (taken < BLOCK_ENTRIES) return;
    }
  }

  /** @param i from 0 to `count` - 1; undefined beyond */
  async at(i: number): Promise<IndexEntry | undefined> {
    if (i < 0 || i >= this.#count) return undefined;
    if (!this.#holds(i)) {
      // Whoever walks backwards finds most of a block before `i`, whoever walks forwards after it.
      const begin = i < this.#blockAt ? Math.max(0, i - BLOCK_ENTRIES + 1) : i;
      this.#block = await this.#read(begin);
      this.#blockAt = begin;
      if (!this.#holds(i)) return undefined; // cut off by somebody else meanwhile
    }
    return parseEntry(this.#block, (i - this.#blockAt) * ENTRY_BYTES);
  }

  /** @returns the number of the last entry that begins at `offset` or before it; -1: there is none */
  findOffset(offset: number): Promise<number> {
    return this.#findLast((entry) => entry.offset <= offset);
  }

  /** @returns the number of the first entry from `timeUs` on, `count` if there is none; right while the clock never fell */
  async findTime(timeUs: number): Promise<number> {
    return (await this.#findLast((entry) => entry.timeUs < timeUs)) + 1;
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }

  /** @param holds true for the entries up to some number, false for those after it */
  async #findLast(holds: (entry: IndexEntry) => boolean): Promise<number> {
    let low = -1;
    let high = this.#count;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      const entry = await this.at(middle);
      if (entry !== undefined && holds(entry)) low = middle;
      else high = middle;
    }
    return low;
  }

  #holds(i: number): boolean {
    return i >= this.#blockAt && (i - this.#blockAt + 1) * ENTRY_BYTES <= this.#block.length;
  }

  /** Up to a block of entries. */
  async #read(entry: number): Promise<Buffer> {
    const { buffer, bytesRead } = await this.#file!.read({
      buffer: Buffer.allocUnsafe(BLOCK_BYTES),
      position: entry * ENTRY_BYTES,
    });
    return buffer.subarray(0, bytesRead);
  }
}

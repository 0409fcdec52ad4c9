/**
 * LevelDB's table files (`000012.ldb`): whether all of one is sound, and the entries of its sound blocks. Format:
 * doc/table_format.md of LevelDB. LevelDB as it is opened here does not check blocks when it reads them: a flipped bit
 * hides records without a word, and some damage ends the whole process by a failed assertion.
 */
import { ByteReader, MalformedError, readUint56 } from './byteReader';
import { maskedCrc32c } from './crc32c';
import { decompressSnappy } from './snappy';
import type { FileEntry } from './writeBatch';

const FOOTER = 48;
const MAGIC = Buffer.from('57fb808b247547db', 'hex');
/** Behind each block: how it is compressed, and its CRC. */
const TRAILER = 5;
/** Of an internal key, behind the user's: sequence number and type. */
const KEY_SUFFIX = 8;

interface Block {
  key: Buffer;
  value: Buffer;
}

/** @returns what is wrong with it, or null */
export function problemOfTable(file: Buffer): string | null {
  try {
    const { index, metaindex } = footerOf(file);
    for (const { value } of entriesOfBlock(readBlock(file, metaindex))) assertSound(file, new ByteReader(value));
    for (const { value } of entriesOfBlock(readBlock(file, index))) assertSound(file, new ByteReader(value));
    return null;
  } catch (error) {
    if (error instanceof MalformedError) return error.message;
    throw error;
  }
}

/** Entries of the blocks that are sound, in their order; none when the index is not. */
export function* entriesOfTable(file: Buffer): Generator<FileEntry> {
  for (const handle of orNone(() => entriesOfBlock(readBlock(file, footerOf(file).index)))) {
    for (const { key, value } of orNone(() => entriesOfBlock(readBlock(file, new ByteReader(handle.value))))) {
      const end = key.length - KEY_SUFFIX;
      if (end < 0) continue;
      yield {
        key: key.toString('utf8', 0, end),
        seq: readUint56(key, end + 1),
        value: key[end] === 1 ? value : undefined,
      };
    }
  }
}

function footerOf(file: Buffer): { index: ByteReader; metaindex: ByteReader } {
  const start = file.length - FOOTER;
  if (start < 0) throw new MalformedError(`it has ${file.length} bytes only`);
  if (!file.subarray(-MAGIC.length).equals(MAGIC)) throw new MalformedError('its end is not that of a table');
  const metaindex = new ByteReader(file.subarray(start));
  // One handle stands behind the other.
  const index = new ByteReader(file.subarray(start));
  index.varint();
  index.varint();
  return { index, metaindex };
}

/** @param handle is read on by one handle: offset and size */
function assertSound(file: Buffer, handle: ByteReader): { offset: number; end: number } {
  const offset = handle.varint();
  const end = offset + handle.varint();
  if (end + TRAILER > file.length) throw new MalformedError('a block leads beyond its end');
  if (file.readUInt32LE(end + 1) !== maskedCrc32c(file, offset, end + 1)) {
    throw new MalformedError(`the block at byte ${offset} fails its check`);
  }
  return { offset, end };
}

function readBlock(file: Buffer, handle: ByteReader): Buffer {
  const { offset, end } = assertSound(file, handle);
  const content = file.subarray(offset, end);
  const compression = file[end];
  if (compression === 0) return content;
  if (compression === 1) return decompressSnappy(content);
  throw new MalformedError(`the block at byte ${offset} has the unknown compression ${compression}`);
}

/** Keys are written without what they share with the key before. */
function entriesOfBlock(block: Buffer): Block[] {
  if (block.length < 4) throw new MalformedError('a block is too short');
  const restarts = block.readUInt32LE(block.length - 4);
  const end = block.length - 4 * (restarts + 1);
  if (end < 0) throw new MalformedError('a block is too short for its restarts');
  const reader = new ByteReader(block.subarray(0, end));
  const entries: Block[] = [];
  let key = Buffer.alloc(0);
  while (reader.left > 0) {
    const shared = reader.varint();
    const unshared = reader.varint();
    const valueLength = reader.varint();
    if (shared > key.length) throw new MalformedError('a key shares more than the one before it has');
    key = Buffer.concat([key.subarray(0, shared), reader.bytes(unshared)]);
    entries.push({ key, value: reader.bytes(valueLength) });
  }
  return entries;
}

function orNone(read: () => Block[]): Block[] {
  try {
    return read();
  } catch (error) {
    if (error instanceof MalformedError) return [];
    throw error;
  }
}

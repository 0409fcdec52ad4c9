/** Decompression of Snappy, in which LevelDB writes most of its blocks (github.com/google/snappy, format_description.txt). */
import { ByteReader, MalformedError } from './byteReader';

/** Far above the size of any block. */
const MAX_LENGTH = 256 * 1024 * 1024;

/** @throws MalformedError */
export function decompressSnappy(compressed: Buffer): Buffer {
  const reader = new ByteReader(compressed);
  const length = reader.varint();
  if (length > MAX_LENGTH) throw new MalformedError(`a block of ${length} bytes is not plausible`);
  const out = Buffer.alloc(length);
  let at = 0;
  while (reader.left > 0) {
    const tag = reader.byte();
    const upper = tag >>> 2;
    if ((tag & 3) === 0) {
      // A literal; lengths of more than 60 stand in the following one to four bytes.
      const size = (upper < 60 ? upper : littleEndian(reader, upper - 59)) + 1;
      if (at + size > length) throw new MalformedError('a literal leads beyond the end');
      at += reader.bytes(size).copy(out, at);
      continue;
    }
    const copy = copyOf(reader, tag);
    if (copy.offset === 0 || copy.offset > at || at + copy.size > length) {
      throw new MalformedError('a copy leads out of the block');
    }
    // It may overlap with what it makes, so byte by byte.
    for (let i = 0; i < copy.size; i++, at++) out[at] = out[at - copy.offset]!;
  }
  if (at !== length) throw new MalformedError(`${at} bytes came out where ${length} were said to`);
  return out;
}

function copyOf(reader: ByteReader, tag: number): { size: number; offset: number } {
  const upper = tag >>> 2;
  if ((tag & 3) === 1) return { size: (upper & 7) + 4, offset: (upper >>> 3) * 256 + reader.byte() };
  return { size: upper + 1, offset: littleEndian(reader, (tag & 3) === 2 ? 2 : 4) };
}

function littleEndian(reader: ByteReader, bytes: number): number {
  return reader.bytes(bytes).readUIntLE(0, bytes);
}

/** Reads LevelDB's numbers and strings one after the other (util/coding.h). Nothing is read beyond the end. */

/** What is read is not of the form that it should have. */
export class MalformedError extends Error {}

export class ByteReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  /** @throws MalformedError, as all that follow */
  bytes(length: number): Buffer {
    if (length > this.left) throw new MalformedError(`${length} bytes are said to follow where ${this.left} are left`);
    const start = this.#at;
    this.#at += length;
    return this.#bytes.subarray(start, this.#at);
  }

  byte(): number {
    if (this.#at === this.#bytes.length) throw new MalformedError('1 bytes are said to follow where 0 are left');
    const byte = this.#bytes[this.#at]!;
    this.#at += 1;
    return byte;
  }

  /** Seven bits a byte, the least first; at most 2^53. */
  varint(): number {
    let value = 0;
    let factor = 1;
    for (;;) {
      const byte = this.byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) break;
      factor *= 128;
    }
    if (value > Number.MAX_SAFE_INTEGER) throw new MalformedError('a number is out of its range');
    return value;
  }

  /** A length and so many bytes. */
  lengthPrefixed(): Buffer {
    return this.bytes(this.varint());
  }
}

/** Little-endian, as far as a double holds it exactly; LevelDB's sequence numbers have 56 bits. */
export function readUint56(bytes: Buffer, at: number): number {
  return bytes.readUIntLE(at, 6) + bytes[at + 6]! * 2 ** 48;
}

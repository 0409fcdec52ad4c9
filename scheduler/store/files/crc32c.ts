/**
 * CRC-32C (Castagnoli), by which LevelDB checks its blocks and log records; node:zlib has the other CRC-32 only.
 * Eight bytes a step ("slicing by 8", Kounavis and Berry, 2005).
 */

const POLYNOMIAL = 0x82f63b78;
/** LevelDB stores CRCs rotated and shifted by this, because it also takes CRCs of what holds CRCs (util/crc32c.h). */
const MASK_DELTA = 0xa282ead8;

/** TABLES[k * 256 + b]: byte b followed by k zero bytes. */
const TABLES = new Uint32Array(8 * 256);
for (let b = 0; b < 256; b++) {
  let crc = b;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ POLYNOMIAL;
  TABLES[b] = crc;
}
for (let i = 256; i < TABLES.length; i++) {
  const shorter = TABLES[i - 256]!;
  TABLES[i] = TABLES[shorter & 0xff]! ^ (shorter >>> 8);
}

/** Of `bytes` from `start` up to `end`, in the form in which LevelDB stores it. */
export function maskedCrc32c(bytes: Uint8Array, start: number, end: number): number {
  const t = TABLES;
  let crc = 0xffffffff;
  let i = start;
  for (; i + 8 <= end; i += 8) {
    const low = crc ^ (bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24));
    crc =
      t[1792 + (low & 0xff)]! ^
      t[1536 + ((low >>> 8) & 0xff)]! ^
      t[1280 + ((low >>> 16) & 0xff)]! ^
      t[1024 + (low >>> 24)]! ^
      t[768 + bytes[i + 4]!]! ^
      t[512 + bytes[i + 5]!]! ^
      t[256 + bytes[i + 6]!]! ^
      t[bytes[i + 7]!]!;
  }
  for (; i < end; i++) crc = t[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8);
  crc = ~crc;
  return (((crc >>> 15) | (crc << 17)) + MASK_DELTA) >>> 0;
}

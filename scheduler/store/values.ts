/**
 * How values are written: the CRC-32 of key and JSON as eight hex digits, then the JSON. It finds what was changed on
 * the disk, and a value that stands under another key than its own.
 */
import { crc32 } from 'node:zlib';

export const CHECK_LENGTH = 8;
/** Between the two, so that none can run over into the other. */
const SEPARATOR = '\n';
const HEX_DIGITS = '0123456789abcdef';
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

export function checkOf(key: string, json: string): number {
  return crc32(key + SEPARATOR + json);
}

export function encodeValue(check: number, json: string): string {
  return HEX[check >>> 24]! + HEX[(check >>> 16) & 0xff] + HEX[(check >>> 8) & 0xff] + HEX[check & 0xff] + json;
}

/**
 * @returns the JSON
 * @throws Error naming the key when it fails its check
 */
export function decodeValue(key: string, text: string): string {
  const json = text.slice(CHECK_LENGTH);
  if (text !== encodeValue(checkOf(key, json), json)) {
    throw new Error(`The store's value of ${key} is damaged: it fails its check`);
  }
  return json;
}

/** The same without the JSON. @returns its check, or null when it fails */
export function soundCheckOfText(key: string, text: string): number | null {
  const check = checkOf(key, text.slice(CHECK_LENGTH));
  return isWrittenAhead(check, text) && text.length > CHECK_LENGTH ? check : null;
}

/** As `text.startsWith(encodeValue(check, ''))` without a text made for that. */
function isWrittenAhead(check: number, text: string): boolean {
  for (let at = 0; at < CHECK_LENGTH; at++) {
    if (text.charCodeAt(at) !== HEX_DIGITS.charCodeAt((check >>> (28 - 4 * at)) & 15)) return false;
  }
  return true;
}

/** The same for a value as bytes. @returns its check, or null when it fails */
export function soundCheckOf(key: string, value: Buffer): number | null {
  const check = crc32(value.subarray(CHECK_LENGTH), crc32(key + SEPARATOR));
  return value.toString('latin1', 0, CHECK_LENGTH) === encodeValue(check, '') && value.length > CHECK_LENGTH
    ? check
    : null;
}

/** @returns its JSON, or null when it fails */
export function soundJsonOf(key: string, value: Buffer): string | null {
  return soundCheckOf(key, value) === null ? null : value.toString('utf8', CHECK_LENGTH);
}

'use strict';
/**
 * WebSocket frames (RFC 6455) as a server sends and reads them, without extensions. By hand, because a fleet sends and reads
 * ten thousand small ones a second: one buffer for many texts, and no stream objects for each connection.
 */
const { createHash } = require('node:crypto');

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const FINAL = 0x80;
const MASKED = 0x80;
const OPCODE = { text: 1, close: 8, ping: 9, pong: 10 };
const LENGTH_16 = 126;
const LENGTH_64 = 127;

/** What answers a client's `Sec-WebSocket-Key`. */
function acceptOf(key) {
  return createHash('sha1').update(`${key}${GUID}`).digest('base64');
}

/** Texts, each a message of its own, in one buffer. */
function encodeTexts(texts) {
  const lengths = texts.map((text) => Buffer.byteLength(text));
  const frames = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + headerLength(length) + length, 0));
  let at = 0;
  for (const [index, text] of texts.entries()) {
    at = writeHeader(frames, at, OPCODE.text, lengths[index]);
    at += frames.write(text, at);
  }
  return frames;
}

function encodePing() {
  return Buffer.from([FINAL | OPCODE.ping, 0]);
}

function encodePong(payload) {
  return Buffer.concat([Buffer.from([FINAL | OPCODE.pong, payload.length]), payload]);
}

function encodeClose(code, reason) {
  const text = Buffer.from(reason).subarray(0, 120);
  const frame = Buffer.allocUnsafe(4 + text.length);
  frame[0] = FINAL | OPCODE.close;
  frame[1] = 2 + text.length;
  frame.writeUInt16BE(code, 2);
  text.copy(frame, 4);
  return frame;
}

function headerLength(length) {
  return length < LENGTH_16 ? 2 : length < 2 ** 16 ? 4 : 10;
}

function writeHeader(frame, at, opcode, length) {
  frame[at] = FINAL | opcode;
  if (length < LENGTH_16) {
    frame[at + 1] = length;
    return at + 2;
  }
  if (length < 2 ** 16) {
    frame[at + 1] = LENGTH_16;
    return frame.writeUInt16BE(length, at + 2);
  }
  frame[at + 1] = LENGTH_64;
  return frame.writeBigUInt64BE(BigInt(length), at + 2);
}

/**
 * The first frame in `bytes`, which is unmasked in its place.
 *
 * @returns { opcode, payload, length }: how long it is with its header; null when it is not all there
 * @throws Error for one in pieces, or not masked: no client of ours sends such
 */
function decode(bytes) {
  if (bytes.length < 2) return null;
  const short = bytes[1] & ~MASKED;
  const extended = short === LENGTH_16 ? 2 : short === LENGTH_64 ? 8 : 0;
  const payloadAt = 2 + extended + 4;
  if (bytes.length < payloadAt) return null;
  if ((bytes[0] & FINAL) === 0 || (bytes[1] & MASKED) === 0) throw new Error('a frame in pieces, or not masked');
  const size = extended === 0 ? short : extended === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  const length = payloadAt + size;
  if (bytes.length < length) return null;
  const payload = bytes.subarray(payloadAt, length);
  for (let at = 0; at < size; at += 1) payload[at] ^= bytes[payloadAt - 4 + (at & 3)];
  return { opcode: bytes[0] & 0x0f, payload, length };
}

module.exports = { acceptOf, decode, encodeClose, encodePing, encodePong, encodeTexts, OPCODE };

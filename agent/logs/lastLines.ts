/** The end of one stream, as text: what a node's scheduler keeps of it in case the node is lost. */
import { TAIL_BYTES, TAIL_LINES } from '../../contract/agentApi';
import { type LogStream, logPath, openIfThere } from './directory';

const NEWLINE = 0x0a;
/** Further back than into the file before the newest it does not go. */
const FILES_READ = 2;

/**
 * @param numbers of the stream's files, rising
 * @returns at most 20 lines and 4 KiB; bytes that are no UTF-8 are replaced
 */
export async function readLastLines(directory: string, stream: LogStream, numbers: readonly number[]): Promise<string> {
  // One byte more tells whether the first line is whole.
  let leftBytes = TAIL_BYTES + 1;
  const parts: Buffer[] = [];
  for (const number of numbers.slice(-FILES_READ).reverse()) {
    const part = await readEnd(logPath(directory, stream, number), leftBytes);
    parts.unshift(part);
    leftBytes -= part.length;
    if (leftBytes === 0) break;
  }
  return lastLines(Buffer.concat(parts));
}

async function readEnd(path: string, bytes: number): Promise<Buffer> {
  const file = await openIfThere(path);
  if (file === null) return Buffer.alloc(0);
  try {
    const { size } = await file.stat();
    const position = Math.max(0, size - bytes);
    const length = Math.min(bytes, size);
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.allocUnsafe(length), position });
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/**
 * Pure.
 *
 * @param bytes the end of a stream; all of it where it is no longer than 4 KiB
 * @returns whole lines, save for the only one there is when it is longer than 4 KiB
 */
export function lastLines(bytes: Buffer): string {
  const end = bytes.length;
  let begin = Math.max(0, end - TAIL_BYTES);
  if (begin > 0 && bytes[begin - 1] !== NEWLINE) {
    const newline = bytes.indexOf(NEWLINE, begin);
    if (newline !== -1 && newline + 1 < end) begin = newline + 1;
    else while (begin < end && isContinuation(bytes[begin]!)) begin += 1;
  }
  // The newline at the very end closes the last line; every other one is the end of the line before.
  let lines = 0;
  for (let at = end - 2; at >= begin; at -= 1) {
    if (bytes[at] !== NEWLINE) continue;
    lines += 1;
    if (lines === TAIL_LINES) return bytes.toString('utf8', at + 1);
  }
  return bytes.toString('utf8', begin);
}

/** Of UTF-8: no character begins with it. */
function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}

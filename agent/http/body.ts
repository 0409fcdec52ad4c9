/** Reads the JSON body of a command within its limit. */
import type { IncomingMessage } from 'node:http';
import { MorchError } from '../../contract/errors';
import { parseJsonBody } from '../../contract/jsonBody';

/** After this much of a body that is too large, the connection is cut instead of read on. */
const DRAIN_AT_MOST_BYTES = 64 * 1024 ** 2;

const BODY_BYTES = 256 * 1024;
const BATCH_BODY_BYTES = 8 * 1024 ** 2;

/**
 * Reads one command, or a batch of them, which alone may be large.
 *
 * @throws MorchError NOT_JSON, BODY_TOO_LARGE, BAD_JSON, INVALID_INPUT
 */
export async function readCommand(request: IncomingMessage): Promise<{ value: unknown; isBatch: boolean }> {
  await refuseOtherMedia(request);
  const bytes = await readBytes(request, BATCH_BODY_BYTES);
  const value = parse(bytes);
  const isBatch = typeof value === 'object' && value !== null && 'instances' in value;
  if (bytes.length > BODY_BYTES && !isBatch) throw bodyTooLarge(BODY_BYTES);
  if (value instanceof MorchError) throw value;
  return { value, isBatch };
}

async function refuseOtherMedia(request: IncomingMessage): Promise<void> {
  const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase();
  const encoding = request.headers['content-encoding'] ?? 'identity';
  if (type === 'application/json' && encoding === 'identity') return;
  await drain(request, 0);
  const was =
    type === undefined ? 'has no Content-Type' : `is ${type}${encoding === 'identity' ? '' : `, ${encoding}`}`;
  throw new MorchError('NOT_JSON', `The body ${was}; send it as Content-Type: application/json, uncompressed.`);
}

async function readBytes(request: IncomingMessage, limitBytes: number): Promise<Buffer> {
  if (declaredBytes(request) > DRAIN_AT_MOST_BYTES) throw bodyTooLarge(limitBytes);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of chunksOf(request)) {
    bytes += chunk.length;
    if (bytes > limitBytes) {
      await drain(request, bytes);
      throw bodyTooLarge(limitBytes);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function declaredBytes({ headers }: IncomingMessage): number {
  return Number(headers['content-length'] ?? 0);
}

function bodyTooLarge(limitBytes: number): MorchError {
  return new MorchError(
    'BODY_TOO_LARGE',
    `The body is larger than ${limitBytes / 1024} KiB, the most that is taken here.`,
  );
}

/** @returns the value, or why it is refused: its size counts first */
function parse(bytes: Buffer): unknown {
  try {
    return parseJsonBody(bytes);
  } catch (error) {
    if (error instanceof MorchError) return error;
    throw error;
  }
}

/**
 * Reads the rest away: a client that is still sending would see a reset connection instead of the answer. Not of one that
 * says itself that it will send too much.
 */
async function drain(request: IncomingMessage, alreadyBytes: number): Promise<void> {
  if (declaredBytes(request) > DRAIN_AT_MOST_BYTES) return;
  let bytes = alreadyBytes;
  for await (const chunk of chunksOf(request)) {
    bytes += chunk.length;
    if (bytes > DRAIN_AT_MOST_BYTES) return;
  }
}

/** Leaving the loop early must not destroy the request: that closes the connection before the answer. */
function chunksOf(request: IncomingMessage): AsyncIterable<Buffer> {
  return request.iterator({ destroyOnReturn: false });
}

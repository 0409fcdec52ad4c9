/** Reads and checks a request's body before any handler sees it. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { z } from 'zod';
import { MorchError, parseInput } from '../../contract/errors';
import { parseJsonBody } from '../../contract/jsonBody';

export const MAX_BODY_BYTES = 256 * 1024;
/** A larger body is read to its end, so that the client gets to read the refusal; beyond this the connection is cut. */
const MAX_DRAIN_BYTES = 8 * 1024 * 1024;

/**
 * @throws MorchError BODY_TOO_LARGE; INVALID_INPUT when the client goes away or its framing is wrong
 */
export function readBody(req: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const refuse = () => {
      req.off('data', take).pause();
      reject(
        new MorchError('BODY_TOO_LARGE', `The body is larger than ${MAX_BODY_BYTES / 1024} KiB; nothing was done`),
      );
    };
    const take = (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MAX_BODY_BYTES) chunks.push(chunk);
      else chunks.length = 0;
      if (size > MAX_DRAIN_BYTES) refuse();
    };
    if (Number(req.headers['content-length'] ?? 0) > MAX_DRAIN_BYTES) return refuse();
    req.on('data', take);
    req.once('end', () => {
      if (size > MAX_BODY_BYTES) refuse();
      else resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks));
    });
    req.once('error', (cause) => {
      reject(new MorchError('INVALID_INPUT', 'The body broke off before its end', { cause }));
    });
  });
}

/**
 * @param schema of the route; a route without one takes no body, or an empty object
 * @throws MorchError NOT_JSON, BAD_JSON, INVALID_INPUT
 */
export function parseBody(schema: z.ZodType, bytes: Buffer, headers: IncomingHttpHeaders): unknown {
  const contentType = headers['content-type'];
  if (bytes.length === 0) {
    const empty = schema.safeParse({});
    if (empty.success) return empty.data;
    if (contentType !== undefined) assertJson(contentType);
    throw new MorchError('INVALID_INPUT', 'The request has no body; this route takes a JSON object', {
      errors: [{ pointer: '', message: 'is missing' }],
    });
  }
  assertJson(contentType);
  const encoding = headers['content-encoding'] ?? 'identity';
  if (encoding.toLowerCase() !== 'identity') {
    throw new MorchError('NOT_JSON', `The body's Content-Encoding is ${encoding}; send it as it is`);
  }
  return parseInput(schema, parseJsonBody(bytes));
}

// Trimmed before, so that no two of its runs of spaces may touch: a long one would be tried in all ways.
const JSON_IN_UTF8 = /^application\/json[ \t]*(?:;[ \t]*charset[ \t]*=[ \t]*"?utf-?8"?[ \t]*)?;?$/i;

function assertJson(contentType: string | undefined): void {
  if (contentType !== undefined && JSON_IN_UTF8.test(contentType.trim())) return;
  const is = contentType === undefined ? 'The body has no Content-Type' : `The body's Content-Type is ${contentType}`;
  throw new MorchError('NOT_JSON', `${is}; send application/json in UTF-8`);
}

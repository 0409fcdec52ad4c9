/** Reads and checks a request's body before any handler sees it. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { z } from 'zod';
import { jsonFault, MorchError, parseInput } from '../../contract/errors';

export const MAX_BODY_BYTES = 256 * 1024;
/** A larger body is read to its end, so that the client gets to read the refusal; beyond this the connection is cut. */
const MAX_DRAIN_BYTES = 8 * 1024 * 1024;

/**
 * @throws MorchError BODY_TOO_LARGE; INVALID_INPUT when the client goes away or its framing is wrong
 */
export async function readBody(req: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  const tooLarge = () =>
    new MorchError('BODY_TOO_LARGE', `The body is larger than ${MAX_BODY_BYTES / 1024} KiB; nothing was done`);
  if (Number(req.headers['content-length'] ?? 0) > MAX_DRAIN_BYTES) throw tooLarge();
  try {
    // Not `for await` with a throw inside: that would destroy the socket before the answer is written.
    const iterator = req.iterator({ destroyOnReturn: false });
    for await (const chunk of iterator as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size <= MAX_BODY_BYTES) chunks.push(chunk);
      else chunks.length = 0;
      if (size > MAX_DRAIN_BYTES) break;
    }
  } catch (cause) {
    throw new MorchError('INVALID_INPUT', 'The body broke off before its end', { cause });
  }
  if (size > MAX_BODY_BYTES) throw tooLarge();
  return Buffer.concat(chunks);
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
  return parseInput(schema, parseJson(bytes));
}

function assertJson(contentType: string | undefined): void {
  if (contentType !== undefined && /^application\/json\s*(;\s*charset\s*=\s*"?utf-?8"?\s*)?;?\s*$/i.test(contentType)) {
    return;
  }
  const is = contentType === undefined ? 'The body has no Content-Type' : `The body's Content-Type is ${contentType}`;
  throw new MorchError('NOT_JSON', `${is}; send application/json in UTF-8`);
}

function parseJson(bytes: Buffer): unknown {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new MorchError('BAD_JSON', 'The body is not UTF-8', { cause });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new MorchError('BAD_JSON', `The body is not JSON: ${jsonFault(cause)}`);
  }
  if (text.includes('__proto__') || text.includes('\\u005')) refuseProto(value);
  return value;
}

/** zod's records leave a key `__proto__` out without a word; here it is refused. Without recursion: bodies may be deep. */
function refuseProto(value: unknown): void {
  const open: { value: unknown; pointer: string }[] = [{ value, pointer: '' }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (typeof next.value !== 'object' || next.value === null) continue;
    if (Object.hasOwn(next.value, '__proto__')) {
      const pointer = `${next.pointer.slice(0, 1_000)}/__proto__`;
      throw new MorchError('INVALID_INPUT', `The body is not valid: ${pointer}: is not taken as a name`, {
        errors: [{ pointer, message: 'is not taken as a name' }],
      });
    }
    for (const [key, child] of Object.entries(next.value)) {
      if (typeof child === 'object' && child !== null) open.push({ value: child, pointer: `${next.pointer}/${key}` });
    }
  }
}

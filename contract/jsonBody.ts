/**
 * The JSON of a request's body, for the HTTP servers of scheduler and agent, before any schema sees it. Refuses what would
 * be changed or lost on its way to a program: a key `__proto__`, which zod's records leave out without a word, and half of a
 * surrogate pair, which UTF-8 has no bytes for.
 */
import { jsonFault, MorchError } from './errors';

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** @throws MorchError BAD_JSON; INVALID_INPUT for such a key or string */
export function parseJsonBody(bytes: Uint8Array): unknown {
  let text: string;
  try {
    text = UTF8.decode(bytes);
  } catch (cause) {
    throw new MorchError('BAD_JSON', 'The body is not UTF-8', { cause });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new MorchError('BAD_JSON', `The body is not JSON: ${jsonFault(cause)}`);
  }
  // Without an escape, a key is as it stands there, and every character is whole: the bytes were UTF-8.
  if (text.includes('__proto__') || text.includes('\\u')) refuseLossy(value);
  return value;
}

/** With this flag it matches halves of pairs only. */
const HALF_A_PAIR = /\p{Surrogate}/u;
const IS_HALF = 'holds half of a surrogate pair, which is no character';
const POINTER_LENGTH = 1_000;

/** Without recursion: bodies may be deep. */
function refuseLossy(whole: unknown): void {
  const open: { value: unknown; pointer: string }[] = [{ value: whole, pointer: '' }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { value, pointer } = next;
    if (typeof value === 'string' && HALF_A_PAIR.test(value)) throw refusal(pointer, IS_HALF);
    if (typeof value !== 'object' || value === null) continue;
    for (const [key, child] of Object.entries(value)) {
      const below = `${pointer.slice(0, POINTER_LENGTH)}/${key}`;
      if (key === '__proto__') throw refusal(below, 'is not taken as a name');
      if (HALF_A_PAIR.test(key)) throw refusal(below, IS_HALF);
      if (typeof child === 'string' || typeof child === 'object') open.push({ value: child, pointer: below });
    }
  }
}

function refusal(pointer: string, message: string): MorchError {
  return new MorchError('INVALID_INPUT', `The body is not valid: ${pointer}: ${message}`, {
    errors: [{ pointer, message }],
  });
}

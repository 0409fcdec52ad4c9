/** Pages of a list: the cursor tells after which key to go on, so that a page stays right while the list changes. */
import { MorchError } from '../contract/errors';
import type { Page } from './api';

/** Numbered slots in their order, whatever their number of digits. */
export const slotKey = (slot: string): string => (/^\d+$/.test(slot) ? slot.padStart(8, '0') : slot);

export function encodeCursor(after: string): string {
  return Buffer.from(`after:${after}`).toString('base64url');
}

export function decodeCursor(cursor: string): string {
  const text = Buffer.from(cursor, 'base64url').toString();
  if (text.startsWith('after:')) return text.slice('after:'.length);
  throw new MorchError('INVALID_INPUT', 'The cursor is not one that a list has answered. Leave it out to begin anew.', {
    errors: [{ pointer: '/cursor', message: 'is not a cursor of this server' }],
  });
}

export function seqOfCursor(cursor: string): number {
  const seq = Number(decodeCursor(cursor));
  return Number.isSafeInteger(seq) && seq >= 0 ? seq : 0;
}

/**
 * A page of what comes in order already.
 *
 * @param items from the one after the cursor's on, read as far as needed
 */
export function pageOf<T>(
  items: Iterable<T>,
  keyOf: (item: T) => string,
  limit: number,
): { items: T[]; nextCursor: string | null } {
  const shown: T[] = [];
  for (const item of items) {
    if (shown.length === limit) return { items: shown, nextCursor: encodeCursor(keyOf(shown.at(-1)!)) };
    shown.push(item);
  }
  return { items: shown, nextCursor: null };
}

/** Key after which a page begins; null: at the first. */
export function afterOf({ cursor }: Page): string | null {
  return cursor === undefined ? null : decodeCursor(cursor);
}

/** Items in the order of their keys, from the one after the cursor's. */
export function paginate<T>(
  items: T[],
  keyOf: (item: T) => string,
  page: Page,
): { items: T[]; nextCursor: string | null } {
  const after = afterOf(page);
  const sorted = items
    .map((item) => ({ key: keyOf(item), item }))
    .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  const rest = after === null ? sorted : sorted.filter(({ key }) => key > after);
  const shown = rest.slice(0, page.limit);
  const last = shown.at(-1);
  return {
    items: shown.map(({ item }) => item),
    nextCursor: rest.length > shown.length && last !== undefined ? encodeCursor(last.key) : null,
  };
}

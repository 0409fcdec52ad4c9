/** Reads the audit log for GET /audit: newest first, page by page, each from where the one before ended. */
import path from 'node:path';
import type { AuditLine } from '../../contract/audit';
import type { Page } from '../api';
import { decodeCursor, encodeCursor } from '../pages';
import { readLine } from './chain';
import { filesIn, firstSeqOf, linesBackwards } from './files';

const SHOWN_OF_UNREADABLE = 200;

/** @throws MorchError INVALID_INPUT for a cursor that is not ours */
export async function auditPage(
  directory: string,
  { limit, cursor }: Page,
): Promise<{ lines: AuditLine[]; nextCursor: string | null }> {
  const from = cursor === undefined ? null : placeOf(decodeCursor(cursor));
  const files = (await filesIn(directory)).reverse();
  const lines: AuditLine[] = [];
  for (const [at, file] of files.entries()) {
    const first = await nameOf(file);
    if (from !== null && first > from.first) continue;
    for await (const { text, start } of linesBackwards(file, from?.first === first ? from.end : null)) {
      lines.push(readLine(text)?.entry ?? { unreadable: text.slice(0, SHOWN_OF_UNREADABLE) });
      if (lines.length < limit) continue;
      const isLast = start === 0 && at === files.length - 1;
      return { lines, nextCursor: isLast ? null : encodeCursor(`${first}:${start}`) };
    }
  }
  return { lines, nextCursor: null };
}

/** Names a file, also when it is turned over meanwhile: the seq of its first line. */
async function nameOf(file: string): Promise<number> {
  const match = /^audit\.(\d{16})\.log$/.exec(path.basename(file));
  return match === null ? ((await firstSeqOf(file)) ?? Number.MAX_SAFE_INTEGER) : Number(match[1]);
}

function placeOf(text: string): { first: number; end: number } {
  const [first = 0, end = 0] = text.split(':').map((part) => (/^\d{1,16}$/.test(part) ? Number(part) : 0));
  return { first, end };
}

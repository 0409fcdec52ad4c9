/**
 * The audit log's files in its directory: `audit.log`, which is written, `audit.<seq of its first line>.log`, which are
 * full, and `audit.head`, which tells how far the log goes, so that an end that was cut off is missed.
 */
import { closeSync, constants, fsyncSync, openSync, writeSync } from 'node:fs';
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { type ChainEnd, readLine } from './chain';

const CHUNK_BYTES = 64 * 1024;
const NEWLINE = 10;
const HEAD = /^(\d{16}) ([0-9a-f]{64})\n$/;

export const currentOf = (directory: string): string => path.join(directory, 'audit.log');
export const headOf = (directory: string): string => path.join(directory, 'audit.head');
export const fullNameOf = (directory: string, firstSeq: number): string =>
  path.join(directory, `audit.${String(firstSeq).padStart(16, '0')}.log`);

/** All that are there, in the order of their lines. */
export async function filesIn(directory: string): Promise<string[]> {
  const names = await readdir(directory);
  const full = names.filter((name) => /^audit\.\d{16}\.log$/.test(name)).sort();
  const current = names.includes('audit.log') ? ['audit.log'] : [];
  return [...full, ...current].map((name) => path.join(directory, name));
}

/** @returns null when it is not there, or damaged */
export async function readHead(directory: string): Promise<ChainEnd | null> {
  const file = await open(headOf(directory), 'r').catch(nullIfMissing);
  if (file === null) return null;
  try {
    const match = HEAD.exec((await file.readFile()).toString());
    return match === null ? null : { seq: Number(match[1]), hash: match[2]! };
  } finally {
    await file.close();
  }
}

/** In place, so that a full disk does not matter. @param sync so that a loss of power does not take it */
export function writeHead(directory: string, { seq, hash }: ChainEnd, { sync = false } = {}): void {
  const file = openSync(headOf(directory), constants.O_WRONLY | constants.O_CREAT, 0o600);
  try {
    writeSync(file, `${String(seq).padStart(16, '0')} ${hash}\n`, 0);
    if (sync) fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

export interface FileLine {
  text: string;
  /** Of its first byte. */
  start: number;
}

/**
 * A file's lines from the last that has an end before `end` on backwards; what follows on it is left out.
 *
 * @param end in bytes; null: of the file
 */
export async function* linesBackwards(file: string, end: number | null): AsyncGenerator<FileLine> {
  const handle = await open(file, 'r');
  try {
    let at = Math.min(end ?? Number.POSITIVE_INFINITY, (await handle.stat()).size);
    /** From `at` on, up to and with the end of the last line that is not told. */
    let rest = Buffer.alloc(0);
    let isWhole = false;
    while (at > 0) {
      const length = Math.min(CHUNK_BYTES, at);
      at -= length;
      rest = Buffer.concat([await readAt(handle, at, length), rest]);
      if (!isWhole) {
        const lastEnd = rest.lastIndexOf(NEWLINE);
        if (lastEnd === -1) continue;
        rest = rest.subarray(0, lastEnd + 1);
        isWhole = true;
      }
      for (;;) {
        const before = rest.length < 2 ? -1 : rest.lastIndexOf(NEWLINE, rest.length - 2);
        if (before === -1) break;
        yield { text: rest.toString('utf8', before + 1, rest.length - 1), start: at + before + 1 };
        rest = rest.subarray(0, before + 1);
      }
    }
    if (isWhole && rest.length > 0) yield { text: rest.toString('utf8', 0, rest.length - 1), start: 0 };
  } finally {
    await handle.close();
  }
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}

export interface LogEnd {
  /** Null: the log has no line, or its last one is not as it was written. */
  end: ChainEnd | null;
  /** Of `audit.log`: where its last whole line ends; 0 when it is not there. */
  wholeBytes: number;
  /** What follows on it, of a line that was never finished. */
  tornBytes: number;
}

/** Where the log goes on, after whatever has happened to it. */
export async function findEnd(directory: string): Promise<LogEnd> {
  const current = currentOf(directory);
  const size = await stat(current).then((found) => found.size, zeroIfMissing);
  let wholeBytes = 0;
  for (const file of (await filesIn(directory)).reverse()) {
    for await (const { text, start } of linesBackwards(file, null)) {
      if (file === current) wholeBytes = start + Buffer.byteLength(text) + 1;
      const line = readLine(text);
      const end = line?.isWhole ? { seq: line.entry.seq, hash: line.entry.hash } : null;
      return { end, wholeBytes, tornBytes: size - wholeBytes };
    }
  }
  return { end: null, wholeBytes, tornBytes: size };
}

/** Seq of its first line; null when there is none, or it is not readable. */
export async function firstSeqOf(file: string): Promise<number | null> {
  const handle = await open(file, 'r').catch(nullIfMissing);
  if (handle === null) return null;
  try {
    const head = (await readAt(handle, 0, 64)).toString();
    const match = /^\{"seq":(\d{1,16}),/.exec(head);
    return match === null ? null : Number(match[1]);
  } finally {
    await handle.close();
  }
}

export function nullIfMissing(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}

function zeroIfMissing(error: NodeJS.ErrnoException): number {
  nullIfMissing(error);
  return 0;
}

/** Reads an instance's output: all kept runs, the last lines of them, and what is still being written. */
import { open } from 'node:fs/promises';
import type { LogFile, LogStream } from './logFiles';

const BLOCK_BYTES = 64 * 1024;
const POLL_MS = 100;
const NEWLINE = 0x0a;

export interface LogRequest {
  /** The files there are now, oldest run first, stdout before stderr. */
  list(): Promise<LogFile[]>;
  stream: LogStream | 'all';
  /** The last lines of the whole answer; absent: all. */
  tail?: number | undefined;
  follow: boolean;
  /** False once nothing more can be written; asked before a last look. */
  mayGrow(): boolean;
  /** The reader has left. */
  signal: AbortSignal;
}

/** Bytes as written, in the order of the files, and while following as they come. */
export async function* readLogs(request: LogRequest): AsyncGenerator<Buffer> {
  /** How far each file has been given out. */
  const offsets = new Map<string, number>();
  if (request.tail !== undefined) {
    for (const [path, offset] of await findTail(await listWanted(request), request.tail)) offsets.set(path, offset);
  }
  for (;;) {
    const last = !request.follow || !request.mayGrow();
    for (const { path } of await listWanted(request)) {
      for await (const block of readFrom(path, offsets.get(path) ?? 0)) {
        offsets.set(path, (offsets.get(path) ?? 0) + block.length);
        yield block;
        if (request.signal.aborted) return;
      }
    }
    if (last || request.signal.aborted) return;
    await pause(request.signal);
  }
}

async function listWanted({ list, stream }: LogRequest): Promise<LogFile[]> {
  return (await list()).filter((file) => stream === 'all' || file.stream === stream);
}

/** To the end the file has now; nothing for a file that is gone. */
async function* readFrom(path: string, offset: number): AsyncGenerator<Buffer> {
  const file = await openIfThere(path);
  if (file === null) return;
  try {
    let at = offset;
    const { size } = await file.stat();
    while (at < size) {
      const { buffer, bytesRead } = await file.read({
        buffer: Buffer.allocUnsafe(Math.min(BLOCK_BYTES, size - at)),
        position: at,
      });
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

/**
 * Where the last `lines` lines of the files, taken as one text, begin; read backwards, no further than needed.
 *
 * @returns the offset to begin at for each file
 */
export async function findTail(files: readonly LogFile[], lines: number): Promise<Map<string, number>> {
  const offsets = new Map<string, number>();
  let wanted = lines;
  /** A newline at the very end closes the last line and does not begin another. */
  let atVeryEnd = true;
  for (const { path } of files.toReversed()) {
    const file = await openIfThere(path);
    if (file === null) continue;
    try {
      let end = (await file.stat()).size;
      if (wanted === 0) {
        offsets.set(path, end);
        continue;
      }
      offsets.set(path, 0);
      while (end > 0 && wanted > 0) {
        const begin = Math.max(0, end - BLOCK_BYTES);
        const { buffer, bytesRead } = await file.read({ buffer: Buffer.allocUnsafe(end - begin), position: begin });
        let at = bytesRead;
        if (atVeryEnd && buffer[at - 1] === NEWLINE) at -= 1;
        if (bytesRead > 0) atVeryEnd = false;
        while (wanted > 0) {
          at = at === 0 ? -1 : buffer.lastIndexOf(NEWLINE, at - 1);
          if (at === -1) break;
          wanted -= 1;
          if (wanted === 0) offsets.set(path, begin + at + 1);
        }
        end = begin;
      }
    } finally {
      await file.close();
    }
  }
  return offsets;
}

async function openIfThere(path: string) {
  try {
    return await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null; // its run is no longer kept
    throw error;
  }
}

function pause(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, POLL_MS);
    signal.addEventListener('abort', done);
  });
}

/**
 * The file that `morch backup` writes and `morch restore` reads, and that GET /backup answers: lines of JSON, the header,
 * one `[key, value]` for each record, the trailer. Read as a stream, so that its size does not matter.
 */
import { z } from 'zod';
import { MorchError } from './errors';

export const BACKUP_MEDIA = 'application/x-ndjson';
export const BACKUP_VERSION = 1;

export const backupHeaderSchema = z.object({
  format: z.literal('morch-backup'),
  /** Of this form of file. */
  version: z.int(),
  /** Layout of the records. */
  schema: z.int(),
  clusterId: z.string(),
  epoch: z.int(),
  /** Number of the last batch of changes that is in it. */
  seq: z.int(),
  createdAt: z.string(),
});
export type BackupHeader = z.infer<typeof backupHeaderSchema>;

export const backupTrailerSchema = z.object({
  records: z.int(),
  /** Of all bytes before this line, in hex. */
  sha256: z.string(),
});
export type BackupTrailer = z.infer<typeof backupTrailerSchema>;

/** As node:crypto makes them; given, because this directory imports nothing of Node. */
export interface Sha256 {
  update(bytes: Uint8Array): unknown;
  digest(encoding: 'hex'): string;
}

const NEWLINE = 10;
const OBJECT = '{'.charCodeAt(0);
/** Far above any record; what is longer is no backup. */
const LONGEST_LINE = 256 * 1024 * 1024;

/** Takes a backup apart, however it is cut into chunks, and checks it. */
export class BackupReader {
  readonly #hash: Sha256;
  #header: BackupHeader | undefined;
  #trailer: BackupTrailer | undefined;
  #records = 0;
  /** Pieces of a line whose end has not come. */
  #parts: Uint8Array[] = [];
  #partsLength = 0;

  constructor(hash: Sha256) {
    this.#hash = hash;
  }

  /** As soon as its line has been read. */
  get header(): BackupHeader | undefined {
    return this.#header;
  }

  /**
   * @returns the lines of records that are whole now
   * @throws MorchError INVALID_INPUT when it is not a backup, or one of a later version
   */
  push(chunk: Uint8Array): Uint8Array[] {
    const lines: Uint8Array[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      const line = this.#join(chunk.subarray(start, end + 1));
      if (this.#take(line)) lines.push(line);
      start = end + 1;
    }
    const rest = chunk.subarray(start);
    if (rest.length > 0) this.#parts.push(rest.slice());
    this.#partsLength += rest.length;
    if (this.#partsLength > LONGEST_LINE) throw notABackup('a line of it has no end');
    return lines;
  }

  /**
   * To be called when all has been pushed.
   * @throws MorchError INVALID_INPUT when it is cut off or was altered
   */
  end(): { header: BackupHeader; trailer: BackupTrailer } {
    if (this.#header === undefined) throw notABackup('it has no first line');
    if (this.#trailer === undefined || this.#partsLength > 0) {
      throw new MorchError(
        'INVALID_INPUT',
        `The backup is cut off: it ends after ${this.#records} records, without its last line.`,
      );
    }
    return { header: this.#header, trailer: this.#trailer };
  }

  #join(end: Uint8Array): Uint8Array {
    if (this.#parts.length === 0) return end;
    const line = new Uint8Array(this.#partsLength + end.length);
    let at = 0;
    for (const part of [...this.#parts, end]) {
      line.set(part, at);
      at += part.length;
    }
    this.#parts = [];
    this.#partsLength = 0;
    return line;
  }

  /** @returns whether it is a record */
  #take(line: Uint8Array): boolean {
    if (this.#trailer !== undefined) throw notABackup('something follows on its last line');
    if (this.#header !== undefined && line[0] === OBJECT) {
      this.#trailer = this.#checkedTrailer(line);
      return false;
    }
    this.#hash.update(line);
    const isRecord = this.#header !== undefined;
    if (isRecord) this.#records += 1;
    else this.#header = parseHeader(line);
    return isRecord;
  }

  #checkedTrailer(line: Uint8Array): BackupTrailer {
    const trailer = backupTrailerSchema.safeParse(parseLine(line));
    if (!trailer.success) throw notABackup('its last line is not that of one');
    const { records, sha256 } = trailer.data;
    if (sha256 === this.#hash.digest('hex') && records === this.#records) return trailer.data;
    throw new MorchError(
      'INVALID_INPUT',
      'The backup was altered or damaged: its checksum is not that of its content.',
    );
  }
}

function parseHeader(line: Uint8Array): BackupHeader {
  const header = backupHeaderSchema.safeParse(parseLine(line));
  if (!header.success) throw notABackup('its first line is not that of one');
  if (header.data.version <= BACKUP_VERSION) return header.data;
  throw new MorchError(
    'INVALID_INPUT',
    `The backup was written by a later version of morch (format ${header.data.version}, this one knows ${BACKUP_VERSION}). Restore it with that version.`,
  );
}

function parseLine(line: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(line));
  } catch {
    return undefined;
  }
}

function notABackup(why: string): MorchError {
  return new MorchError('INVALID_INPUT', `This is not a whole backup of morch: ${why}.`);
}

/**
 * Writes log files as a shim does (docs/shim.md, "Log files"), with times that the test gives. It stands in for the shim
 * where a test needs certain times, damage, or a state between two writes.
 */
import { appendFileSync, existsSync, mkdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { indexPath, type LogStream, logPath } from '../../agent/logs/directory';
import { ENTRY_BYTES, type IndexEntry } from '../../agent/logs/timeIndex';

export function entryBytes({ timeUs, offset, droppedBytes, generation, run }: IndexEntry): Buffer {
  const entry = Buffer.alloc(ENTRY_BYTES);
  entry.writeBigUInt64LE(BigInt(timeUs), 0);
  entry.writeBigUInt64LE(BigInt(offset), 8);
  entry.writeBigUInt64LE(BigInt(droppedBytes), 16);
  entry.writeUInt32LE(generation, 24);
  entry.writeUInt32LE(run, 28);
  return entry;
}

interface StreamState {
  number: number;
  /** Of the last entry; -1: one is due. */
  entryUs: number;
  dropped: number;
  /** The other stream was written since the last entry. */
  interrupted: boolean;
}

export class LogWriter {
  readonly #streams: Record<LogStream, StreamState> = {
    stdout: { number: 1, entryUs: -1, dropped: 0, interrupted: false },
    stderr: { number: 1, entryUs: -1, dropped: 0, interrupted: false },
  };

  constructor(
    readonly directory: string,
    private readonly limits = { maxBytes: 1_000_000, files: 10 },
    private generation = 1,
    private run = 1,
  ) {
    mkdirSync(directory, { recursive: true });
    this.#open('stdout');
    this.#open('stderr');
  }

  nextRun(generation = this.generation, run = this.run + 1): void {
    [this.generation, this.run] = [generation, run];
    for (const stream of ['stdout', 'stderr'] as const) this.#streams[stream].entryUs = -1;
  }

  /** One piece as it was read from the program at that time. */
  write(stream: LogStream, text: string | Buffer, timeUs: number): void {
    const bytes = Buffer.from(text as string);
    const state = this.#streams[stream];
    const sizes = [logPath, indexPath].map((path) => statSync(path(this.directory, stream, state.number)).size);
    if (sizes[0]! > 0 && sizes[0]! + sizes[1]! + bytes.length + ENTRY_BYTES > this.limits.maxBytes)
      this.#rotate(stream);
    const isDue =
      state.entryUs === -1 ||
      state.dropped > 0 ||
      timeUs - state.entryUs >= 100_000 ||
      (state.interrupted && timeUs - state.entryUs >= 1_000);
    if (isDue) {
      const offset = statSync(logPath(this.directory, stream, state.number)).size;
      const { generation, run } = this;
      const entry = entryBytes({ timeUs, offset, droppedBytes: state.dropped, generation, run });
      appendFileSync(indexPath(this.directory, stream, state.number), entry);
      Object.assign(state, { entryUs: timeUs, dropped: 0, interrupted: false });
    }
    const path = logPath(this.directory, stream, state.number);
    appendFileSync(path, bytes);
    utimesSync(path, timeUs / 1e6, timeUs / 1e6);
    this.#streams[stream === 'stdout' ? 'stderr' : 'stdout'].interrupted = true;
  }

  /** Bytes that could not be written. */
  drop(stream: LogStream, bytes: number): void {
    this.#streams[stream].dropped += bytes;
  }

  #rotate(stream: LogStream): void {
    const state = this.#streams[stream];
    state.number += 1;
    state.entryUs = -1;
    this.#open(stream);
    const old = state.number - this.limits.files;
    for (const path of [logPath, indexPath]) rmSync(path(this.directory, stream, old), { force: true });
  }

  #open(stream: LogStream): void {
    for (const path of [indexPath, logPath]) {
      const name = path(this.directory, stream, this.#streams[stream].number);
      if (!existsSync(name)) writeFileSync(name, '');
    }
  }
}

/** Reads what the workloads write of themselves (test/fixtures/witness.c), each file on from where it was read last. */
import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { nowMs } from './clock';
import type { Trace } from './history';

const READ_BYTES = 64 * 1024;
const SILENT_AFTER_MS = 3_000;
const SILENT_SHARE = 0.5;

interface Source {
  path: string;
  offset: number;
  /** The beginning of a line whose end was not there yet. */
  rest: string;
  trace: Trace | null;
  /** Not before: the longer it has been silent, the less often it is looked at. */
  nextLookMs: number;
}

export class Testimony {
  readonly #sources = new Map<string, Source>();
  readonly #buffer = Buffer.alloc(READ_BYTES);

  constructor(readonly directory: string) {}

  /**
   * What has been written so far. The traces are the same objects every time, brought up to date: but for what has been silent
   * for long, which is looked at now and then, or if it has to be complete.
   */
  read({ complete = false } = {}): Trace[] {
    for (const name of readdirSync(this.directory)) {
      if (!this.#sources.has(name))
        this.#sources.set(name, { path: join(this.directory, name), offset: 0, rest: '', trace: null, nextLookMs: 0 });
    }
    const traces: Trace[] = [];
    const atMs = nowMs();
    for (const source of this.#sources.values()) {
      if (source.trace?.exit == null && (complete || atMs >= source.nextLookMs)) {
        this.#readOn(source);
        source.nextLookMs = atMs + SILENT_SHARE * Math.max(0, atMs - (source.trace?.aliveMs ?? atMs) - SILENT_AFTER_MS);
      }
      if (source.trace !== null) traces.push(source.trace);
    }
    return traces;
  }

  #readOn(source: Source): void {
    const file = openSync(source.path, 'r');
    try {
      for (;;) {
        const size = readSync(file, this.#buffer, 0, READ_BYTES, source.offset);
        if (size === 0) return;
        source.offset += size;
        const lines = (source.rest + this.#buffer.toString('latin1', 0, size)).split('\n');
        source.rest = lines.pop()!;
        for (const line of lines) take(source, line);
      }
    } finally {
      closeSync(file);
    }
  }
}

/** @throws Error for a line that no witness writes */
function take(source: Source, line: string): void {
  const [what, time, ...more] = line.split(' ');
  const atMs = Number(time);
  if (what === 'start') source.trace = traceOf(atMs, more);
  const { trace } = source;
  if (trace === null || Number.isNaN(atMs)) throw new Error(`${source.path}: ${JSON.stringify(line)}`);
  trace.aliveMs = atMs;
  if (what === 'told') trace.toldMs = atMs;
  else if (what === 'exit') trace.exit = { atMs, code: Number(more[0]) };
}

function traceOf(startMs: number, [tag, instance, generation, run, node, pid, role]: string[]): Trace {
  return {
    tag: tag!,
    instance: instance!,
    generation: Number(generation),
    run: Number(run),
    node: node!,
    pid: Number(pid),
    role: role as Trace['role'],
    startMs,
    aliveMs: startMs,
    toldMs: null,
    exit: null,
  };
}

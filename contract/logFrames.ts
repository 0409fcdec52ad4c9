/**
 * How an agent tells a scheduler output together with where it is in the files, so that after a break the reading
 * goes on with the next byte: with `frames` the answer of an agent's log route is frames, each a head of one line,
 * `<bytes> <position>\n`, and so many bytes. The position is the one after them; given as `from`, it continues there.
 */
import { z } from 'zod';

/** A place in a stream's files: just before byte `offset` of file `number`. 0:0 is before everything. */
export interface StreamPosition {
  number: number;
  offset: number;
}

export interface LogPosition {
  stdout: StreamPosition;
  stderr: StreamPosition;
}

const POSITION = /^(\d{1,15}):(\d{1,15}),(\d{1,15}):(\d{1,15})$/;

/** `3:4096,1:0`: stdout, stderr. */
export function formatLogPosition({ stdout, stderr }: LogPosition): string {
  return `${stdout.number}:${stdout.offset},${stderr.number}:${stderr.offset}`;
}

export const logPositionParameter = z
  .string()
  .regex(POSITION, 'must be a position as a frame told it, such as 3:4096,1:0')
  .transform((text): LogPosition => {
    const [a = 0, b = 0, c = 0, d = 0] = (POSITION.exec(text) ?? []).slice(1).map(Number);
    return { stdout: { number: a, offset: b }, stderr: { number: c, offset: d } };
  });

export const LOG_FRAMES_MEDIA = 'application/vnd.morch.log-frames';
const LONGEST_HEAD = 100;

export function frameHead(bytes: number, position: LogPosition): string {
  return `${bytes} ${formatLogPosition(position)}\n`;
}

export interface LogFrame {
  bytes: Buffer;
  /** As `from` takes it. */
  position: string;
}

/** Takes the answer apart, however it is cut. */
export class FrameReader {
  #pending: Buffer = Buffer.alloc(0);

  /**
   * @returns the frames that are whole now
   * @throws Error for what is not a frame
   */
  push(chunk: Buffer): LogFrame[] {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    const frames: LogFrame[] = [];
    for (;;) {
      const end = this.#pending.indexOf(10);
      const head = this.#pending.toString('latin1', 0, end === -1 ? LONGEST_HEAD : Math.min(end, LONGEST_HEAD));
      if (end === -1 && this.#pending.length < LONGEST_HEAD) return frames;
      const match = /^(\d{1,9}) (\d+:\d+,\d+:\d+)$/.exec(head);
      if (match === null) throw new Error(`not the head of a frame of log: ${JSON.stringify(head)}`);
      const next = end + 1 + Number(match[1]);
      if (this.#pending.length < next) return frames;
      frames.push({ bytes: this.#pending.subarray(end + 1, next), position: match[2]! });
      this.#pending = this.#pending.subarray(next);
    }
  }
}

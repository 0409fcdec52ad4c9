/** Puts the name of its instance before each line of a log that is shown together with others. */

const CUT_BYTES = 64 * 1024;
const NEWLINE = Buffer.from('\n');

/** A line is held back until it is whole, so that lines of several instances do not mix; one of 64 KiB is cut. */
export class LinePrefixer {
  readonly #prefix: Buffer;
  #partial: Buffer[] = [];
  #partialBytes = 0;

  constructor(instanceId: string) {
    this.#prefix = Buffer.from(`${instanceId} `);
  }

  /** @returns the lines that are whole now */
  push(chunk: Buffer): Buffer {
    const out: Buffer[] = [];
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      out.push(this.#prefix, ...this.#partial, chunk.subarray(start, end + 1));
      this.#dropPartial();
      start = end + 1;
    }
    if (start < chunk.length) {
      // A copy: the chunk would be kept alive whole by its last few bytes.
      this.#partial.push(Buffer.from(chunk.subarray(start)));
      this.#partialBytes += chunk.length - start;
    }
    if (this.#partialBytes >= CUT_BYTES) out.push(this.end());
    return Buffer.concat(out);
  }

  /** @returns what is left of a last line, ended */
  end(): Buffer {
    if (this.#partialBytes === 0) return Buffer.alloc(0);
    const line = Buffer.concat([this.#prefix, ...this.#partial, NEWLINE]);
    this.#dropPartial();
    return line;
  }

  #dropPartial(): void {
    this.#partial = [];
    this.#partialBytes = 0;
  }
}

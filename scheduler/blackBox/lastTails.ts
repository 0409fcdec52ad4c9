/** The last lines of instances, as their agents told them last: in memory, under a cap. */

export interface Tail {
  run: number;
  stdout: string;
  stderr: string;
  /** When it came in. */
  at: string;
}

/** Of all together; then the one that was told longest ago goes. */
export const TAILS_CAP_BYTES = 64 * 2 ** 20;
/** What an entry costs beyond its characters. */
const ENTRY_BYTES = 256;

export class LastTails {
  /** By generation, the one told longest ago first. */
  readonly #tails = new Map<string, Tail>();
  #bytes = 0;

  constructor(private readonly capBytes = TAILS_CAP_BYTES) {}

  /** What is held, counted as if every character took two bytes: the most they take. */
  get bytes(): number {
    return this.#bytes;
  }

  set(key: string, tail: Tail): void {
    this.#remove(key);
    this.#tails.set(key, tail);
    this.#bytes += bytesOf(key, tail);
    for (const oldest of this.#tails.keys()) {
      if (this.#bytes <= this.capBytes) return;
      this.#remove(oldest);
    }
  }

  get(key: string): Tail | undefined {
    return this.#tails.get(key);
  }

  #remove(key: string): void {
    const tail = this.#tails.get(key);
    if (tail === undefined) return;
    this.#tails.delete(key);
    this.#bytes -= bytesOf(key, tail);
  }
}

function bytesOf(key: string, { stdout, stderr }: Tail): number {
  return ENTRY_BYTES + 2 * (key.length + stdout.length + stderr.length);
}

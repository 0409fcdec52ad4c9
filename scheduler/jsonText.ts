/** An answer that is written as JSON already: of a list, from lines that are kept. */

/** JSON of a `T`. */
export class JsonText<T> {
  declare readonly of: T;
  readonly bytes: Buffer;

  constructor(text: string) {
    this.bytes = Buffer.from(text);
  }
}

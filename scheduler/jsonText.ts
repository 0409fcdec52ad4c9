/** An answer that is written as JSON already, from pieces that are kept or that would be slow to put together as an object. */

/** JSON of a `T`. */
export class JsonText<T> {
  declare readonly of: T;

  /** @param content bytes where it is answered again and again, else the text, which goes out in one piece with the header */
  constructor(readonly content: string | Buffer) {}
}

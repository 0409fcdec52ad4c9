/** An answer that is written as JSON already: of a list, from lines that are kept. */

/** JSON of a `T`. */
export class JsonText<T> {
  declare readonly of: T;
  constructor(readonly text: string) {}
}

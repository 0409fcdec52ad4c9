/**
 * Which generations had their records dropped in the present session: the scheduler sends no start of one of them any more,
 * but somebody who has heard it may, word for word. In memory only, and of this session only: a start that names another
 * session is refused for that. Used by supervisor.ts.
 */

import { logOwnerKey } from './logs/files';
import type { GenerationId } from './records';

/** Of (uid, slot); beyond it those forgotten first are no longer remembered. About 10 MB. */
const MOST = 65_536;

export class Forgotten {
  /** By `logOwnerKey`, in the order they came. */
  readonly #latest = new Map<string, number>();
  #session: object | null = null;

  /** @param session in which it was forgotten; null: in none, so that no start of it is taken for another reason */
  add(id: GenerationId, session: object | null): void {
    this.#turnTo(session);
    if (session === null) return;
    const owner = logOwnerKey(id);
    const latest = Math.max(id.generation, this.#latest.get(owner) ?? 0);
    this.#latest.delete(owner);
    this.#latest.set(owner, latest);
    if (this.#latest.size > MOST) this.#latest.delete(this.#latest.keys().next().value!);
  }

  /** @returns the latest of its (uid, slot) that was forgotten in that session, if the id is not past it */
  coverOf(id: GenerationId, session: object | null): number | null {
    this.#turnTo(session);
    const latest = this.#latest.get(logOwnerKey(id));
    return latest !== undefined && latest >= id.generation ? latest : null;
  }

  #turnTo(session: object | null): void {
    if (session === this.#session) return;
    this.#session = session;
    this.#latest.clear();
  }
}

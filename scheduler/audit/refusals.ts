/**
 * Requests that were not let in, for the audit log: the first of a kind at once, more of it within a minute as one line with
 * their number, so that nobody can fill the disk from outside.
 */
import type { AuditDraft } from './chain';

const WINDOW_MS = 60_000;
/** Kinds told apart in a window; what comes beyond them is counted together. */
const KINDS = 256;

interface Repeated {
  draft: AuditDraft;
  more: number;
}

export class Refusals {
  private readonly kinds = new Map<string, Repeated>();
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly note: (draft: AuditDraft) => void) {
    this.timer = setInterval(() => this.tell(), WINDOW_MS).unref();
  }

  refused(draft: AuditDraft): void {
    const own = JSON.stringify([draft.from, draft.who.id, draft.result?.status]);
    const kind = this.kinds.has(own) || this.kinds.size < KINDS ? own : '';
    const known = this.kinds.get(kind);
    if (known === undefined) {
      this.kinds.set(kind, { draft, more: 0 });
      this.note(draft);
    } else {
      known.more += 1;
      known.draft = draft;
    }
  }

  close(): void {
    clearInterval(this.timer);
    this.tell();
  }

  private tell(): void {
    for (const [kind, { draft, more }] of this.kinds) {
      const alike = kind === '' ? 'of many origins' : 'like it';
      if (more > 0) this.note({ ...draft, what: `the last of ${more} more ${alike} within ${WINDOW_MS / 1_000} s` });
    }
    this.kinds.clear();
  }
}

/** What the HTTP layer tells the audit log: a change before and after its effect, and a request that was not let in. */
import type { AuditLine, AuditWho } from '../../contract/audit';
import type { Caller } from '../access/guard';
import type { Page } from '../api';
import type { AuditDraft } from './chain';
import type { AuditLog } from './log';
import { auditPage } from './page';
import { Refusals } from './refusals';

export interface Asked {
  caller: Caller;
  from: string | null;
  method: string;
  /** Without its query, which strangers may fill with anything. */
  path: string;
  what: string | null;
}

export interface Outcome {
  status: number;
  code?: string | undefined;
  /** What the answer tells of it. */
  what?: string | null;
}

export class AuditTrail {
  private readonly refusals: Refusals;

  constructor(private readonly log: AuditLog) {
    this.refusals = new Refusals((draft) => log.note(draft));
  }

  /**
   * Resolves when the change may be made.
   *
   * @returns tells what came of it
   * @throws MorchError AUDIT_UNWRITABLE
   */
  async begin(asked: Asked): Promise<(outcome: Outcome) => void> {
    const draft = draftOf(asked);
    const of = await this.log.record(draft);
    const { who, from, method, path } = draft;
    return ({ status, code, what = null }) => {
      const result = code === undefined ? { status, of } : { status, code, of };
      this.log.note({ at: new Date().toISOString(), who, from, method, path, what, result });
    };
  }

  refused(asked: Asked, { status, code }: Outcome): void {
    this.refusals.refused({ ...draftOf(asked), result: { status, ...(code === undefined ? {} : { code }) } });
  }

  page(page: Page): Promise<{ lines: AuditLine[]; nextCursor: string | null }> {
    return auditPage(this.log.directory, page);
  }

  async close(): Promise<void> {
    this.refusals.close();
    await this.log.close();
  }
}

function draftOf({ caller, from, method, path, what }: Asked): AuditDraft {
  return { at: new Date().toISOString(), who: whoOf(caller), from, method, path, what };
}

function whoOf({ kind, id, name, role }: Caller): AuditWho {
  return { kind, id: id === '' ? null : id, name: name === '' ? null : name, role };
}

/**
 * Lines of the audit log and the chain that they form: each is a JSON object whose last field is the SHA-256 of the hash
 * before and the line as it is without that field. Bytes are hashed as they stand, so nothing depends on how JSON is
 * written. Pure.
 */
import { hash } from 'node:crypto';
import { type AuditEntry, auditEntrySchema } from '../../contract/audit';

/** What a line tells; the chain's own fields are added when it is written. */
export type AuditDraft = Omit<AuditEntry, 'seq' | 'prev' | 'hash'>;

/** The end of a chain: what the next line is tied to. */
export interface ChainEnd {
  seq: number;
  hash: string;
}

/** Of a log that has no line yet. */
export const CHAIN_START: ChainEnd = { seq: 0, hash: '0'.repeat(64) };

/** Ends what the log says of itself where lines may be lost: `tellsOfLoss` goes by it. */
export const LOSS = 'it was cut or changed';

const TAIL = /,"hash":"([0-9a-f]{64})"\}$/;

/** @returns the line, without its end, and the chain's new end */
export function makeLine(draft: AuditDraft, after: ChainEnd): { text: string; end: ChainEnd } {
  const { at, who, from, method, path, what, result } = draft;
  const seq = after.seq + 1;
  const body = JSON.stringify({ seq, at, who, from, method, path, what, result, prev: after.hash });
  const own = hashOf(after.hash, body);
  return { text: `${body.slice(0, -1)},"hash":"${own}"}`, end: { seq, hash: own } };
}

/** @returns what a line tells, whether or not it is as it was written; null when it is no line of an audit log */
export function readLine(text: string): { entry: AuditEntry; isWhole: boolean } | null {
  const match = TAIL.exec(text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const parsed = auditEntrySchema.safeParse(value);
  if (match === null || !parsed.success) return null;
  const body = `${text.slice(0, match.index)}}`;
  return { entry: parsed.data, isWhole: hashOf(parsed.data.prev, body) === match[1] };
}

/** Whether it is the scheduler's own word that lines before it are lost: no chain shows that all of a log was taken away. */
export function tellsOfLoss({ who, what }: AuditEntry): boolean {
  return who.kind === 'scheduler' && what !== null && what.endsWith(LOSS);
}

/** @returns what is wrong with a line that is to follow on `after`; null when nothing is. `after` null: it is the first that is there. */
export function findFault(text: string, after: ChainEnd | null): string | null {
  const line = readLine(text);
  if (line === null) return 'it is no line of an audit log: damaged, or cut off';
  const { entry, isWhole } = line;
  if (!isWhole) return `it was changed after it was written: its hash is not that of its content (seq ${entry.seq})`;
  if (after === null) return null;
  const due = after.seq + 1;
  if (entry.seq > due) {
    const missing = entry.seq - due === 1 ? `seq ${due} is` : `seq ${due} to ${entry.seq - 1} are`;
    return `it has seq ${entry.seq}, and ${missing} missing before it: removed, or put elsewhere`;
  }
  if (entry.seq < due) return `it has seq ${entry.seq} where ${due} is due: copied, or put elsewhere`;
  return entry.prev === after.hash ? null : `it does not follow on the line before, which was exchanged (seq ${due})`;
}

function hashOf(prev: string, body: string): string {
  return hash('sha256', prev + body, 'hex');
}

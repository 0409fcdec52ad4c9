/** Who a certificate of a cluster's authority speaks for: its common name, and nothing else. Written by issue.ts, read by trust.ts. */

/** Marks an authority that a scheduler has made: what it signs is judged by `Subject`, not by host names. */
export const ORGANISATION = 'morch';

export type Subject = { kind: 'scheduler' } | { kind: 'node'; id: string };

export const SCHEDULER: Subject = { kind: 'scheduler' };

export function commonNameOf(subject: Subject): string {
  return subject.kind === 'scheduler' ? 'scheduler' : `node:${subject.id}`;
}

export function subjectOfCommonName(name: string): Subject | null {
  if (name === 'scheduler') return SCHEDULER;
  const id = /^node:([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$/.exec(name)?.[1];
  return id === undefined ? null : { kind: 'node', id };
}

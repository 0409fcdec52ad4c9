/** The layout of the store: every key is made here. Numbers are padded so that key order is their order. */

const pad = (n: number): string => String(n).padStart(16, '0');

export const keys = {
  meta: 'meta',
  recovery: 'recovery',
  node: (id: string): string => `node/${id}`,
  workload: (uid: string): string => `workload/${uid}`,
  instance: (uid: string, slot: string): string => `instance/${uid}/${slot}`,
  event: (seq: number): string => `event/${pad(seq)}`,
  /** Index of a workload's events; the value is the seq. */
  workloadEvent: (uid: string, seq: number): string => `workload-event/${uid}/${pad(seq)}`,
  idempotency: (key: string): string => `idempotency/${key}`,
  blackBox: ({ uid, slot, generation }: { uid: string; slot: string; generation: number }): string =>
    `blackbox/${uid}/${slot}/${pad(generation)}`,
  /** In which order those were written; the value says which it is. */
  blackBoxOrder: (n: number): string => `blackbox-order/${pad(n)}`,
};

export const prefixes = {
  node: 'node/',
  workload: 'workload/',
  instance: 'instance/',
  event: 'event/',
  workloadEvents: (uid: string): string => `workload-event/${uid}/`,
  idempotency: 'idempotency/',
  blackBoxOrder: 'blackbox-order/',
};

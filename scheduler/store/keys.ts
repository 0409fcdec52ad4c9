/** The layout of the store: every key is made here. Numbers are padded so that key order is their order. */

const SLASH = '/'.charCodeAt(0);

const pad = (n: number): string => String(n).padStart(16, '0');

export const keys = {
  meta: 'meta',
  /** The same once more, at the other end of the store, so that damage in one place does not take both. */
  metaCopy: 'zz/meta',
  recovery: 'recovery',
  /** One that is under way. @param instance its `uid/slot` */
  openRecovery: (instance: string): string => `${prefixes.openRecovery}${instance}`,
  node: (id: string): string => `node/${id}`,
  workload: (uid: string): string => `workload/${uid}`,
  instance: (uid: string, slot: string): string => `instance/${uid}/${slot}`,
  event: (seq: number): string => `event/${pad(seq)}`,
  secret: (name: string): string => `secret/${name}`,
  idempotency: (key: string): string => `idempotency/${key}`,
  /** From when on the certificates of a node count. */
  certificatesFrom: (node: string): string => `${prefixes.certificatesFrom}${node}`,
  blackBox: ({ uid, slot, generation }: { uid: string; slot: string; generation: number }): string =>
    `blackbox/${uid}/${slot}/${pad(generation)}`,
  /** In which order those were written; the value says which it is. */
  blackBoxOrder: (n: number): string => `blackbox-order/${pad(n)}`,
  token: (id: string): string => `token/${id}`,
  /** What is known of a damage that has not been dealt with. */
  damage: 'damage',
  /** A record that cannot be used as it is, by the key that it had. */
  setAside: (key: string): string => `set-aside/${key}`,
  /** Entry of a batch in the store's own journal. */
  batch: (number: number): string => `${prefixes.batch}${pad(number)}`,
};

export const prefixes = {
  node: 'node/',
  workload: 'workload/',
  instance: 'instance/',
  instancesOf: (uid: string): string => `instance/${uid}/`,
  openRecovery: 'recovery-open/',
  event: 'event/',
  /** Of layout 2, which had the events of each workload there. */
  workloadEvent: 'workload-event/',
  secret: 'secret/',
  idempotency: 'idempotency/',
  certificatesFrom: 'certificates-from/',
  blackBoxOrder: 'blackbox-order/',
  token: 'token/',
  batch: '!journal/',
};

/** @returns where in the key the last part of it begins. Not by `lastIndexOf`, which takes three times as long. */
export function startOfName(key: string): number {
  let at = key.length;
  while (at > 0 && key.charCodeAt(at - 1) !== SLASH) at -= 1;
  return at;
}

export function seqOfEvent(key: string): number {
  return Number(key.slice(prefixes.event.length));
}

/** Keys before it are the store's own, and not seen through its interface; all others begin with a letter. */
export const FIRST_KEY = '"';

/** @returns the number of the batch whose entry has this key, or undefined */
export function numberOfBatch(key: string): number | undefined {
  const match = /^!journal\/(\d{16})$/.exec(key);
  return match === null ? undefined : Number(match[1]);
}

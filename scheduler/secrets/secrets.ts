/**
 * The cluster's secrets: sealed in the store and in memory, opened only for a start command that is about to be sent.
 * Changed by service.ts, asked by placer.ts and outbox.ts.
 */
import type { SecretReference, SecretValues } from '../../contract/secrets';
import type { State } from '../state';
import { keys, prefixes } from '../store/keys';
import type { Store } from '../store/store';
import type { Vault } from './vault';

export interface SecretRecord {
  readonly name: string;
  /** Counts the values that it has had. */
  readonly version: number;
  /** Its bytes in base64, sealed. */
  readonly sealed: string;
  /** UTF-8 without NUL: fit for a variable of the environment. */
  readonly isText: boolean;
  readonly updatedAt: string;
}

type Using = { secrets?: readonly SecretReference[] | undefined };

export class Secrets {
  private readonly records = new Map<string, SecretRecord>();
  private readonly unreadable = new Set<string>();

  private constructor(
    private readonly store: Pick<Store, 'range' | 'get'>,
    private readonly state: Pick<State, 'put' | 'delete'>,
    private readonly vault: Pick<Vault, 'seal' | 'open'>,
  ) {}

  static async load(
    store: Pick<Store, 'range' | 'get'>,
    state: Pick<State, 'put' | 'delete'>,
    vault: Pick<Vault, 'seal' | 'open'>,
  ): Promise<Secrets> {
    const secrets = new Secrets(store, state, vault);
    for await (const [, value] of store.range(prefixes.secret)) secrets.take(value as SecretRecord);
    return secrets;
  }

  get all(): SecretRecord[] {
    return [...this.records.values()];
  }

  has(name: string): boolean {
    return this.records.has(name);
  }

  isReadable(name: string): boolean {
    return !this.unreadable.has(name);
  }

  get unreadableCount(): number {
    return this.unreadable.size;
  }

  /** Durable with the next commit. */
  put(name: string, value: Buffer, updatedAt: string): { created: boolean; record: SecretRecord } {
    const before = this.records.get(name);
    const version = (before?.version ?? 0) + 1;
    const sealed = this.vault.seal(value.toString('base64'), subjectOf({ name, version }));
    const record: SecretRecord = { name, version, sealed, isText: isText(value), updatedAt };
    this.records.set(name, record);
    this.unreadable.delete(name);
    this.state.put(keys.secret(name), record);
    return { created: before === undefined, record };
  }

  /** Durable with the next commit. */
  remove(name: string): void {
    this.records.delete(name);
    this.unreadable.delete(name);
    this.state.delete(keys.secret(name));
  }

  /** It is as the store has it: a change of it that could not be made durable was refused. */
  async revert(name: string): Promise<void> {
    this.remove(name);
    const record = (await this.store.get(keys.secret(name))) as SecretRecord | undefined;
    if (record === undefined) return;
    this.take(record);
    this.state.put(keys.secret(name), record);
  }

  private take(record: SecretRecord): void {
    this.records.set(record.name, record);
    if (this.vault.open(record.sealed, subjectOf(record)) === null) this.unreadable.add(record.name);
    else this.unreadable.delete(record.name);
  }

  /** Why a workload cannot be given what it refers to; null when it can. */
  faultOf({ secrets = [] }: Using): string | null {
    for (const { name, env } of secrets) {
      const record = this.records.get(name);
      if (record === undefined) return `secret ${name} is not there; it waits for morch secret set ${name}`;
      if (this.unreadable.has(name)) {
        return `secret ${name} cannot be opened: it was sealed under another secret.key; put that key back and restart the scheduler, or set the secret anew`;
      }
      if (env !== undefined && !record.isText) {
        return `secret ${name} is not text, so it cannot be the variable ${env}; refer to it as a file`;
      }
    }
    return null;
  }

  /** For a start command. @returns why not, in place of the values */
  valuesOf(spec: Using): SecretValues | string {
    const fault = this.faultOf(spec);
    if (fault !== null) return fault;
    const values: SecretValues = {};
    for (const { name } of spec.secrets ?? []) {
      const record = this.records.get(name)!;
      const value = this.vault.open(record.sealed, subjectOf(record));
      if (value === null) return `secret ${name} cannot be opened: its record is damaged; set it anew`;
      values[name] = value;
    }
    return values;
  }
}

/** What a sealed value is bound to: it opens as no other secret, and as no other version. */
function subjectOf({ name, version }: Pick<SecretRecord, 'name' | 'version'>): string {
  return `secret ${name} ${version}`;
}

export function isText(value: Buffer): boolean {
  if (value.includes(0)) return false;
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(value);
    return true;
  } catch {
    return false;
  }
}

/**
 * From the layouts of earlier versions to the present one. All of it is here.
 *
 * Layout 1: values are JSON. Layout 2: values carry their check (values.ts), batches their entry (batchEntries.ts).
 * Layout 3: instances stand there without what is known otherwise. Layout 4: as lists, without names (../storedInstance.ts). Those of
 * layouts 2 and 3 are read as they are, and written anew when they change.
 *
 * A migration may be killed at any moment and goes on at the next opening: each record shows by itself whether it has
 * been rewritten, and the last batch is the one that makes the store one of the new layout.
 */
import { MorchError } from '../../contract/errors';
import { BatchEntries, type BatchEntry, batchOp } from './batchEntries';
import type { Digest } from './fingerprints';
import { type Handle, type TextOp, writeBatch } from './handle';
import { keys, prefixes } from './keys';
import { checkOf, encodeValue, soundCheckOf, soundJsonOf } from './values';

export const SCHEMA_VERSION = 4;

const AT_ONCE = 1_000;

/** @throws MorchError INVALID_INPUT for the layout of a later version */
export function assertKnownSchema(schema: number, what = 'data directory'): void {
  if (schema <= SCHEMA_VERSION) return;
  throw new MorchError(
    'INVALID_INPUT',
    `The ${what} was written by a later version of morch (layout ${schema}, this one knows ${SCHEMA_VERSION}). Start that version, or name another --data-dir.`,
  );
}

/** What the text of the meta record says, of whatever layout it is; undefined when nothing. */
export function schemaOf(meta: string | undefined): number | undefined {
  const schema = /"schema":\s*(\d+)/.exec(meta ?? '')?.[1];
  return schema === undefined ? undefined : Number(schema);
}

/** Of the layout before checks: there are records and no sign of a batch. */
export async function isLayout1(db: Handle): Promise<boolean> {
  const first = await db.keys({ limit: 1 }).all();
  const batch = await db.keys({ gte: prefixes.batch, limit: 1 }).all();
  return first.length > 0 && !batch.some((key) => key.startsWith(prefixes.batch));
}

/** Rewrites the records. What cannot be read as layout 1 or 2 stays as it is, to be found by the reading that follows. */
export async function rewriteLayout1(db: Handle): Promise<void> {
  let ops: TextOp[] = [];
  for await (const [key, value] of db.iterator<string, Buffer>({ valueEncoding: 'buffer' })) {
    const json = jsonFromLayout1(key, value);
    if (json === null || soundCheckOf(key, value) !== null) continue;
    ops.push({ type: 'put', key, value: encodeValue(checkOf(key, json), json) });
    if (ops.length < AT_ONCE) continue;
    await writeBatch(db, ops);
    ops = [];
  }
  await writeBatch(db, ops);
}

/** The last step: the first entry of a batch, which makes it a store of layout 2. */
export async function finishLayout2(db: Handle, digest: Digest): Promise<[number: number, entry: BatchEntry]> {
  const { number, entry } = new BatchEntries().next(0, digest);
  await writeBatch(db, [batchOp(number, entry)]);
  return [number, entry];
}

/** Of a record of layout 1, rewritten already or not. @returns its JSON as layout 2 has it, or null if it is neither */
export function jsonFromLayout1(key: string, value: Buffer): string | null {
  const rewritten = soundJsonOf(key, value);
  if (rewritten !== null) return rewritten;
  try {
    const content = JSON.parse(value.toString()) as unknown;
    return JSON.stringify(key === keys.meta ? { ...(content as object), schema: SCHEMA_VERSION } : content);
  } catch {
    return null;
  }
}

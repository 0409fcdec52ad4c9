/**
 * Exchanges a damaged store for a new one with all that can be read of it. The files are kept as they were found.
 *
 * LevelDB's own repair is not used: it does not check what it reads, so that some damage ends the whole process by a
 * failed assertion, and of a log block that fails its check it drops all that follows. files/ reads the files instead;
 * each record shows by its own check whether it is whole.
 *
 * A file beside the store says that this is under way; whatever happens meanwhile, the next opening begins it again from
 * the kept files.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { BatchEntry } from './batchEntries';
import { type Damage, judge } from './damage';
import { dataFilesOf, readEntries } from './files/directory';
import { addCheck, emptyDigest } from './fingerprints';
import { FreshStore } from './freshStore';
import { messageOf } from './handle';
import { keys, numberOfBatch } from './keys';
import { assertKnownSchema, jsonFromLayout1, schemaOf } from './migrations';
import {
  asideNameOf,
  moveDirectory,
  removeDirectory,
  type Surroundings,
  syncDirectory,
  writeDurably,
} from './surroundings';
import { checkOf, soundJsonOf } from './values';

const UNREADABLE_TOLD = 1_000;
/** In the directory of the kept files: records that fail their check, as they were found. */
const UNREADABLE_FILE = 'unreadable.ndjson';

interface UnderWay {
  at: string;
  /** Name of the directory in which the files are kept. */
  keptIn: string;
  problems: string[];
}

/** @param around.kept has the files as they were found, or is not there when there were none */
export async function beginSalvage(around: Surroundings, problems: string[]): Promise<void> {
  const at = new Date();
  const keptIn = basename(await asideNameOf(around.store, 'damaged', at));
  const underWay: UnderWay = { at: at.toISOString(), keptIn, problems };
  await writeDurably(around.salvage, JSON.stringify(underWay));
}

/**
 * Carries out what `beginSalvage` began, in this process or an earlier one; nothing when there is nothing.
 *
 * @param mark number of the last batch known to have been acknowledged; 0 when that is not known
 * @throws Error that says what to do when it cannot be carried out; it is begun again at the next opening
 */
export async function finishSalvage(around: Surroundings, mark: number): Promise<void> {
  const text = await readFile(around.salvage, 'utf8').catch(unlessMissing);
  if (text === undefined) return;
  const underWay = JSON.parse(text) as UnderWay;
  const source = join(dirname(around.store), underWay.keptIn);
  try {
    await moveDirectory(around.kept, source).catch(unlessMissing);
    await removeDirectory(around.fresh);
    await fill(around.fresh, source, underWay, mark);
    await removeDirectory(around.store);
    await moveDirectory(around.fresh, around.store);
    await rm(around.salvage);
    await syncDirectory(dirname(around.store));
  } catch (cause) {
    // What there is of it takes the room that is lacking.
    await removeDirectory(around.fresh).catch(() => {});
    throw new Error(
      `The store in ${around.store} is damaged (${underWay.problems.join('; ')}), and what can be read of it could not be written to a new one: ${messageOf(cause)}. Its files are kept in ${source}. Mend the cause, such as a full disk, and start again.`,
      { cause },
    );
  }
}

async function fill(fresh: string, source: string, underWay: UnderWay, mark: number): Promise<void> {
  const newest = new Map<string, number>();
  let hasChecks = mark > 0;
  for await (const { key, seq } of readEntries(source)) {
    if (seq > (newest.get(key) ?? -1)) newest.set(key, seq);
    hasChecks ||= numberOfBatch(key) !== undefined;
  }
  const jsonOf = hasChecks ? soundJsonOf : jsonFromLayout1;
  const store = await FreshStore.make(fresh);
  try {
    const batches: [number, BatchEntry][] = [];
    const digest = emptyDigest();
    const unreadable: { key: string; value: string }[] = [];
    for await (const { key, seq, value } of readEntries(source)) {
      if (newest.get(key) !== seq || value === undefined) continue;
      newest.delete(key);
      if (key === keys.meta) assertKnownSchema(schemaOf(value.toString()) ?? 0);
      const json = jsonOf(key, value);
      const number = numberOfBatch(key);
      if (json === null) unreadable.push({ key, value: value.toString('base64') });
      else if (number !== undefined) batches.push([number, JSON.parse(json) as BatchEntry]);
      else {
        addCheck(digest, checkOf(key, json));
        // What is told of this damage takes the place of what was told of an earlier one.
        if (key !== keys.damage) await store.put(key, json);
      }
    }
    batches.sort(([a], [b]) => a - b);
    const keysUnreadable = unreadable.map(({ key }) => key);
    const found = { digest, batches, unreadable: keysUnreadable, error: null };
    const { problems, missing } = judge(found, mark);
    const damage: Damage = {
      at: underWay.at,
      reason: underWay.problems.join('; '),
      missing,
      unreadable: keysUnreadable.slice(0, UNREADABLE_TOLD),
      complete: hasChecks && problems.length === 0,
      keptIn: (await dataFilesOf(source)).length === 0 ? null : source,
    };
    if (unreadable.length > 0) {
      await writeFile(
        join(source, UNREADABLE_FILE),
        unreadable.map((record) => `${JSON.stringify(record)}\n`).join(''),
      );
    }
    await store.put(keys.damage, JSON.stringify(damage));
    await store.finish(Math.max(mark, batches.at(-1)?.[0] ?? 0));
  } catch (error) {
    await store.close();
    throw error;
  }
}

function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

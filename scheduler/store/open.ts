/**
 * Opens the embedded store: takes the lock, looks at the files, lets LevelDB open them, brings an earlier layout to the
 * present one, reads everything through, and exchanges a store that is damaged for what can be read of it.
 *
 * LevelDB opens a damaged directory without a word more often than not: it leaves out what it cannot read. So every way
 * of losing something is looked for here: tables by their checks (files/), values by theirs (values.ts), lost batches by
 * the journal (batchEntries.ts), a lost end by the mark (markFile.ts), and anything else by the sum that every batch
 * carries (fingerprints.ts).
 */
import { existsSync } from 'node:fs';
import { BatchEntries } from './batchEntries';
import { type Damage, judge } from './damage';
import { inspectFiles } from './files/directory';
import type { Fingerprints } from './fingerprints';
import { cannotOpen, DamagedFilesError, type Handle, lockDirectory, openHandle } from './handle';
import { keys } from './keys';
import { LevelStore } from './level';
import { MarkFile, type MarkRead, readMark } from './markFile';
import { assertKnownSchema, finishLayout2, isLayout1, rewriteLayout1, SCHEMA_VERSION, schemaOf } from './migrations';
import { type ReadThrough, type RecordsReader, readThrough } from './reading';
import { beginSalvage, finishSalvage } from './salvage';
import type { Store } from './store';
import { finishRestore, keepDataFiles, removeDirectory, type Surroundings, surroundingsOf } from './surroundings';

export interface OpenedStore<R> {
  store: Store;
  /** What was found, now or at an earlier opening, and nobody has dealt with (State.load does). */
  damage: Damage | null;
  /** For the log: what was not as usual, and is not damage. */
  notes: string[];
  /** Has been given all records. */
  records: R;
}

/**
 * @param directory made if missing; what stands beside it under its name is the store's as well (surroundings.ts)
 * @param begin makes what is given the records; called again where they are read again
 * @param read  another way to read it through, such as on another thread
 * @throws Error naming the directory and `--data-dir` when another process has it, it is not accessible, or it was
 *   written by a later version
 */
export async function openLevelStore<R extends RecordsReader | null = null>(
  directory: string,
  begin: () => R = () => null as R,
  read: ReadThrough<R> = readThrough,
): Promise<OpenedStore<R>> {
  const around = surroundingsOf(directory);
  // Before anything is touched.
  const lock = await lockDirectory(around.lock, directory);
  try {
    const found = await readMark(around.mark);
    const mark = found.kind === 'mark' ? found.number : 0;
    const { db, entries, fingerprints, notes, records } = await openSound(around, mark, begin, read);
    await removeDirectory(around.kept);
    const store = new LevelStore({
      directory,
      db,
      entries,
      fingerprints,
      mark: await MarkFile.open(around.mark, entries.last),
      lock,
    });
    const damage = ((await store.get(keys.damage)) as Damage | undefined) ?? null;
    if (notes.length === 0 && damage === null) notes.push(...notesOf(around.mark, found, entries.last));
    return { store, damage, notes, records };
  } catch (error) {
    await lock.release();
    throw (error as NodeJS.ErrnoException).syscall === undefined ? error : cannotOpen(directory, error);
  }
}

interface Sound<R> {
  records: R;
  notes: string[];
  db: Handle;
  entries: BatchEntries;
  fingerprints: Fingerprints;
}

async function openSound<R extends RecordsReader | null>(
  around: Surroundings,
  mark: number,
  begin: () => R,
  read: ReadThrough<R>,
): Promise<Sound<R>> {
  // Earlier processes may have been killed at these.
  await finishRestore(around);
  await finishSalvage(around, mark);
  const found = await openAsItIs(around, mark, begin, read);
  if ('db' in found) return found;
  await beginSalvage(around, found.problems);
  await finishSalvage(around, mark);
  const again = await openAsItIs(around, mark, begin, read);
  if ('db' in again) return again;
  throw new Error(
    `The store in ${around.store} was damaged, and so is what was written anew in its place: ${again.problems.join('; ')}. The disk cannot be trusted: restore a backup on another, with --data-dir`,
  );
}

async function openAsItIs<R extends RecordsReader | null>(
  around: Surroundings,
  mark: number,
  begin: () => R,
  read: ReadThrough<R>,
): Promise<Sound<R> | { problems: string[] }> {
  // If they are there already, an earlier process was killed before it had looked at the store, or soon after.
  const keepsFiles = !existsSync(around.kept);
  const { problems, live } = await inspectFiles(around.store);
  const isLeftAlone = problems.length > 0;
  if (keepsFiles) await keepDataFiles(around.store, around.kept, isLeftAlone ? 'all' : live);
  if (isLeftAlone) return { problems };
  let db: Handle | undefined;
  try {
    db = await openHandle(around.store, around.store, true);
    assertKnownSchema(schemaOf(await db.get(keys.meta)) ?? 0);
    const migrates = mark === 0 && (await isLayout1(db));
    if (migrates) await rewriteLayout1(db);
    const records = begin();
    const { reading, fingerprints } = await read(db, records);
    if (migrates && reading.unreadable.length === 0) reading.batches.push(await finishLayout2(db, reading.digest));
    const judgement = judge(reading, mark);
    if (judgement.problems.length === 0) {
      const notes = migrates
        ? [`The store in ${around.store} was of layout 1; it is of layout ${SCHEMA_VERSION} now.`]
        : [];
      return { notes, db, entries: new BatchEntries(reading.batches), fingerprints, records };
    }
    await db.close();
    return { problems: judgement.problems };
  } catch (error) {
    await db?.close();
    if (error instanceof DamagedFilesError) return { problems: [error.message] };
    // Another program, such as an earlier version, may go on with the files.
    if (keepsFiles) await removeDirectory(around.kept);
    throw error;
  }
}

function notesOf(path: string, read: MarkRead, last: number): string[] {
  if (read.kind === 'mark' || last === 0) return [];
  const told = read.kind === 'missing' ? 'is missing' : 'is damaged';
  return [
    `The mark ${path}, which tells what was acknowledged, ${told}: the store is sound up to batch ${last}, but whether that was the last could not be told. It was made anew.`,
  ];
}

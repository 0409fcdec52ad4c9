/**
 * `morch restore`: makes the store of a scheduler that does not run from a backup. Run by the command line in place of the
 * scheduler. What the records say of running programs is as old as the backup, so the scheduler that starts on them is
 * told to rebuild: it learns from its agents what runs.
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { type BackupHeader, BackupReader } from '../contract/backup';
import { MorchError, parseInput } from '../contract/errors';
import type { Meta } from './meta';
import { dataFilesOf } from './store/files/directory';
import { FreshStore } from './store/freshStore';
import { lockDirectory, messageOf } from './store/handle';
import { keys, prefixes } from './store/keys';
import { MarkFile, readMark } from './store/markFile';
import { assertKnownSchema } from './store/migrations';
import {
  asideNameOf,
  finishRestore,
  moveDirectory,
  removeDirectory,
  type Surroundings,
  surroundingsOf,
} from './store/surroundings';

const restoreOptionsSchema = z.strictObject({
  file: z.string().min(1),
  dataDir: z.string().min(1),
  /** Of a store that is there: it is moved aside. */
  force: z.boolean().default(false),
});

/**
 * Prints what it did and what to do next.
 *
 * @throws MorchError INVALID_INPUT for a file that is no whole backup, and for a directory that has a store or cannot be
 *   used: nothing has been changed then. STORE_UNWRITABLE when the new store cannot be written: what was there still is
 */
export async function runRestore(input: unknown): Promise<void> {
  const { file, dataDir, force } = parseInput(restoreOptionsSchema, input, 'options');
  const { header, records, secrets } = await checkBackup(file);
  assertKnownSchema(header.schema, 'backup');
  const around = surroundingsOf(path.join(dataDir, 'store'));
  const lock = await lockDataDir(dataDir, around);
  try {
    if (!force && (await hasStore(around))) {
      throw new MorchError(
        'INVALID_INPUT',
        `There is a store in --data-dir ${dataDir}. Name another directory, or move that store aside with --force.`,
      );
    }
    const read = await readMark(around.mark);
    const number = await writeFresh(around, file, Math.max(header.seq, read.kind === 'mark' ? read.number : 0));
    await moveDirectory(around.fresh, around.restored);
    // A start of the scheduler after a kill in here goes on with this one if the one before is aside, else with that.
    const aside = await moveAside(around);
    await finishRestore(around);
    await (await MarkFile.open(around.mark, number)).close();
    process.stdout.write(reportOf({ header, records, secrets, dataDir, aside }));
  } finally {
    await lock.release();
  }
}

/** Also one that is being salvaged. */
async function hasStore({ store, salvage }: Surroundings): Promise<boolean> {
  return existsSync(salvage) || (await dataFilesOf(store)).length > 0;
}

/** Reads it once to its end, so that nothing is written of a file that is not whole. */
async function checkBackup(file: string): Promise<{ header: BackupHeader; records: number; secrets: number }> {
  const reader = new BackupReader(createHash('sha256'));
  let secrets = 0;
  for await (const chunk of chunksOf(file)) secrets += reader.push(chunk).filter(isSecret).length;
  const { header, trailer } = reader.end();
  return { header, records: trailer.records, secrets };
}

const SECRET_LINE = Buffer.from(`["${prefixes.secret}`);

function isSecret(line: Uint8Array): boolean {
  return SECRET_LINE.equals(line.subarray(0, SECRET_LINE.length));
}

async function* chunksOf(file: string): AsyncGenerator<Buffer> {
  try {
    yield* createReadStream(file) as AsyncIterable<Buffer>;
  } catch (cause) {
    throw new MorchError('INVALID_INPUT', `Cannot read the backup ${file}: ${messageOf(cause)}`, { cause });
  }
}

async function lockDataDir(dataDir: string, around: Surroundings): Promise<{ release(): Promise<void> }> {
  try {
    // What lies above is not ours alone: an agent's workloads may have to pass there.
    await mkdir(path.dirname(dataDir), { recursive: true });
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new MorchError('INVALID_INPUT', `Cannot use --data-dir ${dataDir}: ${messageOf(cause)}`, { cause });
  }
  try {
    return await lockDirectory(around.lock, around.store);
  } catch (cause) {
    throw new MorchError('INVALID_INPUT', messageOf(cause), { cause });
  }
}

/**
 * @param lastBatch beyond which the numbers of the store's batches are to begin
 * @returns that of its first
 */
async function writeFresh(around: Surroundings, file: string, lastBatch: number): Promise<number> {
  await removeDirectory(around.fresh);
  await removeDirectory(around.restored);
  try {
    const store = await FreshStore.make(around.fresh);
    try {
      const reader = new BackupReader(createHash('sha256'));
      for await (const chunk of chunksOf(file)) {
        for (const line of reader.push(chunk)) await putRecord(store, line);
      }
      // The same as at the first reading, unless somebody has changed it since.
      reader.end();
      return await store.finish(lastBatch);
    } finally {
      await store.close();
    }
  } catch (error) {
    await removeDirectory(around.fresh);
    if (error instanceof MorchError) throw error;
    throw new MorchError(
      'STORE_UNWRITABLE',
      `The store could not be written: ${messageOf(error)}; nothing was changed.`,
      {
        cause: error,
      },
    );
  }
}

async function putRecord(store: FreshStore, line: Uint8Array): Promise<void> {
  const [key, value] = JSON.parse(Buffer.from(line).toString()) as [string, unknown];
  const isMeta = key === keys.meta || key === keys.metaCopy;
  await store.put(key, JSON.stringify(isMeta ? toBeRebuilt(value as Meta) : value));
}

function toBeRebuilt(meta: Meta): Meta {
  return { ...meta, rebuilding: { reason: 'restored', since: new Date().toISOString() } };
}

/** With what a process that was killed may have left of it. @returns where to; null when there was no store */
async function moveAside(around: Surroundings): Promise<string | null> {
  await rm(around.salvage, { force: true });
  const aside = await asideNameOf(around.store, 'before-restore', new Date());
  if ((await dataFilesOf(around.kept)).length > 0) await moveDirectory(around.kept, `${aside}.kept`);
  if ((await dataFilesOf(around.store)).length === 0) return null;
  await moveDirectory(around.store, aside);
  return aside;
}

interface Restored {
  header: BackupHeader;
  records: number;
  secrets: number;
  dataDir: string;
  aside: string | null;
}

function reportOf({ header, records, secrets, dataDir, aside }: Restored): string {
  const { clusterId, epoch, createdAt } = header;
  return [
    `restored ${records} records of cluster ${clusterId}, epoch ${epoch}, as of ${createdAt}, into ${dataDir}`,
    ...(aside === null ? [] : [`what was there before is in ${aside}`]),
    ...(secrets === 0
      ? []
      : [
          `${secrets} of them are secrets, which open with the secret.key of the scheduler that was backed up only: have it in ${dataDir} before the start, or set them anew`,
        ]),
    `next: start it with morch scheduler --data-dir ${dataDir}`,
    'It then asks its agents what runs, takes it over, and starts nothing until it knows; morch health tells how far it is.',
    '',
  ].join('\n');
}

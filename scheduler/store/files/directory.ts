/**
 * A LevelDB directory as files, without LevelDB: whether they are sound, and all entries that can be read from them.
 * LevelDB itself is not let near a damaged directory: opening it deletes what its MANIFEST does not name, and both
 * reading and its own repair end the process on some damage.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MalformedError } from './byteReader';
import { readLogRecords } from './logRecords';
import { liveTablesOf } from './manifest';
import { entriesOfTable, problemOfTable } from './table';
import { entriesOfBatch, type FileEntry, seqOfBatch } from './writeBatch';

const TABLE = /^(\d+)\.(ldb|sst)$/;
const LOG = /^\d+\.log$/;
const MANIFEST = /^MANIFEST-\d+$/;
/** Operations that may be missing before a damaged record of a log. */
const MOST_LOST = 2 ** 20;

/** Names of the files that hold data or tell which do, in the order in which they were made. */
export async function dataFilesOf(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
    throw error;
  });
  const isData = (name: string) => name === 'CURRENT' || MANIFEST.test(name) || TABLE.test(name) || LOG.test(name);
  return names.filter(isData).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
}

export interface Inspection {
  /** In words; none for sound files, and for no files. */
  problems: string[];
  /** Names of the table files that LevelDB will use, and never change. */
  live: string[];
}

/**
 * Looks at all that LevelDB would rely on without a look. Logs are left out: it checks them itself, and what they have
 * lost is found by the store's journal.
 */
export async function inspectFiles(directory: string): Promise<Inspection> {
  const names = await dataFilesOf(directory);
  if (!names.includes('CURRENT')) {
    // A process that was killed while it made the directory leaves a MANIFEST at most.
    const hasData = names.some((name) => TABLE.test(name) || LOG.test(name));
    return { problems: hasData ? ['CURRENT is missing'] : [], live: [] };
  }
  const manifest = (await readFile(join(directory, 'CURRENT'), 'utf8')).replace(/\n$/, '');
  if (!names.includes(manifest)) {
    return { problems: [`CURRENT names ${JSON.stringify(manifest.slice(0, 40))}, which is not there`], live: [] };
  }
  let numbers: Set<number>;
  try {
    numbers = liveTablesOf(await readFile(join(directory, manifest)));
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    return { problems: [`${manifest} is damaged: ${error.message}`], live: [] };
  }
  const live = names.filter((name) => numbers.has(Number(TABLE.exec(name)?.[1])));
  const missing = [...numbers].filter((number) => !live.some((name) => Number.parseInt(name, 10) === number));
  const problems = missing.map((number) => `table ${number} is missing`);
  for (const name of live) {
    const problem = await problemOfFile(join(directory, name));
    if (problem !== null) problems.push(`table ${name} ${problem}`);
  }
  return { problems, live };
}

async function problemOfFile(path: string): Promise<string | null> {
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (error) {
    return `cannot be read: ${(error as Error).message}`;
  }
  const problem = problemOfTable(content);
  return problem === null ? null : `is damaged: ${problem}`;
}

/**
 * All entries that can be read, in no order, also deleted and overwritten ones; of a log also those in records that
 * fail their check. Files that cannot be read are left out.
 */
export async function* readEntries(directory: string): AsyncGenerator<FileEntry> {
  const names = await dataFilesOf(directory);
  let greatestSeq = 0;
  for await (const table of contentsOf(directory, names, TABLE)) {
    for (const entry of entriesOfTable(table)) {
      greatestSeq = Math.max(greatestSeq, entry.seq);
      yield entry;
    }
  }
  for await (const log of contentsOf(directory, names, LOG)) {
    let previous: number | undefined;
    for (const { bytes, sound } of readLogRecords(log, () => {})) {
      const own = seqOfBatch(bytes);
      if (own === undefined) continue;
      const first = sound ? own : plausibleSeq(own, previous, greatestSeq);
      for (const entry of entriesOfBatch(bytes, first)) {
        previous = entry.seq;
        yield entry;
      }
    }
  }
}

/** In a log the numbers go on without a gap, save where records are lost. A damaged one must not be the latest for ever. */
function plausibleSeq(own: number, previous: number | undefined, greatest: number): number {
  const lowest = previous === undefined ? 0 : previous + 1;
  const fallback = (previous ?? greatest) + 1;
  return own >= lowest && own < fallback + MOST_LOST ? own : fallback;
}

async function* contentsOf(directory: string, names: readonly string[], pattern: RegExp): AsyncGenerator<Buffer> {
  for (const name of names) {
    if (!pattern.test(name)) continue;
    try {
      yield await readFile(join(directory, name));
    } catch {
      // Left out, as told above.
    }
  }
}

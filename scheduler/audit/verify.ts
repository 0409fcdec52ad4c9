/**
 * `morch audit verify`: reads an audit log from its first line to its last, and says where it is not as it was written.
 * Needs no scheduler and no key. Run by the command line in place of the scheduler.
 */
import { createReadStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { MorchError, parseInput } from '../../contract/errors';
import { type ChainEnd, findFault, readLine, tellsOfLoss } from './chain';
import { filesIn, firstSeqOf, readHead } from './files';

/** A line that is being written may be seen in part. */
const LOOKS = 5;
const LOOK_AGAIN_MS = 50;

const verifyOptionsSchema = z.strictObject({
  /** Where the log is; not needed with `files`. */
  directory: z.string().min(1),
  /** Only these, in any order. */
  files: z.array(z.string().min(1)).default([]),
  /** `<seq>:<hash>` of a line, noted at some time: it must be there as it was. */
  expect: z
    .string()
    .regex(/^\d{1,15}:[0-9a-f]{64}$/, 'must be <seq>:<hash>, as this command prints it')
    .optional(),
  /** Seq of the first line to be checked: what is before may be elsewhere, or is known to be damaged. */
  from: z.int().min(1).optional(),
});

interface Found {
  lines: number;
  first: { seq: number; at: string } | null;
  last: { seq: number; at: string; hash: string } | null;
  /** Changes that were let in and whose results are not told, by seq. */
  open: Set<number>;
}

/**
 * Prints what was found.
 *
 * @throws MorchError AUDIT_BROKEN naming file and line; INVALID_INPUT when there is no log
 */
export async function runVerify(input: unknown): Promise<void> {
  const { directory, files: given, expect, from } = parseInput(verifyOptionsSchema, input, 'options');
  // Read before the log, which may be going on.
  const head = given.length > 0 ? null : await readHeadOf(directory);
  const expected = expect === undefined ? null : parseEnd(expect);
  const { files, found } =
    given.length > 0
      ? await readFiles(await inOrder(given), [expected], from)
      : await readDirectory(directory, [head, expected], from);
  if (files.length === 0 && head === null) {
    throw new MorchError('INVALID_INPUT', `There is no audit log in ${directory}. Name its directory or its files.`);
  }
  if (from !== undefined && found.first === null) {
    throw broken(`seq ${from}, from which on it is to be checked, is not in it`);
  }
  if (head !== null && (found.last?.seq ?? 0) < head.seq) {
    const last = found.last === null ? 'it has no line' : `it ends with seq ${found.last.seq}`;
    throw broken(
      `${files.at(-1) ?? directory}: after its line ${found.lines}: ${last}, but seq ${head.seq} had been written: the end was cut off`,
    );
  }
  if (expected !== null && (found.last === null || found.last.seq < expected.seq || found.first!.seq > expected.seq)) {
    throw broken(`seq ${expected.seq}, which is to be in it, is not`);
  }
  if (given.length === 0 && files.length > 0) assertComplete(directory, head, found, from);
  process.stdout.write(reportOf(found));
}

/** What a directory must have beside lines that are unbroken. @throws MorchError AUDIT_BROKEN */
function assertComplete(directory: string, head: ChainEnd | null, { first }: Found, from: number | undefined): void {
  if (head === null) {
    throw broken(
      `${directory}: audit.head is not there, or damaged: without it nobody knows whether lines were cut off the end`,
    );
  }
  if (first !== null && first.seq !== 1 && from === undefined) {
    const moved = `If they were moved away on purpose, check them there, and these with --from ${first.seq}`;
    throw broken(`${directory}: it begins with seq ${first.seq}; ${notHere(first.seq)}. ${moved}`);
  }
}

interface Read {
  files: string[];
  found: Found;
}

/** Once more when the log was turned over meanwhile. */
async function readDirectory(
  directory: string,
  marks: readonly (ChainEnd | null)[],
  from: number | undefined,
): Promise<Read> {
  for (;;) {
    const files = await filesOf(directory);
    const outcome = await readFiles(files, marks, from).catch((error: unknown) => ({ error }));
    if ((await filesOf(directory)).join('\n') !== files.join('\n')) continue;
    if ('error' in outcome) throw outcome.error;
    return outcome;
  }
}

async function readFiles(
  files: string[],
  marks: readonly (ChainEnd | null)[],
  from: number | undefined,
): Promise<Read> {
  const found: Found = { lines: 0, first: null, last: null, open: new Set() };
  for (const file of files) {
    found.lines = 0;
    for await (const { text, hasEnd } of linesOf(file)) {
      found.lines += 1;
      if (from !== undefined && found.first === null && readLine(text)?.entry.seq !== from) continue;
      const fault = hasEnd ? findFault(text, found.last) : 'it is cut off: it has no end';
      if (fault !== null) throw broken(`${file}: line ${found.lines}: ${fault}`);
      const { entry } = readLine(text)!;
      const { seq, at, hash, result } = entry;
      const mark = marks.find((known) => known?.seq === seq);
      if (mark && mark.hash !== hash) {
        throw broken(
          `${file}: line ${found.lines}: seq ${seq} had another hash: what comes up to here was written anew`,
        );
      }
      if (tellsOfLoss(entry) && seq !== from) {
        throw broken(
          `${file}: line ${found.lines}: by the scheduler's own word, ${entry.what}. What follows is checked with --from ${seq}`,
        );
      }
      found.first ??= { seq, at };
      found.last = { seq, at, hash };
      if (result?.of !== undefined) found.open.delete(result.of);
      else if (result === undefined && entry.method !== null) found.open.add(seq);
    }
  }
  return { files, found };
}

function broken(what: string): MorchError {
  return new MorchError('AUDIT_BROKEN', `The audit log is not as it was written: ${what}.`);
}

function reportOf({ first, last, open }: Found): string {
  if (first === null || last === null) return 'the audit log has no line yet\n';
  const before = first.seq === 1 ? '' : `; ${notHere(first.seq)}, or not checked`;
  const unknown =
    open.size === 0 ? '' : `${open.size} of its changes have no result: under way, or the scheduler ended meanwhile\n`;
  return (
    `unbroken: seq ${first.seq} to ${last.seq}, ${first.at} to ${last.at}${before}\n${unknown}` +
    `note it elsewhere, and give it to --expect later: ${last.seq}:${last.hash}\n`
  );
}

function notHere(first: number): string {
  return `${first === 2 ? 'seq 1 is' : `seq 1 to ${first - 1} are`} in files that are not here`;
}

/** Lines without their ends; the last one also without having one. */
async function* linesOf(file: string): AsyncGenerator<{ text: string; hasEnd: boolean }> {
  let rest = '';
  let readBytes = 0;
  for (let look = 0; look < LOOKS; look += 1) {
    for await (const chunk of createReadStream(file, { start: readBytes }) as AsyncIterable<Buffer>) {
      readBytes += chunk.length;
      // Bytes as characters: a line may be cut anywhere.
      const lines = (rest + chunk.toString('latin1')).split('\n');
      rest = lines.pop()!;
      for (const line of lines) yield { text: utf8Of(line), hasEnd: true };
    }
    if (rest === '') return;
    await sleep(LOOK_AGAIN_MS);
  }
  yield { text: utf8Of(rest), hasEnd: false };
}

const utf8Of = (bytes: string): string => Buffer.from(bytes, 'latin1').toString('utf8');

async function filesOf(directory: string): Promise<string[]> {
  try {
    return await filesIn(directory);
  } catch (cause) {
    throw cannotRead(directory, cause);
  }
}

function readHeadOf(directory: string): Promise<ChainEnd | null> {
  return readHead(directory).catch((cause) => {
    throw cannotRead(directory, cause);
  });
}

async function inOrder(files: readonly string[]): Promise<string[]> {
  const withFirst = await Promise.all(
    files.map(async (file) => {
      const first = await firstSeqOf(file).catch((cause) => {
        throw cannotRead(file, cause);
      });
      return { file, first: first ?? 0 };
    }),
  );
  return withFirst.sort((a, b) => a.first - b.first).map(({ file }) => file);
}

function cannotRead(what: string, cause: unknown): MorchError {
  return new MorchError('INVALID_INPUT', `Cannot read ${what}: ${(cause as Error).message}`, { cause });
}

function parseEnd(text: string): ChainEnd {
  const [seq, hash] = text.split(':');
  return { seq: Number(seq), hash: hash! };
}

/** Whether what a store holds is all that it ought to hold: the judgement after reading it through. Pure. */
import type { BatchEntry } from './batchEntries';
import type { Digest } from './fingerprints';

/** What reading the whole store through has shown. */
export interface Reading {
  /** Of the sound records, entries of batches left out. */
  digest: Digest;
  /** In the order of their numbers. */
  batches: (readonly [number: number, entry: BatchEntry])[];
  /** Keys of records that fail their check. */
  unreadable: string[];
  /** LevelDB's own word, where it broke off. */
  error: string | null;
}

export interface MissingBatches {
  count: number;
  first: number;
  last: number;
}

/** Told to the user, and kept in the store until the state has been marked as to be rebuilt. */
export interface Damage {
  at: string;
  /** For a person. */
  reason: string;
  /** Batches that were written and are not among what could be read; null when none is missing. */
  missing: MissingBatches | null;
  /** Keys of records that are there and cannot be read, 1,000 at most. */
  unreadable: string[];
  /** What could be read is, to the last record, what the last acknowledged batch left. */
  complete: boolean;
  /** The directory in which the files are kept as they were found; null when there were none. */
  keptIn: string | null;
}

export interface Judgement {
  /** One for each sign of damage, in words. */
  problems: string[];
  missing: MissingBatches | null;
}

/** @param mark number of the last batch that is known to have been acknowledged; 0 when that is not known */
export function judge(reading: Reading, mark: number): Judgement {
  const { digest, batches, unreadable, error } = reading;
  const problems: string[] = [];
  if (error !== null) problems.push(`LevelDB broke off: ${error}`);
  if (unreadable.length > 0)
    problems.push(`${countOf(unreadable.length, 'record')} failed the check, such as ${unreadable[0]}`);
  const last = batches.at(-1);
  const missing = missingFrom(batches, mark);
  if (last === undefined) {
    if (mark > 0) problems.push(`it has no batch, where number ${mark} had been acknowledged`);
    else if (digest.count > 0) problems.push(`its journal is missing, with ${countOf(digest.count, 'record')} there`);
    return { problems, missing };
  }
  const [lastNumber, { count, sum }] = last;
  if (missing !== null) {
    const range = missing.first === missing.last ? `${missing.first}` : `${missing.first} to ${missing.last}`;
    problems.push(`batch ${range} of its journal is missing`);
  }
  if (lastNumber < mark) problems.push(`it ends with batch ${lastNumber}, where number ${mark} had been acknowledged`);
  else if (count !== digest.count) problems.push(`it has ${countOf(digest.count, 'record')} where there were ${count}`);
  else if (sum !== digest.sum) problems.push(`its records are not those that its last batch left`);
  return { problems, missing };
}

function missingFrom(batches: Reading['batches'], mark: number): MissingBatches | null {
  const last = batches.at(-1);
  if (last === undefined) return null;
  const lastNumber = Math.max(last[0], mark);
  let next = last[1].first;
  const missing: MissingBatches = { count: 0, first: 0, last: 0 };
  const skip = (to: number): void => {
    if (to < next) return;
    if (missing.count === 0) missing.first = next;
    missing.count += to - next + 1;
    missing.last = to;
  };
  for (const [number] of batches) {
    if (number < next) continue;
    skip(number - 1);
    next = number + 1;
  }
  skip(lastNumber);
  return missing.count === 0 ? null : missing;
}

function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

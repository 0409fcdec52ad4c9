/** Parsers of flag values for commander, which turns what they throw into a usage error naming the flag. */
import path from 'node:path';
import { InvalidArgumentError, Option } from 'commander';
import type { z } from 'zod';
import { MorchError } from '../contract/errors';
import type { Constraint } from '../contract/workload';

/** Wraps a parser that throws MorchError. */
export function flag<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      if (error instanceof MorchError) throw new InvalidArgumentError(error.message);
      throw error;
    }
  };
}

/** For a flag that may be given again. */
export function collect<T>(parse: (text: string) => T): (text: string, previous: T[] | undefined) => T[] {
  return (text, previous = []) => [...previous, flag(parse)(text)];
}

/** @throws MorchError INVALID_INPUT unless `text` is a whole number in the range */
export function integer(min: number, max: number): (text: string) => number {
  return flag((text) => {
    const value = Number(text);
    if (!/^-?\d+$/.test(text) || value < min || value > max) {
      throw new MorchError('INVALID_INPUT', `It must be a whole number from ${min} to ${max}.`);
    }
    return value;
  });
}

/** For what the contract takes as it is typed. */
export function text(schema: z.ZodType<string>): (typed: string) => string {
  return flag((typed) => {
    const { data, error } = schema.safeParse(typed);
    if (data === undefined) throw new MorchError('INVALID_INPUT', `"${typed}" ${error?.issues[0]?.message}.`);
    return data;
  });
}

/**
 * For a quantity within bounds, which are given as they would be typed.
 * @param parse of a number, throws MorchError
 */
export function within(parse: (text: string) => number, least: string, most?: string): (text: string) => number {
  return flag((text) => {
    const value = parse(text);
    if (value >= parse(least) && (most === undefined || value <= parse(most))) return value;
    const bounds = most === undefined ? `at least ${least}` : `from ${least} to ${most}`;
    throw new MorchError('INVALID_INPUT', `It must be ${bounds}.`);
  });
}

/** The longest duration that contract/fields.ts takes. */
export const LONGEST = '3650d';

export const port = integer(1, 65_535);

/** Of every part: several in the variable with commas between. */
export function allowedHostOption(): Option {
  return new Option('--allowed-host <name>', 'another name under which it is called, may be repeated')
    .env('MORCH_ALLOWED_HOST')
    .argParser((text: string, previous: string[] | undefined) => [
      ...(previous ?? []),
      ...text.split(',').filter(Boolean),
    ]);
}

/** Of the parts that may be reached from elsewhere. */
export function tlsOptions(): Option[] {
  return [
    new Option('--tls', 'speak TLS on loopback too; on any other address it always does')
      .default(false)
      .env('MORCH_TLS'),
    new Option('--tls-cert <path>', 'show this certificate (PEM, those above it after it)').env('MORCH_TLS_CERT'),
    new Option('--tls-key <path>', 'its key').env('MORCH_TLS_KEY'),
  ];
}

/** Of every part; its variable is read by `isAuthOff`. */
export function noAuthOption(): Option {
  return new Option('--no-auth', 'ask nobody for a token; on loopback only (env: MORCH_NO_AUTH=1)');
}

/** Of flags that name files: from the current directory. Those not given are left out. */
export function absolutePaths<K extends string>(
  options: Partial<Record<K, string>>,
  names: readonly K[],
): Partial<Record<K, string>> {
  const given = names.flatMap((name) => {
    const file = options[name];
    // None at all is not where this program happens to be: the part refuses it.
    return file === undefined ? [] : [[name, file === '' ? '' : path.resolve(file)] as const];
  });
  return Object.fromEntries(given) as Partial<Record<K, string>>;
}

/** `K=V` → [K, V]; the value may be empty and hold more `=`. */
export function parsePair(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw new MorchError('INVALID_INPUT', `"${text}" must be NAME=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** Several labels in one variable: `zone=a,disk=ssd`. */
export function parsePairs(text: string): [string, string][] {
  return text
    .split(',')
    .filter((part) => part !== '')
    .map(parsePair);
}

/**
 * `zone=a,b` in; `zone!=a` notIn; `zone` exists; `!zone` absent.
 *
 * @throws MorchError INVALID_INPUT
 */
export function parseConstraint(text: string): Constraint {
  const match = /^(!?)([^!=]+)(?:(!?=)(.*))?$/s.exec(text);
  const [, not, label, operator, list] = match ?? [];
  const values = list?.split(',') ?? [];
  const wrong =
    label === undefined || (not === '!' && operator !== undefined) || (operator !== undefined && list === '');
  if (wrong) {
    throw new MorchError('INVALID_INPUT', `"${text}" is not a constraint, such as zone=a,b  zone!=a  zone  !zone`);
  }
  if (operator === undefined) return { label, op: not === '!' ? 'absent' : 'exists' };
  return { label, op: operator === '=' ? 'in' : 'notIn', values };
}

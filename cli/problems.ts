/** How failures are told: what is wrong with the input by the names of the flags, as that is what was typed. */
import type { Command } from 'commander';
import { type InputError, MorchError } from '../contract/errors';
import { say } from './output';

/** By JSON pointer into what a verb makes of its flags. */
export type FlagNames = Readonly<Record<string, string>>;

/** Of every flag whose field has its name, and of the others as given. */
export function flagNames(command: Command, others: FlagNames = {}): FlagNames {
  const own = command.options.flatMap((option) =>
    option.long === undefined ? [] : [[`/${option.attributeName()}`, option.long]],
  );
  return { ...Object.fromEntries(own), ...others };
}

/** @returns the error, of invalid input in the words of the flags; what has none is told as it came */
export function inFlags(error: unknown, names: FlagNames): unknown {
  if (!(error instanceof MorchError) || error.code !== 'INVALID_INPUT' || error.errors === undefined) return error;
  const told = error.errors.map((wrong) => ({ ...wrong, flag: flagOf(wrong.pointer, names) }));
  const [first] = told;
  if (first === undefined || told.some(({ flag }) => flag === undefined)) return error;
  const errors = told.map(({ flag, message }): InputError => ({ pointer: flag!, message }));
  const detail = told.length === 1 ? lineOf(errors[0]!) : `${told.length} flags are not valid:`;
  return new MorchError('INVALID_INPUT', detail, { errors, cause: error });
}

/** On stderr, with a line for each problem where there are several. */
export function tellProblem(who: string, error: MorchError): void {
  say(`${who}: ${error.message}`);
  const errors = error.errors ?? [];
  if (errors.length > 1) for (const wrong of errors) say(`  ${lineOf(wrong)}`);
}

/** Messages of the parts may begin with the flag already. */
function lineOf({ pointer, message }: InputError): string {
  return message.startsWith('--') ? message : `${pointer}: ${message}`;
}

/** Of the nearest field above that has one, with the key where the field is a map: `/env/1A` → `--env 1A`. */
function flagOf(pointer: string, names: FlagNames): string | undefined {
  if (names[pointer] !== undefined) return names[pointer];
  for (let cut = pointer.lastIndexOf('/'); cut > 0; cut = pointer.lastIndexOf('/', cut - 1)) {
    const above = names[pointer.slice(0, cut)];
    const rest = pointer.slice(cut + 1);
    if (above === undefined) continue;
    const isKey = !/\/|^\d+$/.test(rest);
    return isKey ? `${above} ${rest.replaceAll('~1', '/').replaceAll('~0', '~')}` : above;
  }
  return undefined;
}

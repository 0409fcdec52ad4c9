/**
 * How verbs print: data on stdout as a table, JSON, YAML or names; messages on stderr; colour on a terminal only.
 */
import { type Command, Option } from 'commander';

export const FORMATS = ['table', 'wide', 'json', 'yaml', 'name'] as const;
export type Format = (typeof FORMATS)[number];

export interface Column<T> {
  title: string;
  value: (item: T) => string;
  /** Shown by `-o wide` only. */
  wide?: boolean;
  /** Coloured by its text. */
  status?: boolean;
  align?: 'right';
  /** Moves by itself (ages, load), so a change of it alone is none for `-w`. */
  volatile?: boolean;
}

/** What a listing verb lists. */
export interface Listing<T> {
  noun: string;
  id: (item: T) => string;
  columns: readonly Column<T>[];
}

export interface OutputOptions {
  format: Format;
  /** Ids only. */
  quiet: boolean;
  headers: boolean;
  colour: boolean;
  /** Columns of the terminal; undefined where lines are not to be cut. */
  width: number | undefined;
}

/** A message for the person, never data. */
export function say(text: string): void {
  process.stderr.write(`${harmless(text)}\n`);
}

export function print(text: string): void {
  const shown = harmless(text, { hasColours: process.stdout.isTTY });
  process.stdout.write(shown.endsWith('\n') || shown === '' ? shown : `${shown}\n`);
}

/** Adds `-o`, and for lists `-q` and `--no-headers`. */
export function addOutputOptions(command: Command, more: { list: boolean }): Command {
  const formats = more.list
    ? FORMATS
    : FORMATS.filter((format) => format === 'table' || format === 'json' || format === 'yaml');
  command.addOption(new Option('-o, --output <format>', 'how to print').choices(formats).default('table'));
  if (more.list) {
    command.option('-q, --quiet', 'print ids only').option('--no-headers', 'print no line of titles');
  }
  return command;
}

export function outputOptionsOf(command: Command): OutputOptions {
  const given = command.opts<{ output?: Format; quiet?: boolean; headers?: boolean }>();
  const format = given.output ?? 'table';
  return {
    format,
    quiet: given.quiet ?? false,
    headers: given.headers ?? true,
    colour: wantsColour(process.stdout.isTTY, process.env),
    // A terminal that does not know its width says 0.
    width: process.stdout.isTTY && format === 'table' ? process.stdout.columns || undefined : undefined,
  };
}

/** https://no-color.org: any non-empty value. */
export function wantsColour(isTerminal: boolean | undefined, env: NodeJS.ProcessEnv): boolean {
  return isTerminal === true && (env.NO_COLOR ?? '') === '' && env.TERM !== 'dumb';
}

/** The text of a whole list, ending in a newline unless empty. */
export function renderList<T>(items: readonly T[], listing: Listing<T>, options: OutputOptions): string {
  if (options.quiet) return lines(items.map(listing.id));
  switch (options.format) {
    case 'json':
      return renderJson(items);
    case 'yaml':
      return yamlText(items);
    case 'name':
      return lines(items.map((item) => `${listing.noun}/${listing.id(item)}`));
    default:
      return items.length === 0 ? '' : renderTable(items, listing.columns, options);
  }
}

export function renderJson(value: unknown): string {
  return `${jsonText(value, 2)}\n`;
}

/** The same value for a program, and nothing for a terminal to obey. */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(LATE_CONTROLS, (c) => `\\u00${hexOf(c)}`);
}

/** As `jsonText`. */
export function yamlText(value: unknown): string {
  // Most of the command's memory and time to start; seldom needed.
  const { stringify } = require('yaml') as typeof import('yaml');
  const text = stringify(value);
  if (text.search(LATE_CONTROLS) === -1) return text;
  // Only between double quotes may one be written as an escape; the library quotes a string for its own reasons.
  return stringify(value, { defaultStringType: 'QUOTE_DOUBLE', defaultKeyType: 'PLAIN' }).replace(
    LATE_CONTROLS,
    (c) => `\\x${hexOf(c)}`,
  );
}

/** One thing that is no list: JSON or YAML as answered, else the text for people. */
export function renderOne(value: unknown, options: OutputOptions, forPeople: () => string): string {
  if (options.format === 'json') return renderJson(value);
  if (options.format === 'yaml') return yamlText(value);
  return forPeople();
}

/** Prints a list; an empty one says so on stderr, where the format shows nothing. */
export function printList<T>(items: readonly T[], listing: Listing<T>, options: OutputOptions): void {
  print(renderList(items, listing, options));
  const showsNothing = options.quiet || !['json', 'yaml'].includes(options.format);
  if (items.length === 0 && showsNothing) say(`no ${listing.noun}s`);
}

export function renderTable<T>(
  items: readonly T[],
  columns: readonly Column<T>[],
  options: Pick<OutputOptions, 'format' | 'headers' | 'colour' | 'width'>,
): string {
  const shown = columns.filter((column) => column.wide !== true || options.format === 'wide');
  const rows = items.map((item) => shown.map((column) => visible(column.value(item))));
  const widths = shown.map((column, at) =>
    rows.reduce((most, row) => Math.max(most, row[at]?.length ?? 0), options.headers ? column.title.length : 0),
  );
  const line = (cells: readonly string[], isHeader: boolean): string => {
    let room = options.width ?? Number.POSITIVE_INFINITY;
    let text = '';
    cells.forEach((cell, at) => {
      const column = shown[at];
      const last = at === cells.length - 1;
      const width = widths[at] ?? 0;
      const aligned = column?.align === 'right' ? cell.padStart(width) : last ? cell : cell.padEnd(width);
      const cut =
        aligned.length > room ? `${aligned.slice(0, Math.max(0, room - 1))}…`.slice(0, Math.max(0, room)) : aligned;
      room -= cut.length + 2;
      text += column?.status === true && options.colour && !isHeader ? paintStatus(cut) : cut;
      if (!last && room > 0) text += '  ';
    });
    return text.trimEnd();
  };
  const titles = shown.map((column) => column.title);
  return lines([...(options.headers ? [line(titles, true)] : []), ...rows.map((row) => line(row, false))]);
}

/** `title: value` lines, aligned; an empty value is left out. */
export function renderFields(fields: readonly (readonly [string, string])[]): string {
  const given = fields.filter(([, value]) => value !== '');
  const width = Math.max(0, ...given.map(([title]) => title.length)) + 2;
  return lines(given.map(([title, value]) => `${`${title}:`.padEnd(width)}${value}`));
}

function lines(texts: readonly string[]): string {
  return texts.map((text) => `${text}\n`).join('');
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROLS = /[\x00-\x1f\x7f-\x9f]/g;
/** Those that JSON and YAML leave as they are. */
const LATE_CONTROLS = /[\x7f-\x9f]/g;
/** As `paintStatus` sets them. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they begin with one
const OWN_COLOURS = /(\x1b\[(?:0|3[123]|90)m)/;

const hexOf = (character: string): string => character.charCodeAt(0).toString(16).padStart(2, '0');

/** Control characters shown, not obeyed: reasons and labels come from elsewhere. */
export function visible(text: string): string {
  return text.replace(CONTROLS, (character) => (character === '\n' ? '\\n' : `\\x${hexOf(character)}`));
}

/** The same for whole lines, of which the ends and the colours are ours: what is said and printed goes through it. */
export function harmless(text: string, { hasColours = false } = {}): string {
  const show = (piece: string) => piece.replace(CONTROLS, (c) => (c === '\n' || c === '\t' ? c : `\\x${hexOf(c)}`));
  return hasColours
    ? text
        .split(OWN_COLOURS)
        .map((piece, at) => (at % 2 === 1 ? piece : show(piece)))
        .join('')
    : show(text);
}

const COLOURS: Record<string, number> = {
  healthy: 32,
  running: 32,
  completed: 32,
  ok: 32,
  succeeded: 32,
  pending: 33,
  starting: 33,
  stopping: 33,
  recovering: 33,
  backoff: 33,
  suspect: 33,
  degraded: 33,
  inFlight: 33,
  failed: 31,
  lost: 31,
  stopped: 90,
};

/** Colours a status by its first word, as in `healthy,cordoned`; padding stays. */
export function paintStatus(text: string): string {
  const colour = COLOURS[/^[A-Za-z]+/.exec(text)?.[0] ?? ''];
  return colour === undefined ? text : `\u001b[${colour}m${text}\u001b[0m`;
}

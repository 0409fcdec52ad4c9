'use strict';
/**
 * The bench programs by name, or all of them one after the other.
 *
 *   npm run bench                      all in their short form, which takes about ten minutes
 *   npm run bench -- --full            all at full length, which takes hours
 *   npm run bench -- NAME [FLAGS]      one at full length, with flags of its own: `npm run bench -- spawn --help`
 *   npm run bench -- --list            the names
 *
 * With --save DIRECTORY each also writes DIRECTORY/NAME.json: figures, machine, commit, command.
 * Ends with 1 when one of them fails, 4 when it is called wrongly.
 */
const { spawn } = require('node:child_process');
const { readFileSync } = require('node:fs');
const path = require('node:path');
const { parseArgs } = require('node:util');
const { withoutSave } = require('./harness/results.cjs');
const { MEASUREMENTS } = require('./programs.cjs');

const INVALID = 4;

let running = null;
let stoppedBy = null;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  // The program takes its parts down and ends; Ctrl-C in a terminal has reached it already, once more does no harm.
  process.on(signal, () => {
    stoppedBy = signal;
    running?.kill(signal);
  });
}

async function main(args) {
  if (args.length > 0 && !args[0].startsWith('-')) return runByName(args[0], args.slice(1));
  const { values } = parse(args, {
    full: { type: 'boolean' },
    list: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
    save: { type: 'string' },
  });
  if (values.help) process.stdout.write(`${header()}\n`);
  else if (values.list) process.stdout.write(`${names().join('\n')}\n`);
  else await runAll(values);
}

/** @param flags the program's own, and --save, which is ours */
async function runByName(name, flags) {
  const one = MEASUREMENTS.find((measurement) => measurement.name === name);
  if (one === undefined) refuse(`there is no ${name}; there are\n${names().join('\n')}`);
  const { save } = parseArgs({ args: flags, options: { save: { type: 'string' } }, strict: false }).values;
  if (save === true) refuse('--save takes a directory');
  process.exitCode = await run(one, [...one.full, ...withoutSave(flags)], save);
}

async function runAll({ full, save }) {
  const failed = [];
  const chosen = full ? MEASUREMENTS : MEASUREMENTS.filter(({ short }) => short !== null);
  for (const one of chosen) {
    if (stoppedBy !== null) break;
    process.stdout.write(`\n== ${one.name}: ${one.line}\n`);
    const code = await run(one, full ? one.full : one.short, save);
    if (code !== 0) failed.push(one.name);
  }
  process.stdout.write(failed.length === 0 ? '\nall programs ended well\n' : `\nFAILED: ${failed.join(', ')}\n`);
  process.exitCode = failed.length === 0 && stoppedBy === null ? 0 : 1;
}

/** @returns how it ended; 1 for a signal */
async function run({ name, file, always }, flags, save) {
  const saving = save === undefined ? [] : ['--save', path.resolve(save, `${name}.json`)];
  running = spawn(process.execPath, [file, ...always, ...flags, ...saving], { stdio: 'inherit' });
  return new Promise((resolve) => running.once('close', (code) => resolve(code ?? 1)));
}

function names() {
  const width = Math.max(...MEASUREMENTS.map(({ name }) => name.length));
  return MEASUREMENTS.map(({ name, line }) => `  ${name.padEnd(width)}  ${line}`);
}

function parse(args, options) {
  try {
    return parseArgs({ args, options });
  } catch (error) {
    return refuse(`${error.message}\n\n${header()}`);
  }
}

function refuse(why) {
  process.stderr.write(`bench: ${why}\n`);
  process.exit(INVALID);
}

function header() {
  return /\/\*\*\n([\s\S]*?)\n \*\//.exec(readFileSync(__filename, 'utf8'))[1].replace(/^ \* ?/gm, '');
}

void main(process.argv.slice(2));

'use strict';
/**
 * The frame of a bench program: flags, `--help` (the header comment of the program itself), progress on stderr, the
 * report on stdout (with --json as JSON, with --save FILE in a file besides), checks, and an end that leaves nothing behind: also on an
 * error, on Ctrl-C and past its time.
 */
const { readFileSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { parseArgs } = require('node:util');
const { destroyAll } = require('./ending.cjs');
const { describeMachine, describeOrigin, saveReport, showMachine, textOf } = require('./results.cjs');

/** Beside the benchmark's own flags. */
const COMMON_FLAGS = {
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  keep: { type: 'boolean' },
  save: { type: 'string' },
};

const cleanups = new Set();
let ending = false;

/** @param cleanup called at an end before its time; @returns takes it back */
function onEnd(cleanup) {
  cleanups.add(cleanup);
  return () => cleanups.delete(cleanup);
}

/**
 * Runs a bench program and ends this process: 0; 1 when a check or the program failed; 128 + signal.
 *
 * @param numbers    flags that take a whole number from 1, with their defaults
 * @param texts      flags that take a text, with their defaults
 * @param switches   names of flags that take nothing
 * @param limitMs    given the numbers: how long it may take at most
 * @param main       given { numbers, texts, switches, check(isTrue, what), say(line) }; returns { json, lines }, what is printed
 */
async function runBench({ file, numbers: defaults, texts: textDefaults = {}, switches: names = [], limitMs, main }) {
  const { numbers, texts, switches, json, keep, save } = parseFlags(file, defaults, textDefaults, names);
  const failures = [];
  const say = (line) => process.stderr.write(`${line}\n`);
  const check = (isTrue, what) => {
    if (isTrue || failures.includes(what)) return;
    failures.push(what);
    say(`FAILED: ${what}`);
  };
  const abort = async (why, code) => {
    if (ending) return;
    ending = true;
    say(why);
    await cleanUp({ keep, say });
    process.exit(code);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => void abort(`${signal}: ending what was started`, 128 + os.constants.signals[signal]));
  }
  const limit = limitMs(numbers);
  setTimeout(() => void abort(`not done within ${limit / 1e3} s`, 1), limit).unref();
  const startedAtMs = Date.now();
  try {
    const [machine, origin] = [describeMachine(), describeOrigin()];
    const report = await main({ numbers, texts, switches, check, say });
    if (ending) return;
    await cleanUp({ keep: keep && failures.length > 0, say });
    if (ending) return;
    const tookSeconds = Math.round((Date.now() - startedAtMs) / 1e3);
    const flags = { ...numbers, ...texts, ...switches };
    machine.loadAfter = describeMachine().load;
    const all = { program: path.basename(file), ...origin, machine, flags, ...report.json, failures, tookSeconds };
    if (save !== undefined) saveReport(save, { ...all, report: report.lines }, process.argv.slice(2));
    if (json) process.stdout.write(textOf(all));
    else {
      const verdict =
        failures.length === 0 ? 'all checks hold' : `${failures.length} checks FAILED:\n  ${failures.join('\n  ')}`;
      process.stdout.write(
        `${[...report.lines, `  ${showMachine(machine)}; took ${tookSeconds} s`, verdict].join('\n')}\n`,
      );
    }
    process.exitCode = failures.length === 0 ? 0 : 1;
  } catch (error) {
    await abort(`FAILED: ${error.stack}`, 1);
  }
}

async function cleanUp({ keep, say }) {
  for (const cleanup of cleanups) await cleanup();
  for (const directory of await destroyAll({ keep })) say(`kept: ${directory}`);
}

function parseFlags(file, defaults, textDefaults, names) {
  const own = Object.fromEntries([
    ...Object.keys({ ...defaults, ...textDefaults }).map((name) => [name, { type: 'string' }]),
    ...names.map((name) => [name, { type: 'boolean' }]),
  ]);
  let values;
  try {
    ({ values } = parseArgs({ options: { ...COMMON_FLAGS, ...own } }));
  } catch (error) {
    refuse(file, error.message);
  }
  if (values.help) {
    process.stdout.write(`${headerOf(file)}\n`);
    process.exit(0);
  }
  const numbers = Object.fromEntries(
    Object.entries(defaults).map(([name, fallback]) => {
      if (values[name] !== undefined && !/^[1-9]\d{0,6}$/.test(values[name]))
        refuse(file, `--${name} takes a number from 1`);
      return [name, Number(values[name] ?? fallback)];
    }),
  );
  const texts = Object.fromEntries(
    Object.entries(textDefaults).map(([name, fallback]) => [name, values[name] ?? fallback]),
  );
  const switches = Object.fromEntries(names.map((name) => [name, values[name] ?? false]));
  return { numbers, texts, switches, json: values.json ?? false, keep: values.keep ?? false, save: values.save };
}

function refuse(file, why) {
  process.stderr.write(`${path.basename(file)}: ${why}\n\n${headerOf(file)}\n`);
  process.exit(4);
}

/** The first comment of the program, which says what it measures and how it is called. */
function headerOf(file) {
  const comment = /\/\*\*\n([\s\S]*?)\n \*\//.exec(readFileSync(file, 'utf8'))[1];
  return comment.replace(/^ \* ?/gm, '');
}

module.exports = { onEnd, runBench };

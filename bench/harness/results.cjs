'use strict';
/**
 * What is kept of a run of a bench program: its figures, and all that is needed to judge them and to run it again. Written by
 * program.cjs for --save; read by report.cjs.
 */
const { execFileSync } = require('node:child_process');
const { mkdirSync, writeFileSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { ROOT } = require('./part.cjs');

/** @returns when and of what the figures are; files may change while a program runs, so it is asked before */
function describeOrigin() {
  return { date: new Date().toISOString(), commit: commitOf(ROOT) };
}

/** @returns what the figures depend on; `load` is the load average at this moment */
function describeMachine() {
  return {
    cores: os.cpus().length,
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    memoryGib: Math.round(os.totalmem() / 2 ** 30),
    kernel: `Linux ${os.release()}`,
    node: process.version,
    load: os.loadavg()[0],
  };
}

/** In one line. */
function showMachine({ cores, memoryGib, kernel, node, load, loadAfter }) {
  const loads = `${load.toFixed(1)} at the start, ${loadAfter.toFixed(1)} at the end`;
  return `${cores} cores, ${memoryGib} GiB, ${kernel}, Node ${node}, load average ${loads}`;
}

/** The report of a program as JSON text, numbers to four places, lists of numbers in one line. */
function textOf(report) {
  const text = JSON.stringify(report, rounded, 2);
  return `${text.replace(/\[\s+(-?[\d.e+-]+(?:,\s+-?[\d.e+-]+)*)\s+\]/g, (_, list) => `[${list.replace(/\s+/g, ' ')}]`)}\n`;
}

function rounded(_name, value) {
  return typeof value === 'number' ? Math.round(value * 1e4) / 1e4 : value;
}

/** @returns the flags as they count: of one that is given twice the last */
function lastOfEach(args) {
  const flags = new Map();
  for (const [at, arg] of args.entries()) {
    if (!arg.startsWith('--')) continue;
    const value = args[at + 1];
    flags.set(arg, value === undefined || value.startsWith('--') ? [arg] : [arg, value]);
  }
  return [...flags.values()].flat();
}

/**
 * @param file   where to; its directory is made
 * @param report of the program; its `samples`, which may be long, are left out: spreads have the values of all runs. Its lines are
 *   kept as they are printed, for those who read
 * @param args   the program was called with
 */
function saveReport(file, { samples: _, ...report }, args) {
  mkdirSync(path.dirname(file), { recursive: true });
  const command = ['node', `bench/${report.program}`, ...lastOfEach(withoutSave(args))].join(' ');
  writeFileSync(file, textOf({ command, ...report }));
}

/** Flags but --save, in either way of writing it. */
function withoutSave(args) {
  return args.filter((arg, at) => !/^--save(=|$)/.test(arg) && args[at - 1] !== '--save');
}

/** Abbreviated; with `+` when files are changed, results and documents apart; null outside of a checkout. */
function commitOf(directory) {
  const git = (...args) => execFileSync('git', args, { cwd: directory, encoding: 'utf8', stdio: 'pipe' }).trim();
  try {
    const changed = git('status', '--porcelain', '-uno', '--', '.', ':!bench/results', ':!docs');
    return `${git('rev-parse', '--short=12', 'HEAD')}${changed === '' ? '' : '+'}`;
  } catch {
    return null;
  }
}

module.exports = { describeMachine, describeOrigin, saveReport, showMachine, textOf, withoutSave };

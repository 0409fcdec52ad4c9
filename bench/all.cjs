'use strict';
/**
 * All bench programs, one after the other, in a short form that takes a few minutes.
 *
 *   node bench/all.cjs [--full]
 *
 * --full runs them at their full length. Ends with 1 when one of them does.
 */
const { spawn } = require('node:child_process');
const { readFileSync } = require('node:fs');
const path = require('node:path');
const { parseArgs } = require('node:util');

/** Program with the flags it always has, and the flags of its short form. */
const PROGRAMS = [
  [['spawn'], ['--runs', '3', '--count', '200']],
  [['submit'], ['--runs', '5']],
  [['tls'], ['--runs', '3', '--starts', '20']],
  [['restart'], ['--runs', '2']],
  [['recovery'], ['--runs', '3']],
  [['thousand'], ['--runs', '1', '--idle-seconds', '10']],
  [['shim'], ['--runs', '2']],
  [['agentRestarts'], ['--runs', '10']],
  [
    ['agentRestarts', '--busy'],
    ['--runs', '10'],
  ],
  [['trues'], ['--runs', '1']],
  [['logs'], ['--runs', '1']],
  [['fleet'], ['--idle-seconds', '5']],
  [['http'], ['--runs', '2', '--seconds', '2', '--workloads', '20000']],
  [['store'], ['--runs', '3', '--seconds', '1']],
  [['schedulerStart'], ['--runs', '2']],
  [['lists'], ['--runs', '1', '--instances', '100000', '--nodes', '500']],
  [['falseVerdicts'], ['--minutes', '1']],
  [
    ['recovery', '--profile', 'fast'],
    ['--runs', '3'],
  ],
];

const { values } = parseArgs({ options: { full: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } });
if (values.help) {
  process.stdout.write(/\/\*\*\n([\s\S]*?)\n \*\//.exec(readFileSync(__filename, 'utf8'))[1].replace(/^ \* ?/gm, ''));
  process.stdout.write('\n');
  process.exit(0);
}

let running = null;
let stoppedBy = null;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  // The program takes its parts down and ends; Ctrl-C in a terminal has reached it already, once more does no harm.
  process.on(signal, () => {
    stoppedBy = signal;
    running?.kill(signal);
  });
}

async function runAll() {
  const failed = [];
  for (const [[name, ...always], short] of PROGRAMS) {
    if (stoppedBy !== null) break;
    const called = [name, ...always].join(' ');
    process.stdout.write(`\n== ${called}\n`);
    const flags = [...always, ...(values.full ? [] : short)];
    running = spawn(process.execPath, [path.join(__dirname, `${name}.cjs`), ...flags], { stdio: 'inherit' });
    const code = await new Promise((resolve) => running.once('close', resolve));
    if (code !== 0) failed.push(called);
  }
  process.stdout.write(failed.length === 0 ? '\nall programs ended well\n' : `\nFAILED: ${failed.join(', ')}\n`);
  process.exitCode = failed.length === 0 && stoppedBy === null ? 0 : 1;
}

void runAll();

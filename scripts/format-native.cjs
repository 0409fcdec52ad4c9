/**
 * Formats the C and C++ sources with clang-format; `--check` only says what differs.
 * Exit codes: 0 formatted; 1 differences; 77 there is no clang-format here (the reason is printed).
 */
'use strict';

const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { findProgram } = require('./steps/buildTools.cjs');
const { listFiles } = require('./steps/fingerprint.cjs');

const ROOT = path.dirname(__dirname);
const FOLDERS = ['agent/native', 'bench', 'test/fixtures'];
const SOURCE = /\.(c|cc|cpp|h|hpp)$/;
const NOT_OURS = new Set(['build', 'node_modules']);
const EXIT_SKIPPED = 77;

// Releases differ in details: the one of Debian 12 decides where several are installed.
const program = findProgram('clang-format-14') ?? findProgram('clang-format');
const files = FOLDERS.flatMap((folder) =>
  listFiles(path.join(ROOT, folder), (name, isDirectory) =>
    isDirectory ? !NOT_OURS.has(path.basename(name)) : SOURCE.test(name),
  ).map((name) => `${folder}/${name}`),
);

if (files.length === 0) {
  console.log('no C or C++ sources');
} else if (program === null) {
  console.log('skipped: clang-format is not installed (Debian, Ubuntu: apt-get install clang-format)');
  process.exitCode = EXIT_SKIPPED;
} else {
  const check = process.argv.includes('--check');
  const mode = check ? ['--dry-run', '--Werror'] : ['-i'];
  const { status, stderr, error } = spawnSync(program, [...mode, ...files], { cwd: ROOT, encoding: 'utf8' });
  if (error) throw error;
  // One line a file, in place of one for every character that is out of place.
  const differing = [
    ...new Set([...stderr.matchAll(/^(\S+?):\d+:\d+: error: code should/gm)].map((match) => match[1])),
  ];
  if (status === 0) console.log(`${files.length} C and C++ files: ${check ? 'ok' : 'formatted'}`);
  else if (differing.length === 0) process.stderr.write(stderr);
  else
    console.error(`not as clang-format would write them (\`npm run format\` mends that):\n  ${differing.join('\n  ')}`);
  process.exitCode = status === 0 ? 0 : 1;
}

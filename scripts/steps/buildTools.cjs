/**
 * The programs that build the native addon: found in PATH, installed by apt-get where that is possible,
 * else named with the lines that install them.
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { SetupError, say, step } = require('./report.cjs');
const { run } = require('./run.cjs');

/** Any program of a group will do. cmake-js itself insists on `g++` or `clang++` by name. */
const NEEDED = [
  { what: 'cmake', programs: ['cmake'] },
  { what: 'a C++ compiler', programs: ['g++', 'clang++'] },
  { what: 'a C compiler', programs: ['cc', 'gcc', 'clang'] },
  { what: 'make', programs: ['make', 'ninja'] },
];
const APT_PACKAGES = ['cmake', 'g++', 'make'];

/** @returns {string | null} the path of an executable in PATH */
function findProgram(name) {
  for (const directory of (process.env.PATH ?? '').split(path.delimiter)) {
    if (directory === '') continue;
    const candidate = path.join(directory, name);
    try {
      fs.accessSync(candidate, fs.constants.X_OK);
      if (fs.statSync(candidate).isFile()) return candidate;
    } catch {
      // Not in this directory.
    }
  }
  return null;
}

/** @returns {string[]} what is missing, in words; empty when the addon can be built */
function missingBuildTools() {
  return NEEDED.filter(({ programs }) => !programs.some(findProgram)).map(({ what }) => what);
}

function installLines() {
  const sudo = process.getuid?.() === 0 ? '' : 'sudo ';
  return [
    `  Debian, Ubuntu:  ${sudo}apt-get update && ${sudo}apt-get install -y ${APT_PACKAGES.join(' ')}`,
    `  Fedora, RHEL:    ${sudo}dnf install -y cmake gcc-c++ make`,
    `  Alpine:          ${sudo}apk add cmake g++ make linux-headers`,
  ].join('\n');
}

/** @throws {SetupError} naming what is missing and the lines that install it */
function requireBuildTools() {
  const missing = missingBuildTools();
  if (missing.length === 0) return;
  throw new SetupError(
    `the native addon needs ${missing.join(', ')}, not found in PATH. Install what is missing, then run the ` +
      `same command again:\n${installLines()}`,
  );
}

/**
 * Makes the build tools available: nothing when they are, `apt-get` when this is root on a Debian.
 *
 * @throws {SetupError} when they are still missing afterwards
 */
async function provideBuildTools() {
  const missing = missingBuildTools();
  if (missing.length > 0 && process.getuid?.() === 0 && findProgram('apt-get') !== null) {
    await step(`install ${missing.join(', ')} (apt-get install ${APT_PACKAGES.join(' ')})`, async () => {
      const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
      const update = await run('apt-get', ['update', '-q'], { env });
      // A broken extra source fails the update, while the packages may still be had from the others.
      if (update.code !== 0) say(`apt-get update failed with exit code ${update.code}; trying to install all the same`);
      const install = await run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...APT_PACKAGES], {
        env,
      });
      if (install.code !== 0) say(`apt-get install failed with exit code ${install.code} (its message is above)`);
    });
  }
  requireBuildTools();
}

module.exports = { findProgram, missingBuildTools, provideBuildTools, requireBuildTools };

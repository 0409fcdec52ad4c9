/**
 * node_modules: is what is installed what package-lock.json asks for, and `npm ci` when it is not.
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { readJson } = require('./fingerprint.cjs');
const { SetupError, step } = require('./report.cjs');
const { run } = require('./run.cjs');

/**
 * npm writes node_modules/.package-lock.json last, after everything is in place; `npm ci` begins by
 * removing it. So its agreement with package-lock.json says that an installation is whole.
 *
 * @param {string} root
 * @returns {boolean}
 */
function dependenciesAreCurrent(root) {
  const wanted = readJson(path.join(root, 'package-lock.json'))?.packages;
  const installed = readJson(path.join(root, 'node_modules/.package-lock.json'))?.packages;
  if (!wanted || !installed) return false;
  for (const [where, entry] of Object.entries(wanted)) {
    if (where === '') continue;
    const there = installed[where];
    // Optional ones are for other platforms when they are absent.
    if (there === undefined && entry.optional) continue;
    if (there?.version !== entry.version || there.integrity !== entry.integrity) return false;
    if (!there.optional && !fs.existsSync(path.join(root, where, 'package.json'))) return false;
  }
  return true;
}

/** The npm that runs us, else the one in PATH. */
function npmCommand() {
  const execPath = process.env.npm_execpath;
  if (execPath !== undefined && path.basename(execPath) === 'npm-cli.js' && fs.existsSync(execPath)) {
    return { command: process.execPath, args: [execPath] };
  }
  return { command: 'npm', args: [] };
}

/** @throws {SetupError} when `npm ci` fails */
async function installDependencies(root, env) {
  const npm = npmCommand();
  await step('install the dependencies (npm ci)', async () => {
    // Development dependencies build and test, whatever NODE_ENV says.
    const { code } = await run(npm.command, [...npm.args, 'ci', '--include=dev'], { cwd: root, env });
    if (code !== 0) {
      throw new SetupError(
        `npm ci failed with exit code ${code}; its message is above. Behind a proxy or a mirror, tell npm: ` +
          '`npm config set proxy ...` or `npm config set registry ...`; then run the same command again.',
      );
    }
  });
}

module.exports = { dependenciesAreCurrent, installDependencies };

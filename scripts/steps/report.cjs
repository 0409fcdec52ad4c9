/**
 * How the set-up steps talk: everything goes to stderr, so that stdout belongs to the program that npm
 * starts afterwards (`npm test -- --json`).
 */
'use strict';

const PREFIX = 'setup:';

/** A failure whose message says what to do; printed without a stack. `exitCode` is the process's. */
class SetupError extends Error {
  constructor(message, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

function say(line) {
  process.stderr.write(`${PREFIX} ${line}\n`);
}

/**
 * Announces a long step, runs it, and says how long it took.
 *
 * @param {string} what  in the infinitive: "install the dependencies (npm ci)"
 * @param {() => Promise<unknown>} action
 */
async function step(what, action) {
  const startedAt = process.hrtime.bigint();
  say(`${what} ...`);
  await action();
  say(`${what}: done in ${(Number(process.hrtime.bigint() - startedAt) / 1e9).toFixed(1)} s`);
}

/** Runs a script's main function: SetupError to its message and exit code, anything else with its stack. */
async function runMain(main) {
  try {
    await main();
  } catch (error) {
    if (error instanceof SetupError) say(error.message);
    else process.stderr.write(`${error?.stack ?? error}\n`);
    process.exitCode = error instanceof SetupError ? error.exitCode : 1;
  }
}

module.exports = { SetupError, runMain, say, step };

/**
 * Runs one child program of the set-up. A signal that ends the set-up ends the child first, and the
 * set-up then exits with 128 + signal, so that `setup && next` stops there.
 */
'use strict';

const { spawn } = require('node:child_process');
const os = require('node:os');
const { SetupError } = require('./report.cjs');

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * @param {string} command  looked up in PATH
 * @param {string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, quiet?: boolean }} [options]
 *   quiet: keep the output and hand it back instead of showing it; the child then has its own process
 *   group, so that a signal reaches the compilers below it too
 * @returns {Promise<{ code: number, output: string }>} code 127: the program could not be started
 * @throws {SetupError} when a signal arrived meanwhile; the child has ended by then
 */
function run(command, args, { cwd, env = process.env, quiet = false } = {}) {
  return new Promise((resolve, reject) => {
    const stdio = quiet ? ['ignore', 'pipe', 'pipe'] : ['ignore', 2, 2];
    const child = spawn(command, args, { cwd, env, stdio, detached: quiet });
    let received = null;
    const forward = (signal) => {
      // Ctrl-C in a terminal reaches a child of our own group without us.
      const alreadyTold = received === null && signal === 'SIGINT' && !quiet && process.stdin.isTTY;
      received = signal;
      if (alreadyTold) return;
      try {
        process.kill(quiet ? -child.pid : child.pid, signal);
      } catch (error) {
        if (error.code !== 'ESRCH') throw error;
      }
    };
    for (const signal of SIGNALS) process.on(signal, forward);
    const stopForwarding = () => {
      for (const signal of SIGNALS) process.off(signal, forward);
    };

    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    }
    child.on('error', (error) => {
      stopForwarding();
      resolve({ code: 127, output: `${command}: ${error.message}\n` });
    });
    child.on('close', (code, signal) => {
      stopForwarding();
      if (received !== null) {
        reject(new SetupError(`interrupted by ${received}`, 128 + os.constants.signals[received]));
      } else {
        resolve({ code: code ?? 128 + os.constants.signals[signal], output });
      }
    });
  });
}

module.exports = { run };

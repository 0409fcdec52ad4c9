'use strict';
/** Waiting on conditions, never on guesses. Used by every bench program. */
const { performance } = require('node:perf_hooks');
const { setTimeout: sleep } = require('node:timers/promises');

/**
 * Calls `condition` until it returns something truthy, and returns that.
 * @throws Error naming `what`, with what `describe` says of it, when `timeoutMs` have passed
 */
async function until(condition, { what, timeoutMs = 30_000, everyMs = 10, describe = () => '' }) {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const result = await condition();
    if (result) return result;
    if (performance.now() > deadlineMs) {
      throw new Error(`waited ${timeoutMs / 1e3} s in vain until ${what} ${describe()}`.trimEnd());
    }
    await sleep(everyMs);
  }
}

module.exports = { until };

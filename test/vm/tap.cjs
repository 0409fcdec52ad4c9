/** Checks one after the other, told on stdout in the way of TAP: what scripts/test-vm.sh counts. */
'use strict';

const { setTimeout: sleep } = require('node:timers/promises');

let count = 0;
let failed = 0;

/** A check that throws has failed; the others go on. */
async function check(name, body) {
  count += 1;
  const startedMs = performance.now();
  const seconds = () => `${((performance.now() - startedMs) / 1_000).toFixed(1)} s`;
  try {
    await body();
    console.log(`ok ${count} - ${name} (${seconds()})`);
  } catch (error) {
    failed += 1;
    console.log(`not ok ${count} - ${name} (${seconds()})`);
    note(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
}

function note(text) {
  for (const line of text.trimEnd().split('\n')) console.log(`# ${line}`);
}

function failures() {
  return failed;
}

/**
 * Calls `condition` until it returns something truthy, and returns that. The machine may be an emulated one: the time
 * limit only ends what would never end, and asking less and less often leaves the processor to what is waited for.
 */
async function until(what, condition, timeoutMs = 60_000) {
  const deadlineMs = performance.now() + timeoutMs;
  for (let pauseMs = 20; ; pauseMs = Math.min(pauseMs * 1.5, 500)) {
    const result = await condition();
    if (result) return result;
    if (performance.now() > deadlineMs) throw new Error(`timed out after ${timeoutMs} ms waiting until ${what}`);
    await sleep(pauseMs);
  }
}

module.exports = { check, failures, note, until };

'use strict';
/** What a bench program has started, so that all of it ends with the program. Clusters and agents enlist themselves; program.cjs calls the end. */
const { rmSync } = require('node:fs');

const enlisted = new Set();

/** @param subject has a `directory` of its own, and `destroy()`, which ends whatever it has started */
function enlist(subject) {
  enlisted.add(subject);
}

/** @param keep leave the directories with the logs; @returns those that were left */
async function destroyAll({ keep }) {
  const kept = [];
  for (const subject of enlisted) {
    await subject.destroy();
    if (keep) kept.push(subject.directory);
    else rmSync(subject.directory, { recursive: true, force: true, maxRetries: 3 });
    enlisted.delete(subject);
  }
  return kept;
}

module.exports = { destroyAll, enlist };

/**
 * The order in which jest runs the suites: those that take long first, so that no worker waits at the end for one that
 * began late. Jest itself goes by what it has measured, and by the size of files where it has measured nothing.
 */
'use strict';

const Sequencer = require('@jest/test-sequencer').default;

/** Longest first. A suite that is missing here is only run later than it might be. */
const LONG = [
  'faults/faults',
  'system/rebuild',
  'system/nodeFailure',
  'system/onDisconnect',
  'cli/clients',
  'scheduler/store/damage',
  'protocol/rulesLeftOut',
  'protocol/protocol',
  'system/unseenCopies',
  'system/drill',
  'system/hardCases',
  'scheduler/simulation',
  'scheduler/agentReturn',
  'system/agentReturn',
  'system/brake',
].map((name) => `/test/${name}.test.ts`);

function rankOf({ path }) {
  const at = LONG.findIndex((name) => path.endsWith(name));
  return at === -1 ? LONG.length : at;
}

module.exports = class extends Sequencer {
  sort(tests) {
    return super.sort(tests).sort((a, b) => rankOf(a) - rankOf(b));
  }
};

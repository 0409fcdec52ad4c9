/**
 * The one check that must run on any Node, so it is written for old ones (no optional chaining).
 */
'use strict';

/**
 * @param {string} running  like `20.19.0`
 * @param {string} range  package.json's `engines.node`, of the form `>=20.19`
 * @returns {string | null} what is wrong and what is needed, or null
 */
function explainUnsupportedNode(running, range) {
  const needed = range.replace('>=', '').split('.').map(Number);
  const have = running.split('.').map(Number);
  for (let i = 0; i < needed.length; i++) {
    if (have[i] > needed[i]) return null;
    if (have[i] < needed[i]) {
      return (
        `Node ${running} is too old: Node ${range.replace('>=', '')} or newer is needed (this one is ` +
        `${process.execPath}). Install Node 20, 22 or 24 and put it first in PATH.`
      );
    }
  }
  return null;
}

module.exports = { explainUnsupportedNode };

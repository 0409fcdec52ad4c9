'use strict';
/** Where a .cpuprofile says that the time went: by function, itself and with all that it called; idle time apart. */
const { readFileSync } = require('node:fs');
const path = require('node:path');

const IDLE = new Set(['(idle)', '(root)']);

/**
 * @returns { activeMs, totalMs, self, inclusive }: lists of { name, ms, share } with the share of the active time, largest first
 */
function summarizeProfile(file) {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, 'utf8'));
  const byId = new Map(nodes.map((node) => [node.id, { ...node, selfUs: 0 }]));
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id])));
  samples.forEach((id, at) => {
    byId.get(id).selfUs += Math.max(0, timeDeltas[at]);
  });
  const self = new Map();
  const inclusive = new Map();
  let totalUs = 0;
  let activeUs = 0;
  for (const node of byId.values()) {
    totalUs += node.selfUs;
    const name = nameOf(node);
    if (node.selfUs === 0 || IDLE.has(name)) continue;
    activeUs += node.selfUs;
    add(self, name, node.selfUs);
    const seen = new Set();
    for (let id = node.id; id !== undefined; id = parents.get(id)) {
      const above = nameOf(byId.get(id));
      if (seen.has(above) || IDLE.has(above)) continue;
      seen.add(above);
      add(inclusive, above, node.selfUs);
    }
  }
  const ranked = (map) =>
    [...map].sort((a, b) => b[1] - a[1]).map(([name, us]) => ({ name, ms: us / 1e3, share: us / activeUs }));
  return { activeMs: activeUs / 1e3, totalMs: totalUs / 1e3, self: ranked(self), inclusive: ranked(inclusive) };
}

/** @returns lines of the first so many of each list */
function showProfile(file, count = 25) {
  const { activeMs, totalMs, self, inclusive } = summarizeProfile(file);
  const list = (rows) =>
    rows
      .slice(0, count)
      .map(
        ({ name, ms, share }) =>
          `    ${(share * 100).toFixed(1).padStart(5)} %  ${ms.toFixed(0).padStart(7)} ms  ${name}`,
      );
  return [
    `  ${path.basename(file)}: active ${(activeMs / 1e3).toFixed(2)} of ${(totalMs / 1e3).toFixed(2)} s`,
    '   itself:',
    ...list(self),
    '   with what it calls:',
    ...list(inclusive),
  ];
}

function add(map, name, us) {
  map.set(name, (map.get(name) ?? 0) + us);
}

function nameOf({ callFrame: { functionName, url, lineNumber } }) {
  const where = url.replace(/^.*\/(?=dist\/|node_modules\/)/, '').replace(/^file:\/\//, '');
  return `${functionName === '' ? '(anonymous)' : functionName}${where === '' ? '' : ` ${where}:${lineNumber + 1}`}`;
}

module.exports = { showProfile, summarizeProfile };

if (require.main === module)
  process.stdout.write(`${showProfile(process.argv[2], Number(process.argv[3] ?? 25)).join('\n')}\n`);

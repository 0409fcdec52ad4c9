'use strict';
/**
 * Where a .cpuprofile says that the time went: by function and by file alone, and by function of the product with all that it
 * calls. Idle time is left out, and so is what looks at the part (inside.cjs).
 *
 *   node bench/harness/profile.cjs FILE.cpuprofile [LINES]
 */
const { readFileSync } = require('node:fs');
const path = require('node:path');

const LINES = 20;
const IDLE = new Set(['(idle)', '(root)']);

/** @returns { activeMs, totalMs, functions, files, product }: lists of { name, ms, share } with the share of the active time, largest first */
function summarizeProfile(file) {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, 'utf8'));
  const byId = new Map(nodes.map((node) => [node.id, { ...node, ownUs: 0, parent: null }]));
  for (const { id, children = [] } of nodes) for (const child of children) byId.get(child).parent = byId.get(id);
  samples.forEach((id, at) => {
    byId.get(id).ownUs += Math.max(0, timeDeltas[at]);
  });
  const [functions, files, product] = [new Map(), new Map(), new Map()];
  let totalUs = 0;
  let activeUs = 0;
  for (const node of byId.values()) {
    totalUs += node.ownUs;
    const { functionName } = node.callFrame;
    if (node.ownUs === 0 || IDLE.has(functionName)) continue;
    const above = [];
    for (let one = node; one !== null; one = one.parent) above.push(one);
    if (above.some((one) => one.callFrame.url.endsWith('/inside.cjs'))) continue;
    activeUs += node.ownUs;
    add(functions, nameOf(node), node.ownUs);
    add(files, fileOf(node) === '' ? `native: ${functionName}` : fileOf(node), node.ownUs);
    const callers = above.filter((one) => fileOf(one).startsWith('dist/'));
    for (const name of new Set(callers.map(nameOf))) add(product, name, node.ownUs);
  }
  const ranked = (sums) =>
    [...sums].sort((a, b) => b[1] - a[1]).map(([name, us]) => ({ name, ms: us / 1e3, share: us / activeUs }));
  const lists = { functions: ranked(functions), files: ranked(files), product: ranked(product) };
  return { activeMs: activeUs / 1e3, totalMs: totalUs / 1e3, ...lists };
}

/** @returns lines of text, so many of each list */
function showProfile(file, count = LINES) {
  const { activeMs, totalMs, functions, files, product } = summarizeProfile(file);
  const list = (rows) =>
    rows
      .slice(0, count)
      .map(({ name, ms, share }) => `    ${percent(share)}  ${ms.toFixed(0).padStart(7)} ms  ${name}`);
  return [
    `  ${path.basename(file)}: active ${(activeMs / 1e3).toFixed(2)} of ${(totalMs / 1e3).toFixed(2)} s`,
    '   functions, by themselves:',
    ...list(functions),
    '   files, by themselves:',
    ...list(files),
    '   functions of the product, with all that they call:',
    ...list(product),
  ];
}

function percent(share) {
  return `${(share * 100).toFixed(1).padStart(5)} %`;
}

function add(sums, name, us) {
  sums.set(name, (sums.get(name) ?? 0) + us);
}

/** From `dist/`, the package's name or `node:` on. */
function fileOf({ callFrame: { url } }) {
  return url.replace(/^.*\/node_modules\//, '').replace(/^.*\/(?=dist\/)/, '');
}

function nameOf(node) {
  const { functionName, lineNumber } = node.callFrame;
  const file = fileOf(node);
  return `${functionName === '' ? '(anonymous)' : functionName}${file === '' ? '' : ` ${file}:${lineNumber + 1}`}`;
}

module.exports = { showProfile, summarizeProfile };

if (require.main === module) {
  const [file, lines = LINES] = process.argv.slice(2);
  process.stdout.write(`${showProfile(file, Number(lines)).join('\n')}\n`);
}

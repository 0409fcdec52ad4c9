'use strict';
/**
 * Where a .cpuprofile says that the time went: by function and by file alone, by function of the product with all that it
 * calls, and what the longest turns of the event loop did. Idle time is left out, and so is what looks at the part (inside.cjs).
 *
 *   node bench/harness/profile.cjs FILE.cpuprofile [LINES]
 */
const { readFileSync } = require('node:fs');
const path = require('node:path');

const LINES = 20;
const IDLE = new Set(['(idle)', '(root)']);
/** Functions that are named for each turn. */
const TURN_LINES = 8;

/** @returns each sample: when it was taken, how long it stands for, and what was on the stack, the innermost first, the root left out */
function* samplesOf({ nodes, samples, timeDeltas, startTime }) {
  const byId = new Map(nodes.map((node) => [node.id, { ...node, parent: null }]));
  for (const { id, children = [] } of nodes) for (const child of children) byId.get(child).parent = byId.get(id);
  let atUs = startTime;
  for (const [at, id] of samples.entries()) {
    const chain = [];
    for (let one = byId.get(id); one.parent !== null; one = one.parent) chain.push(one);
    atUs += timeDeltas[at];
    yield { chain, atUs, us: Math.max(0, timeDeltas[at]) };
  }
}

/** @returns { activeMs, totalMs, functions, files, product }: lists of { name, ms, share } with the share of the active time, largest first */
function summarizeProfile(profile) {
  const [functions, files, product] = [new Map(), new Map(), new Map()];
  let totalUs = 0;
  let activeUs = 0;
  for (const { chain, us } of samplesOf(profile)) {
    totalUs += us;
    const [node] = chain;
    if (node === undefined || IDLE.has(node.callFrame.functionName)) continue;
    if (chain.some((one) => one.callFrame.url.endsWith('/inside.cjs'))) continue;
    activeUs += us;
    add(functions, nameOf(node), us);
    add(files, fileOf(node) === '' ? `native: ${node.callFrame.functionName}` : fileOf(node), us);
    const own = chain.filter((one) => fileOf(one).startsWith('dist/'));
    for (const name of new Set(own.map(nameOf))) add(product, name, us);
  }
  const ranked = (sums) =>
    [...sums].sort((a, b) => b[1] - a[1]).map(([name, us]) => ({ name, ms: us / 1e3, share: us / activeUs }));
  const lists = { functions: ranked(functions), files: ranked(files), product: ranked(product) };
  return { activeMs: activeUs / 1e3, totalMs: totalUs / 1e3, ...lists };
}

/** @returns of each turn that was written down with the profile: { ownMs, collectionMs, kinds, product }, lists as above */
function longestTurns(profile) {
  const { turns = [] } = profile;
  const samples = turns.length === 0 ? [] : [...samplesOf(profile)];
  return turns.map(({ fromUs, toUs, ownMs, collectionMs }) => {
    const [kinds, product] = [new Map(), new Map()];
    for (const { chain, atUs, us } of samples) {
      if (atUs < fromUs || atUs > toUs) continue;
      add(kinds, chain.at(-1)?.callFrame.functionName ?? '(root)', us);
      for (const name of new Set(chain.filter((one) => fileOf(one) !== '').map(nameOf))) add(product, name, us);
    }
    const ranked = (sums) => [...sums].sort((a, b) => b[1] - a[1]).map(([name, us]) => ({ name, ms: us / 1e3 }));
    return { ownMs, collectionMs, kinds: ranked(kinds), product: ranked(product) };
  });
}

/** @returns lines of text, so many of each list */
function showProfile(file, count = LINES) {
  const profile = JSON.parse(readFileSync(file, 'utf8'));
  const { activeMs, totalMs, functions, files, product } = summarizeProfile(profile);
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
    '   longest turns of the event loop:',
    ...longestTurns(profile).flatMap(({ ownMs, collectionMs, kinds, product: within }) => [
      `    ${ownMs.toFixed(0).padStart(7)} ms of CPU, and ${collectionMs.toFixed(0)} ms of garbage collection; ${kinds.map(({ name, ms }) => `${name} ${ms.toFixed(0)}`).join(', ')}`,
      ...within.slice(0, TURN_LINES).map(({ name, ms }) => `      ${ms.toFixed(0).padStart(7)} ms  ${name}`),
    ]),
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

module.exports = { showProfile };

if (require.main === module) {
  const [file, lines = LINES] = process.argv.slice(2);
  process.stdout.write(`${showProfile(file, Number(lines)).join('\n')}\n`);
}

'use strict';
/**
 * Where a .cpuprofile says that the time went: by function and by file alone, by function of the product with all that it
 * calls, and what held up the event loop longest. Idle time is left out, and so is what looks at the part (inside.cjs).
 *
 *   node bench/harness/profile.cjs FILE.cpuprofile [LINES]
 */
const { readFileSync } = require('node:fs');
const path = require('node:path');

const LINES = 20;
const IDLE = new Set(['(idle)', '(root)']);
/** Happens within whatever is going on. */
const WITHIN = new Set(['(garbage collector)', '(program)']);
const STRETCHES = 3;
/** Functions of the product that are named for each. */
const STRETCH_LINES = 6;

/** @returns each sample: how long it stands for, and what was on the stack, the innermost first, the root left out */
function* samplesOf(file) {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, 'utf8'));
  const byId = new Map(nodes.map((node) => [node.id, { ...node, parent: null }]));
  for (const { id, children = [] } of nodes) for (const child of children) byId.get(child).parent = byId.get(id);
  for (const [at, id] of samples.entries()) {
    const chain = [];
    for (let one = byId.get(id); one.parent !== null; one = one.parent) chain.push(one);
    yield { chain, us: Math.max(0, timeDeltas[at]) };
  }
}

/** @returns { activeMs, totalMs, functions, files, product }: lists of { name, ms, share } with the share of the active time, largest first */
function summarizeProfile(file) {
  const [functions, files, product] = [new Map(), new Map(), new Map()];
  let totalUs = 0;
  let activeUs = 0;
  for (const { chain, us } of samplesOf(file)) {
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

/**
 * What ran without a pause and of one kind: immediates, what was read, timers. More than one turn of the event loop only where
 * each was followed by the next at once.
 *
 * @returns the longest: { kind, ms, collectionMs, product }, with the product's functions as above
 */
function longestStretches(file, count = STRETCHES) {
  const stretches = [];
  let present = null;
  for (const { chain, us } of samplesOf(file)) {
    const kind = chain.at(-1)?.callFrame.functionName ?? '(root)';
    if (WITHIN.has(kind)) {
      if (present !== null) present.us += us;
      if (present !== null) present.withinUs += us;
      continue;
    }
    if (present?.kind !== kind) {
      present = { kind, us: 0, withinUs: 0, product: new Map() };
      if (!IDLE.has(kind)) stretches.push(present);
    }
    present.us += us;
    const own = chain.filter((one) => fileOf(one).startsWith('dist/'));
    for (const name of new Set(own.map(nameOf))) add(present.product, name, us);
  }
  return stretches
    .sort((a, b) => b.us - a.us)
    .slice(0, count)
    .map(({ kind, us, withinUs, product }) => ({
      kind,
      ms: us / 1e3,
      collectionMs: withinUs / 1e3,
      product: [...product].sort((a, b) => b[1] - a[1]).map(([name, ownUs]) => ({ name, ms: ownUs / 1e3 })),
    }));
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
    '   longest stretches without a pause:',
    ...longestStretches(file).flatMap((one) => [
      `    ${one.ms.toFixed(0).padStart(7)} ms  ${one.kind}, ${one.collectionMs.toFixed(0)} ms of it garbage collection and the like`,
      ...one.product.slice(0, STRETCH_LINES).map(({ name, ms }) => `      ${ms.toFixed(0).padStart(7)} ms  ${name}`),
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

module.exports = { longestStretches, showProfile, summarizeProfile };

if (require.main === module) {
  const [file, lines = LINES] = process.argv.slice(2);
  process.stdout.write(`${showProfile(file, Number(lines)).join('\n')}\n`);
}

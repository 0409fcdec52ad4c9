'use strict';
/**
 * Durable records of the scheduler's store in a second: through its interface, with its checks, the sum of all records, the entries of
 * its journal and the mark, one synced batch in flight.
 *
 *   node bench/store.cjs [--runs 7] [--seconds 3] [--batch 1000] [--present 100000] [--data-dir DIR] [--json]
 *
 * Batches of --batch records as the scheduler writes them (instances, some 200 bytes of JSON each), half of them new and half in the
 * place of others, to a store that has --present of them; a batch is asked for when the one before is on the disk. A run takes
 * --seconds of each, in turn:
 *   store     the product's (dist/scheduler/store)
 *   LevelDB   the same texts and the same batches with `sync`, and nothing else: no JSON, no checks, nothing counted
 *   file      as many bytes appended to a file, and one fdatasync for each batch: what the disk takes
 * Checked: after the runs the store is opened anew, and is sound with as many records as were written.
 */
const { closeSync, fdatasync, mkdtempSync, openSync, rmSync, writeSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { promisify } = require('node:util');
const { Level } = require('level');
const { enlist } = require('./harness/ending.cjs');
const { ROOT } = require('./harness/part.cjs');
const { runBench } = require('./harness/program.cjs');
const { showSpreads, spreadOf } = require('./harness/statistics.cjs');

const WARM_UP_BATCHES = 20;

runBench({
  file: __filename,
  numbers: { runs: 7, seconds: 3, batch: 1_000, present: 100_000 },
  texts: { 'data-dir': os.tmpdir() },
  limitMs: ({ runs, seconds, present }) => 60_000 + present + (runs + 1) * (seconds * 3 + 5) * 1_000,
  main: measureStore,
});

async function measureStore({ numbers: { runs, seconds, batch, present }, texts, check, say }) {
  const directory = mkdtempSync(path.join(texts['data-dir'], 'morch-bench-'));
  enlist({ directory, destroy: async () => {} });
  const { openLevelStore } = require(path.join(ROOT, 'dist/scheduler/store/open.js'));
  const open = async () => (await openLevelStore(path.join(directory, 'store'))).store;
  const store = await open();
  const level = new Level(path.join(directory, 'level'));
  await level.open();
  const file = openSync(path.join(directory, 'file'), 'w');
  const sync = promisify(fdatasync);
  const writers = {
    store: (ops) => store.write(ops),
    level: async (ops) => {
      const chained = level.batch();
      for (const { key, text } of ops) chained.put(key, text);
      await chained.write({ sync: true });
    },
    file: async (ops) => {
      writeSync(file, ops.map(({ key, text }) => key + text).join(''));
      await sync(file);
    },
  };
  const names = Object.keys(writers);
  const next = Object.fromEntries(names.map((name) => [name, recordsFrom(batch)]));
  for (const name of names) {
    for (let n = 0; n < present / batch || n < WARM_UP_BATCHES; n += 1)
      await writers[name](next[name]({ allNew: true }));
  }
  const samples = [];
  for (let run = 1; run <= runs; run += 1) {
    const sample = {};
    for (const name of run % 2 === 0 ? names : [...names].reverse()) {
      sample[name] = await measureWrites(writers[name], next[name], seconds);
    }
    samples.push(sample);
    say(`run ${run}/${runs}: ${names.map((name) => `${name} ${sample[name].perSecond.toFixed(0)}/s`).join(', ')}`);
  }
  await store.close();
  await level.close();
  closeSync(file);
  const again = await open();
  let found = 0;
  for await (const _ of again.range('instance/')) found += 1;
  await again.close();
  check(found === next.store.made(), `${next.store.made()} records were written, and ${found} found`);
  rmSync(directory, { recursive: true });
  return report({ samples, runs, batch, present, names });
}

/** @returns makes the records of the next batch; `made()` tells how many different ones there are */
function recordsFrom(batch) {
  let made = 0;
  const next = ({ allNew = false } = {}) =>
    Array.from({ length: batch }, (_, at) => {
      const isNew = allNew || at % 2 === 0;
      const n = isNew ? made++ : (made * 7_919 + at * 104_729) % made;
      const uid = `00000000-0000-4000-8000-${String(Math.floor(n / 100)).padStart(12, '0')}`;
      const value = {
        generation: 1,
        run: at,
        rev: 9,
        revision: 1,
        status: 'running',
        node: `node-${n % 5_000}`,
        pid: 10_000 + n,
        shimPid: 10_001 + n,
        startedAt: '2026-01-02T03:04:05.678Z',
        attempts: 1,
        reserved: { cpuMillis: 100, memoryBytes: 67_108_864 },
      };
      const key = `instance/${uid}/${n % 100}`;
      return { type: 'put', key, value, text: `0badc0de${JSON.stringify(value)}` };
    });
  return Object.assign(next, { made: () => made });
}

/** The making of the records is not counted: it is the caller's. */
async function measureWrites(write, next, seconds) {
  let records = 0;
  let spentMs = 0;
  while (spentMs < seconds * 1_000) {
    const ops = next();
    const before = performance.now();
    await write(ops);
    spentMs += performance.now() - before;
    records += ops.length;
  }
  return { perSecond: (records / spentMs) * 1e3 };
}

function report({ samples, runs, batch, present, names }) {
  const of = (select) => spreadOf(samples.map(select));
  const figures = {
    ...Object.fromEntries(names.map((name) => [`${name}PerSecond`, of((sample) => sample[name].perSecond)])),
    toLevel: of(({ store, level }) => store.perSecond / level.perSecond),
    toFile: of(({ store, file }) => store.perSecond / file.perSecond),
  };
  const lines = [
    `Durable records, batches of ${batch}, ${present} there; ${runs} runs; median (min..max)`,
    ...showSpreads([
      ['the store', figures.storePerSecond, 0, 'records/s'],
      ['LevelDB by itself', figures.levelPerSecond, 0, 'records/s'],
      ['the bytes alone, in a file', figures.filePerSecond, 0, 'records/s'],
      ['store / LevelDB', figures.toLevel, 2, '×'],
      ['store / file', figures.toFile, 2, '×'],
    ]),
  ];
  return { json: { figures, samples }, lines };
}

/**
 * dist/: the TypeScript sources compiled. Called by the set-up and by `npm run build:ts`.
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { fingerprint, listFiles, readJson, writeJson } = require('./fingerprint.cjs');
const { SetupError, step } = require('./report.cjs');
const { run } = require('./run.cjs');

const STAMP = 'dist/.stamp.json';
const NOT_SOURCES = new Set(['node_modules', 'build', 'test']);

/** The folders that tsconfig.json compiles. */
function sourceFolders(root) {
  return readJson(path.join(root, 'tsconfig.json')).include;
}

function sourceFiles(root) {
  return sourceFolders(root).flatMap((folder) =>
    listFiles(path.join(root, folder), (name, isDirectory) =>
      isDirectory ? !NOT_SOURCES.has(path.basename(name)) : name.endsWith('.ts'),
    ).map((name) => `${folder}/${name}`),
  );
}

const productOf = (source) => `dist/${source.replace(/\.ts$/, '.js')}`;

function sourcesKey(root, sources) {
  return fingerprint(root, ['tsconfig.json', 'package.json', 'package-lock.json', ...sources]);
}

/** @returns {boolean} every source is compiled, from its present content */
function typescriptIsCurrent(root) {
  const sources = sourceFiles(root);
  return (
    readJson(path.join(root, STAMP))?.sources === sourcesKey(root, sources) &&
    sources.every((source) => source.endsWith('.d.ts') || fs.existsSync(path.join(root, productOf(source))))
  );
}

/** Compiled files whose source is gone would still be found by `require`. */
function removeOrphans(root, sources) {
  const wanted = new Set(sources.map(productOf));
  for (const folder of sourceFolders(root)) {
    for (const name of listFiles(path.join(root, 'dist', folder), () => true)) {
      const product = `dist/${folder}/${name}`;
      if (!wanted.has(product.replace(/\.map$/, ''))) fs.rmSync(path.join(root, product));
    }
  }
}

/** @throws {SetupError} on type errors; they are printed */
async function buildTypescript(root) {
  const sources = sourceFiles(root);
  const key = sourcesKey(root, sources);
  fs.rmSync(path.join(root, STAMP), { force: true });
  // The incremental state describes files that may have been deleted since.
  if (!sources.every((source) => source.endsWith('.d.ts') || fs.existsSync(path.join(root, productOf(source))))) {
    fs.rmSync(path.join(root, 'dist/.tsbuildinfo'), { force: true });
  }
  await step('compile the TypeScript sources (tsc)', async () => {
    const tsc = path.join(root, 'node_modules/typescript/bin/tsc');
    if (!fs.existsSync(tsc)) throw new SetupError('typescript is not installed; run `npm ci` first');
    const { code } = await run(process.execPath, [tsc, '-p', 'tsconfig.json'], { cwd: root });
    if (code !== 0) throw new SetupError(`tsc failed with exit code ${code}; its messages are above`);
  });
  removeOrphans(root, sources);
  for (const program of Object.values(readJson(path.join(root, 'package.json')).bin)) {
    fs.chmodSync(path.join(root, program), 0o755);
  }
  writeJson(path.join(root, STAMP), { sources: key });
}

async function provideTypescript(root) {
  if (!typescriptIsCurrent(root)) await buildTypescript(root);
}

module.exports = { provideTypescript, typescriptIsCurrent };

/**
 * Writes to a LevelDB store until it is killed, many writes at a time, and prints each number once its write is
 * acknowledged: `node writer.cjs <directory> <first number>`. The store's TypeScript is compiled on loading.
 */
'use strict';
const { writeSync } = require('node:fs');
const { join } = require('node:path');
const swc = require('@swc/core');

require.extensions['.ts'] = (module, path) => {
  const options = { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' }, module: { type: 'commonjs' } };
  module._compile(swc.transformFileSync(path, options).code, path);
};
const { openLevelStore } = require(join(__dirname, '../../../scheduler/store/open.ts'));

async function main() {
  const { store } = await openLevelStore(process.argv[2]);
  let n = Number(process.argv[3]);
  const write = async () => {
    for (;;) {
      const mine = n++;
      await store.write([
        { type: 'put', key: `a/${mine}`, value: { mine, filling: 'x'.repeat(200) } },
        { type: 'put', key: `b/${mine}`, value: mine },
      ]);
      writeSync(1, `${mine}\n`);
    }
  };
  await Promise.all(Array.from({ length: 32 }, write));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

/**
 * Makes a checkout ready to run: build tools, dependencies, native addon, compiled TypeScript. `npm start`
 * and `npm test` run it first. Repeating it is cheap: each step looks at contents, not at times.
 * Uses Node's own modules only, since nothing is installed yet.
 */
'use strict';

const path = require('node:path');

const ROOT = path.dirname(__dirname);
const { explainUnsupportedNode } = require('./steps/nodeVersion.cjs');

const problem = explainUnsupportedNode(process.versions.node, require('../package.json').engines.node);
if (problem !== null) {
  process.stderr.write(`setup: ${problem}\n`);
  process.exit(1);
}

const { runMain, say } = require('./steps/report.cjs');
const { withLock } = require('./steps/lock.cjs');
const { provideBuildTools } = require('./steps/buildTools.cjs');
const { dependenciesAreCurrent, installDependencies } = require('./steps/dependencies.cjs');
const { nativeAddonIsCurrent, provideNativeAddon, reasonToSkip } = require('./steps/nativeAddon.cjs');
const { provideTypescript, typescriptIsCurrent } = require('./steps/typescript.cjs');

runMain(async () => {
  const withoutNative = reasonToSkip(process.platform);
  if (withoutNative !== null) say(withoutNative);
  const native = withoutNative === null;
  if (dependenciesAreCurrent(ROOT) && (!native || nativeAddonIsCurrent(ROOT)) && typescriptIsCurrent(ROOT)) return;

  await withLock(ROOT, async (env) => {
    if (native && !nativeAddonIsCurrent(ROOT)) await provideBuildTools();
    // npm runs install-native.cjs at its end, so the addon is usually built by the time it returns.
    if (!dependenciesAreCurrent(ROOT)) await installDependencies(ROOT, env);
    if (native) await provideNativeAddon(ROOT, env);
    await provideTypescript(ROOT);
  });
});

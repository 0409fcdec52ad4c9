/**
 * The native addon and its shim, built in agent/native/build by cmake-js. Called by the set-up, by
 * `npm run build:native`, and by npm's install script, in a checkout and in an installed package alike.
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const os = require('node:os');
const { requireBuildTools } = require('./buildTools.cjs');
const { fingerprint, listFiles, readJson, writeJson } = require('./fingerprint.cjs');
const { SetupError, say, step } = require('./report.cjs');
const { run } = require('./run.cjs');

const BUILD_PACKAGES = ['cmake-js', 'node-addon-api', 'node-api-headers'];
const COMPILER_VARIABLES = ['CC', 'CXX', 'CFLAGS', 'CXXFLAGS', 'LDFLAGS'];
const NOT_SOURCES = new Set(['build', 'test', 'node_modules']);

/**
 * Why the addon is not built here, or null when it is.
 *
 * @param {NodeJS.Platform} platform
 */
function reasonToSkip(platform, env = process.env) {
  if (env.MORCH_SKIP_NATIVE === '1') return 'MORCH_SKIP_NATIVE=1: the native addon is not built';
  if (platform !== 'linux') {
    return `warning: the native addon is for Linux only, this is ${platform}: no agent can run here, the client commands can`;
  }
  return null;
}

function packageJsonOf(root, name) {
  try {
    return require.resolve(`${name}/package.json`, { paths: [root] });
  } catch (error) {
    if (error.code === 'MODULE_NOT_FOUND') return null;
    throw error;
  }
}

/** What the build depends on besides the sources. A change of it makes the old build tree unusable. */
function toolchainKey(root) {
  return fingerprint(root, [], {
    directory: path.join(root, 'agent/native'),
    arch: process.arch,
    packages: BUILD_PACKAGES.map((name) => {
      const file = packageJsonOf(root, name);
      return [file, file && readJson(file)?.version];
    }),
    env: COMPILER_VARIABLES.map((name) => process.env[name] ?? null),
  });
}

function sourcesKey(native) {
  const sources = listFiles(native, (name, isDirectory) =>
    isDirectory ? !NOT_SOURCES.has(name) : !/(\.ts|\.md)$/.test(name),
  );
  return fingerprint(native, sources);
}

/** The finished files of a build, with their sizes. */
function products(native) {
  const release = path.join(native, 'build/Release');
  return listFiles(release, (name, isDirectory) => isDirectory || !name.endsWith('.o')).map((name) => [
    name,
    fs.statSync(path.join(release, name)).size,
  ]);
}

/**
 * @param {string} root  the checkout or the installed package
 * @returns {boolean} the addon is there, whole, and made from these sources with these tools
 */
function nativeAddonIsCurrent(root) {
  const native = path.join(root, 'agent/native');
  const stamp = readJson(path.join(native, 'build/.stamp.json'));
  return (
    stamp !== null &&
    stamp.toolchain === toolchainKey(root) &&
    stamp.sources === sourcesKey(native) &&
    JSON.stringify(stamp.products) === JSON.stringify(products(native))
  );
}

/**
 * Builds the addon. Incremental when only sources changed.
 *
 * @throws {SetupError} with the whole output when a tool is missing or the compilation fails
 */
async function buildNativeAddon(root, env = process.env) {
  requireBuildTools();
  const native = path.join(root, 'agent/native');
  const build = path.join(native, 'build');
  const cmakeJs = packageJsonOf(root, 'cmake-js');
  if (cmakeJs === null)
    throw new SetupError('cmake-js is not installed; run `npm ci` in the folder of package.json first');

  // Taken before the build: a source saved while it runs makes the next one build again.
  const sources = sourcesKey(native);
  const toolchain = toolchainKey(root);
  const stamp = readJson(path.join(build, '.stamp.json'));
  fs.rmSync(path.join(build, '.stamp.json'), { force: true });
  // make goes by times: it would not repair a product that is damaged while the sources are as they were.
  const damaged = stamp !== null && stamp.sources === sources;
  if (damaged || readJson(path.join(build, '.toolchain.json')) !== toolchain) {
    fs.rmSync(build, { recursive: true, force: true });
  }
  writeJson(path.join(build, '.toolchain.json'), toolchain);

  await step('build the native addon (cmake-js build)', async () => {
    const args = ['build', '--prefer-make', '--directory', native, '--parallel', String(os.availableParallelism())];
    const cli = path.join(path.dirname(cmakeJs), 'bin/cmake-js');
    const { code, output } = await run(process.execPath, [cli, ...args], { cwd: root, env, quiet: true });
    if (code !== 0) {
      throw new SetupError(`building the native addon failed with exit code ${code}:\n${output}`);
    }
    if (!products(native).some(([name]) => name.endsWith('.node'))) {
      throw new SetupError(`the build made no .node file in ${path.join(build, 'Release')}:\n${output}`);
    }
  });
  writeJson(path.join(build, '.stamp.json'), { toolchain, sources, products: products(native) });
}

/** The whole step: says why it is skipped, does nothing when the addon is current. */
async function provideNativeAddon(root, env = process.env) {
  const reason = reasonToSkip(process.platform);
  if (reason !== null) say(reason);
  else if (!nativeAddonIsCurrent(root)) await buildNativeAddon(root, env);
}

module.exports = { buildNativeAddon, nativeAddonIsCurrent, provideNativeAddon, reasonToSkip };

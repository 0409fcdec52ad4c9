/**
 * Builds the native addon: npm's `install` script, in a checkout and in an installed package, and
 * `npm run build:native`. Does nothing when the addon is current.
 */
'use strict';

const path = require('node:path');
const { withLock } = require('./steps/lock.cjs');
const { provideNativeAddon } = require('./steps/nativeAddon.cjs');
const { runMain } = require('./steps/report.cjs');

const ROOT = path.dirname(__dirname);

runMain(() => withLock(ROOT, (env) => provideNativeAddon(ROOT, env)));

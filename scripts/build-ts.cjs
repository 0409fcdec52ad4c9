/** `npm run build:ts`: compiles the TypeScript sources to dist/ when they have changed. */
'use strict';

const path = require('node:path');
const { withLock } = require('./steps/lock.cjs');
const { runMain } = require('./steps/report.cjs');
const { provideTypescript } = require('./steps/typescript.cjs');

const ROOT = path.dirname(__dirname);

runMain(() => withLock(ROOT, () => provideTypescript(ROOT)));

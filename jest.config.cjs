'use strict';

/** What jest.security.config.cjs has instead: `npm run test:security`. */
const ATTACKS = ['<rootDir>/test/attacks/', '<rootDir>/test/system/tls'];

/** @type {import('jest').Config} */
module.exports = {
  roots: ['<rootDir>/test'],
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  testPathIgnorePatterns: ['/node_modules/', ...ATTACKS],
  testEnvironment: 'node',
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
        module: { type: 'commonjs' },
        sourceMaps: 'inline',
      },
    ],
  },
  // One more than processors in small machines: most suites wait most of the time.
  maxWorkers: 3,
  testSequencer: '<rootDir>/test/support/sequencer.cjs',
  testTimeout: 30_000,
};

'use strict';

const everything = require('./jest.config.cjs');

/** Attacks, and what crosses a network: `npm run test:security`. */
module.exports = {
  ...everything,
  testMatch: ['<rootDir>/test/attacks/**/*.test.ts', '<rootDir>/test/system/tls*.test.ts'],
  testPathIgnorePatterns: ['/node_modules/'],
};

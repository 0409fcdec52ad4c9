import fs from 'node:fs';
import path from 'node:path';
import { findImportViolations } from './importRules';

const ROOT = path.resolve(__dirname, '../..');
const SKIPPED = new Set(['node_modules', 'build', 'test']);

function readSources(): Map<string, string> {
  const sources = new Map<string, string>();
  const visit = (folder: string): void => {
    if (!fs.existsSync(path.join(ROOT, folder))) return;
    for (const entry of fs.readdirSync(path.join(ROOT, folder), { withFileTypes: true })) {
      const name = `${folder}/${entry.name}`;
      if (entry.isDirectory() && !SKIPPED.has(entry.name)) visit(name);
      else if (entry.isFile() && entry.name.endsWith('.ts')) {
        sources.set(name, fs.readFileSync(path.join(ROOT, name), 'utf8'));
      }
    }
  };
  for (const part of ['contract', 'access', 'pki', 'metrics', 'agent', 'scheduler', 'cli', 'dashboard']) visit(part);
  return sources;
}

test('the sources keep the import rules', () => {
  const sources = readSources();
  expect(sources.size).toBeGreaterThan(5);
  expect(findImportViolations(sources)).toEqual([]);
});

describe('the checker', () => {
  const check = (files: Record<string, string>): string[] => findImportViolations(new Map(Object.entries(files)));
  const contract = { 'contract/states.ts': 'export const STATES = [];' };

  test('accepts what the rules allow', () => {
    const files = {
      ...contract,
      'contract/routes.ts':
        "import { z } from 'zod'; import { STATES } from './states'; export const R = z.enum(STATES);",
      'scheduler/core/place.ts': "import type { S } from '../../contract/states'; import { x } from './score';",
      'scheduler/core/score.ts': 'export const x = 1;',
      'scheduler/main.ts': "import http from 'node:http'; import { x } from './core/score.js'; import ws from 'ws';",
      'agent/native/index.ts': "import './other'; export const addon = require('../build/morch.node');",
      'agent/native/other.ts': 'export {};',
      'agent/joining.ts': "import { trust } from '../pki/trust';",
      'pki/trust.ts': "import type { STATES } from '../contract/states'; export const trust = 1;",
      'cli/main.ts': "const verb = import('./commands/stop'); import { version } from '../package.json';",
      'cli/commands/stop.ts': "export type T = import('../../contract/states').S;",
    };
    expect(check(files)).toEqual([]);
  });

  test.each([
    ['agent', 'scheduler', "import { x } from '../scheduler/a';"],
    ['scheduler', 'cli', "export * from '../cli/a';"],
    ['cli', 'agent', "const a = require('../agent/a');"],
    ['cli', 'scheduler', "export const a = () => import('../scheduler/a');"],
    ['agent', 'cli', "export type A = import('../cli/a').A;"],
    ['agent', 'dashboard', "import a = require('../dashboard/a');"],
    ['scheduler', 'agent', "import type { A } from '../agent/a';"],
    ['pki', 'scheduler', "import { x } from '../scheduler/a';"],
  ])('refuses %s importing %s', (from, to, source) => {
    expect(check({ [`${from}/b.ts`]: source, [`${to}/a.ts`]: 'export const x = 1;' })).toEqual([
      expect.stringContaining(`${from}/b.ts: ${from} and ${to} share only contract`),
    ]);
  });

  test.each(['node:fs', 'zod', '../store/level'])('refuses scheduler/core importing %s', (specifier) => {
    const files = { 'scheduler/store/level.ts': '', 'scheduler/core/a.ts': `import x from '${specifier}';` };
    expect(check(files)).toEqual([expect.stringContaining('scheduler/core imports only contract and itself')]);
  });

  test.each(['node:fs', 'ws', '../agent/a'])('refuses contract importing %s', (specifier) => {
    const files = { 'agent/a.ts': '', 'contract/a.ts': `import x from '${specifier}';` };
    expect(check(files)).toEqual([expect.stringContaining('contract imports only zod and itself')]);
  });

  test.each([
    "require('./native/build/Release/morch.node');",
    "const name = 'morch.node'; require(name);",
    "process.dlopen(module, 'x');",
    "import load from 'node-gyp-build';",
  ])('refuses another loader of the addon: %s', (source) => {
    expect(check({ 'agent/a.ts': source })).toContainEqual(expect.stringContaining('loads the addon'));
  });

  test('refuses a barrel', () => {
    expect(check({ 'cli/commands/index.ts': '' })).toEqual([expect.stringContaining('no barrel files')]);
  });

  test('refuses a cycle, and names the files along it', () => {
    const files = {
      'cli/a.ts': "import './b';",
      'cli/b.ts': "import './c';",
      'cli/c.ts': "import './a';",
    };
    expect(check(files)).toEqual(['import cycle: cli/a.ts → cli/b.ts → cli/c.ts → cli/a.ts']);
  });

  test('refuses a relative import that leads nowhere', () => {
    expect(check({ 'cli/a.ts': "import './gone';" })).toEqual([expect.stringContaining('leads to no source file')]);
  });
});

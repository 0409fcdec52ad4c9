import fs from 'node:fs';
import path from 'node:path';

const ROOT = path.resolve(__dirname, '../..');
const read = (name: string): string => fs.readFileSync(path.join(ROOT, name), 'utf8');

interface LockedPackage {
  version?: string;
  resolved?: string;
  integrity?: string;
  dev?: boolean;
  optional?: boolean;
  hasInstallScript?: boolean;
  os?: string[];
  optionalDependencies?: Record<string, string>;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
}

const { addMissing } = require('../../scripts/complete-lock.cjs') as {
  addMissing(packages: Record<string, LockedPackage>): { added: string[]; unknown: string[] };
};
const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, LockedPackage> };
const manifest = JSON.parse(read('package.json')) as Record<'dependencies' | 'devDependencies', Record<string, string>>;

test('the lock file names no registry, so that any mirror serves it', () => {
  expect(Object.entries(packages).filter(([, entry]) => entry.resolved !== undefined)).toEqual([]);
  expect(read('.npmrc')).toMatch(/^omit-lockfile-registry-resolved=true$/m);
  expect(read('.npmrc')).not.toMatch(/registry\s*=\s*http/);
});

test('the lock file pins every package by its content, other platforms’ optional ones at least by version', () => {
  const unpinned = Object.entries(packages).filter(([where, entry]) => where !== '' && !entry.integrity);
  const served = unpinned.filter(([, entry]) => !(entry.optional && entry.os && entry.version));
  expect(served).toEqual([]);
});

// Each was read: classic-level takes a binary of its own package, and the others are not there where morch is used.
test('nothing else runs a script when it is installed', () => {
  const scripted = Object.entries(packages).filter(
    ([where, entry]) => where !== '' && entry.hasInstallScript && !entry.dev,
  );
  expect(scripted.map(([where]) => where)).toEqual(['node_modules/classic-level']);
});

// npm ci refuses a lock file that lacks them, on every platform.
test('the lock file has the optional packages of every platform (else run scripts/complete-lock.cjs)', () => {
  expect(addMissing(structuredClone(packages))).toEqual({ added: [], unknown: [] });
});

test('complete-lock adds a missing platform package, where Node would look for it', () => {
  const locked: Record<string, LockedPackage> = {
    'node_modules/a': {
      version: '1.0.0',
      dev: true,
      optionalDependencies: { 'a-linux-x64-musl': '1.0.0', b: '2.0.0' },
    },
    'node_modules/a/node_modules/b': { version: '2.0.0' },
    'node_modules/c': { version: '1.0.0', optionalDependencies: { 'c-darwin-arm64': '^1.0.0', odd: '1.0.0' } },
  };
  expect(addMissing(locked)).toEqual({
    added: ['a-linux-x64-musl@1.0.0'],
    unknown: ['c-darwin-arm64@^1.0.0', 'odd@1.0.0'],
  });
  expect(locked['node_modules/a-linux-x64-musl']).toEqual({
    version: '1.0.0',
    cpu: ['x64'],
    dev: true,
    libc: ['musl'],
    optional: true,
    os: ['linux'],
  });
});

test('package.json asks for exact versions, the same as the lock file', () => {
  for (const kind of ['dependencies', 'devDependencies'] as const) {
    expect(packages['']?.[kind]).toEqual(manifest[kind]);
    for (const [name, version] of Object.entries(manifest[kind])) {
      expect(`${name} ${version}`).toMatch(/ \d+\.\d+\.\d+$/);
      expect(packages[`node_modules/${name}`]?.version).toBe(version);
    }
  }
});

/**
 * Completes package-lock.json after `npm install` against a registry that does not carry every platform's
 * packages: npm leaves optional packages out that it cannot find, and `npm ci` then refuses the lock file
 * everywhere. Adds them by their exact version and platform, without a checksum, since their content was not
 * there to be read; a machine of another platform thus installs them unverified.
 *
 * Usage: node scripts/complete-lock.cjs [FOLDER]
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const SYSTEMS = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32'];
const PROCESSORS = ['arm', 'arm64', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'x64'];
const LIBRARIES = { gnu: 'glibc', glibc: 'glibc', gnueabihf: 'glibc', musl: 'musl', musleabihf: 'musl' };

/** Where Node would find `name` from the package at `where`, or undefined. */
function locate(packages, where, name) {
  for (let folder = where; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    const candidate = folder === '' ? `node_modules/${name}` : `${folder}/node_modules/${name}`;
    if (candidate in packages) return candidate;
    if (folder === '') return undefined;
    if (!folder.includes('/node_modules/')) folder = '';
  }
}

/** `@swc/core-linux-arm-gnueabihf` → its os, cpu and libc fields; null when the name tells no platform. */
function platformOf(name) {
  const words = name.split(/[-/]/);
  const os = words.find((word) => SYSTEMS.includes(word));
  const cpu = words.find((word) => PROCESSORS.includes(word));
  if (os === undefined) return null;
  const library = os === 'linux' ? words.map((word) => LIBRARIES[word]).find((word) => word !== undefined) : undefined;
  return { ...(cpu && { cpu: [cpu] }), ...(library && { libc: [library] }), os: [os] };
}

/**
 * @param {Record<string, any>} packages  the lock file's `packages`; missing ones are added
 * @returns {{ added: string[], unknown: string[] }}  unknown: missing, but not of one version and platform
 */
function addMissing(packages) {
  const added = [];
  const unknown = [];
  for (const [where, entry] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      if (locate(packages, where, name) !== undefined) continue;
      const platform = platformOf(name);
      if (platform === null || !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)) {
        unknown.push(`${name}@${version}`);
        continue;
      }
      const { cpu, ...rest } = platform;
      packages[`node_modules/${name}`] = {
        version,
        ...(cpu && { cpu }),
        ...(entry.dev && { dev: true }),
        optional: true,
        ...rest,
      };
      added.push(`${name}@${version}`);
    }
  }
  return { added, unknown };
}

if (require.main === module) {
  const file = path.join(path.resolve(process.argv[2] ?? path.dirname(__dirname)), 'package-lock.json');
  const lock = JSON.parse(fs.readFileSync(file, 'utf8'));
  const { added, unknown } = addMissing(lock.packages);
  const sorted = Object.entries(lock.packages).sort(([a], [b]) => a.localeCompare(b, 'en'));
  lock.packages = Object.fromEntries(sorted);
  if (added.length > 0) fs.writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
  for (const name of added) console.log(`added ${name}`);
  for (const name of unknown) console.error(`missing, and not to be guessed: ${name}`);
  if (unknown.length > 0) process.exitCode = 1;
}

module.exports = { addMissing };

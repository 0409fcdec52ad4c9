/**
 * Writes the initramfs of the test machine: busybox, node and unshare of this machine with their libraries, the kernel's modules for the
 * disk, the checkout's built agent with the packages it imports, and the checks. Called by scripts/test-vm.sh.
 *
 * Usage: node test/vm/image.cjs OUTPUT MODULES-FOLDER BUSYBOX
 */
'use strict';

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const { isBuiltin } = require('node:module');
const path = require('node:path');

const ROOT = path.join(__dirname, '..', '..');
/** For the disk; ext4 is built in. */
const MODULES = ['virtio_pci', 'virtio_blk'];
const PASSWD = 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n';
const GROUP = 'root:x:0:\ndaemon:x:1:nobody\nmedia:x:44:nobody\nnogroup:x:65534:\n';

/** The kernel's archive format `newc` (Documentation/driver-api/early-userspace/buffer-format.rst); everything is root's. */
class Archive {
  #fd;
  #written = 0;
  #inode = 0;
  #names = new Set();

  constructor(file) {
    this.#fd = fs.openSync(file, 'w');
  }

  directory(name) {
    if (name === '.' || name === '/' || this.#names.has(name)) return;
    this.directory(path.dirname(name));
    this.#add(name, 0o040755, Buffer.alloc(0));
  }

  file(name, content, mode = 0o644) {
    if (this.#names.has(name)) return;
    this.directory(path.dirname(name));
    this.#add(name, 0o100000 | mode, Buffer.isBuffer(content) ? content : Buffer.from(content));
  }

  /** With symbolic links resolved. */
  copy(from, name = from) {
    this.file(name, fs.readFileSync(from), fs.statSync(from).mode & 0o777);
  }

  copyTree(from, name = from) {
    for (const entry of fs.readdirSync(from, { withFileTypes: true })) {
      const source = path.join(from, entry.name);
      if (entry.isDirectory()) this.copyTree(source, path.join(name, entry.name));
      else this.copy(source, path.join(name, entry.name));
    }
  }

  link(name, target) {
    this.directory(path.dirname(name));
    this.#add(name, 0o120777, Buffer.from(target));
  }

  device(name, major, minor) {
    this.directory(path.dirname(name));
    this.#add(name, 0o020600, Buffer.alloc(0), [major, minor]);
  }

  end() {
    this.#add('TRAILER!!!', 0, Buffer.alloc(0));
    fs.closeSync(this.#fd);
  }

  #add(name, mode, content, [major, minor] = [0, 0]) {
    this.#names.add(name);
    this.#inode += 1;
    const relative = name.replace(/^\/+/, '');
    const fields = [this.#inode, mode, 0, 0, 1, 0, content.length, 0, 0, major, minor, relative.length + 1, 0];
    this.#write(`070701${fields.map((n) => n.toString(16).padStart(8, '0')).join('')}${relative}\0`);
    this.#write(content);
  }

  #write(data) {
    this.#written += fs.writeSync(this.#fd, data);
    const padding = (4 - (this.#written % 4)) % 4;
    this.#written += fs.writeSync(this.#fd, Buffer.alloc(padding));
  }
}

/** What a program is linked with, the loader included. */
function librariesOf(program) {
  const lines = execFileSync('ldd', [program], { encoding: 'utf8' }).split('\n');
  return lines.flatMap((line) => /(?:=> )?(\/\S+) \(0x/.exec(line)?.[1] ?? []);
}

function* filesOf(folder, extension) {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) yield* filesOf(full, extension);
    else if (entry.name.endsWith(extension)) yield full;
  }
}

/** @returns {string[]} the files of these modules and of those they need, each after what it needs */
function inOrderOfNeed(names, folder) {
  const files = new Map([...filesOf(folder, '.ko')].map((file) => [path.basename(file, '.ko'), file]));
  const ordered = new Set();
  const add = (name) => {
    // A kernel that has it built in has no file of it.
    const file = files.get(name) ?? files.get(name.replaceAll('_', '-'));
    if (file === undefined || ordered.has(file)) return;
    const needed = /\0depends=([^\0]*)/.exec(fs.readFileSync(file, 'latin1'))?.[1] ?? '';
    for (const each of needed.split(',')) add(each);
    ordered.add(file);
  };
  for (const name of names) add(name);
  return [...ordered];
}

/** Packages that the built agent and command line import. */
function importedPackages() {
  const names = new Set();
  for (const part of ['agent', 'cli', 'contract']) {
    for (const file of filesOf(path.join(ROOT, 'dist', part), '.js')) {
      for (const [, name] of fs.readFileSync(file, 'utf8').matchAll(/require\("([^"./][^"]*)"\)/g)) {
        if (!isBuiltin(name))
          names.add(
            name
              .split('/')
              .slice(0, name.startsWith('@') ? 2 : 1)
              .join('/'),
          );
      }
    }
  }
  return names;
}

/** Adds a package and all it depends on, each found as Node finds it. */
function addPackage(archive, name, from, added) {
  const folder = findPackage(name, from);
  if (folder === null || added.has(folder)) return;
  added.add(folder);
  const inRepository = path.join('/morch/node_modules', path.relative(path.join(ROOT, 'node_modules'), folder));
  for (const file of filesOf(folder, '')) {
    const below = path.relative(folder, file);
    if (below.split(path.sep).includes('node_modules') || !/\.(c?js|json)$/.test(below)) continue;
    archive.copy(file, path.join(inRepository, below));
  }
  const { dependencies = {} } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'));
  for (const dependency of Object.keys(dependencies)) addPackage(archive, dependency, folder, added);
}

function findPackage(name, from) {
  for (let folder = from; folder.startsWith(ROOT); folder = path.dirname(folder)) {
    const candidate = path.join(folder, 'node_modules', name);
    if (fs.existsSync(path.join(candidate, 'package.json'))) return candidate;
  }
  return null;
}

function main([output, modules, busybox]) {
  const archive = new Archive(output);
  for (const name of ['/dev', '/proc', '/sys', '/tmp', '/run', '/root', '/state', '/lib', '/usr/bin', '/sbin']) {
    archive.directory(name);
  }
  archive.device('/dev/console', 5, 1);
  archive.device('/dev/null', 1, 3);
  archive.file('/etc/passwd', PASSWD);
  archive.file('/etc/group', GROUP);
  archive.file('/etc/hosts', '127.0.0.1 localhost\n');
  archive.copy(busybox, '/bin/busybox');
  archive.link('/bin/sh', 'busybox');
  archive.copy(path.join(__dirname, 'init.sh'), '/init');

  // The shell's `*` sorts them.
  inOrderOfNeed(MODULES, modules).forEach((file, at) => {
    archive.copy(file, `/modules/${String(at).padStart(2, '0')}-${path.basename(file)}`);
  });

  const native = path.join(ROOT, 'agent/native/build/Release');
  archive.copy(process.execPath, '/usr/bin/node');
  // Busybox's makes no cgroup namespaces.
  archive.copy('/usr/bin/unshare');
  archive.copyTree(native, '/morch/agent/native/build/Release');
  for (const program of [process.execPath, '/usr/bin/unshare', path.join(native, 'morch_native.node')]) {
    for (const library of librariesOf(program)) archive.copy(library);
  }

  archive.copy(path.join(ROOT, 'package.json'), '/morch/package.json');
  archive.copyTree(path.join(ROOT, 'dist'), '/morch/dist');
  archive.copyTree(__dirname, '/morch/test/vm');
  const added = new Set();
  for (const name of importedPackages()) addPackage(archive, name, ROOT, added);
  archive.end();
}

main(process.argv.slice(2));

/** Opens an agent's groups as user UID with `auto`, twice, and tells what came of it. Run by groups.cjs. */
'use strict';

const fs = require('node:fs');

const [uid, dataDir] = process.argv.slice(2);
if (uid !== '0') {
  process.setgroups([]);
  process.setgid(Number(uid));
  process.setuid(Number(uid));
}
const { Cgroups } = require('/morch/dist/agent/cgroups.js');
const { loadNative } = require('/morch/dist/agent/native/index.js');
const { PathWork } = require('/morch/dist/agent/pathWork.js');
const log = { info: (what, text) => process.stderr.write(`${text} ${JSON.stringify(what)}\n`) };

async function open() {
  const cgroups = await Cgroups.open({ option: 'auto', dataDir, paths: new PathWork(loadNative()), log });
  const own = /^0::(.*)$/m.exec(fs.readFileSync('/proc/self/cgroup', 'utf8'))[1];
  return { directory: cgroups.directory, features: cgroups.features(), own };
}

async function main() {
  const opened = await open();
  process.stdout.write(JSON.stringify({ opened, again: await open() }));
}

void main();

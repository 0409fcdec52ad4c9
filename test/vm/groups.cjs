/** The agent's groups (agent/cgroups.ts) by themselves: where they are made, and what is written into them. */
'use strict';

const assert = require('node:assert/strict');
const { execFile, spawn } = require('node:child_process');
const fs = require('node:fs');
const { promisify } = require('node:util');
const { check, until } = require('./tap.cjs');

const MOUNT = '/sys/fs/cgroup';
const ALL = ['cgroup', 'limits.cpu', 'limits.memory', 'limits.pids'];
const DATA_DIR = '/tmp/groups';
const log = { info() {}, warn() {}, error() {} };

async function checkGroups() {
  const { Cgroups } = require('/morch/dist/agent/cgroups.js');
  const { loadNative } = require('/morch/dist/agent/native/index.js');
  const { PathWork } = require('/morch/dist/agent/pathWork.js');
  const paths = new PathWork(loadNative());
  fs.mkdirSync(DATA_DIR);
  const open = (option) => Cgroups.open({ option, dataDir: DATA_DIR, paths, log });

  await check('auto, as root: all limits, in a group below the root of all', async () => {
    const cgroups = await open('auto');
    assert.match(cgroups.directory, /^\/sys\/fs\/cgroup\/morch-[0-9a-f]{10}$/);
    assert.deepEqual(cgroups.features(), ALL);
    fs.rmdirSync(cgroups.directory);
  });

  await check('a path is made, with all limits', async () => {
    const cgroups = await open(`${MOUNT}/site/morch/`);
    assert.match(cgroups.directory, /^\/sys\/fs\/cgroup\/site\/morch\/morch-[0-9a-f]{10}$/);
    assert.deepEqual(cgroups.features(), ALL);
    for (const directory of [cgroups.directory, `${MOUNT}/site/morch`, `${MOUNT}/site`]) fs.rmdirSync(directory);
  });

  await check('a path that holds processes of others is refused, naming the flag', async () => {
    const path = `${MOUNT}/inhabited`;
    fs.mkdirSync(path);
    const child = spawn('/bin/sleep', ['1000']);
    fs.writeFileSync(`${path}/cgroup.procs`, String(child.pid));
    await assert.rejects(open(path), (error) => {
      assert.equal(error.code, 'INVALID_INPUT');
      assert.match(error.message, /Cannot use --cgroup .*inhabited holds processes itself/);
      return true;
    });
    child.kill('SIGKILL');
    await until('the group is empty', () => fs.readFileSync(`${path}/cgroup.procs`, 'utf8') === '');
    fs.rmdirSync(path);
  });

  await check('limits are written, and put back where none is given', async () => {
    const cgroups = await open('auto');
    const directory = await cgroups.create('u.0.1', { cpuMillis: 1500, memoryBytes: 2 ** 26, pids: 20 });
    const read = () =>
      ['cpu.max', 'memory.max', 'memory.swap.max', 'memory.oom.group', 'pids.max'].map((file) =>
        fs.readFileSync(`${directory}/${file}`, 'utf8').trim(),
      );
    assert.deepEqual(read(), ['150000 100000', String(2 ** 26), '0', '1', '20']);
    await cgroups.create('u.0.1', { cpuMillis: 1, pids: 5 });
    assert.deepEqual(read(), ['1000 100000', 'max', 'max', '0', '5']);
    await cgroups.remove('u.0.1');
    assert.deepEqual(await cgroups.list(), []);
    fs.rmdirSync(cgroups.directory);
  });

  await check("auto, as another user: in the agent's own group, which was given to that user", async () => {
    const group = `${MOUNT}/delegated`;
    fs.mkdirSync(group);
    for (const file of ['', '/cgroup.procs', '/cgroup.subtree_control', '/cgroup.threads']) {
      fs.chownSync(group + file, 65534, 65534);
    }
    const { opened, again } = await openElsewhere('65534', group, ['node']);
    assert.equal(opened.directory, `${group}/${opened.directory.split('/').pop()}`);
    assert.deepEqual(opened.features, ALL);
    assert.equal(opened.own, '/delegated/agent');
    assert.deepEqual(again, opened);
    for (const directory of [opened.directory, `${group}/agent`, group]) fs.rmdirSync(directory);
  });

  await check('auto, in a container: in the root of its cgroup namespace, less its other processes', async () => {
    const group = `${MOUNT}/container`;
    fs.mkdirSync(group);
    const other = spawn('/bin/sleep', ['1000']);
    fs.writeFileSync(`${group}/cgroup.procs`, String(other.pid));
    const enter = `umount ${MOUNT} && mount -t cgroup2 cgroup2 ${MOUNT} && exec "$0" "$@"`;
    const { opened, again } = await openElsewhere('0', group, [
      '/usr/bin/unshare',
      '--cgroup',
      '--mount',
      'sh',
      '-c',
      enter,
      'node',
    ]);
    assert.match(opened.directory, /^\/sys\/fs\/cgroup\/morch-[0-9a-f]{10}$/);
    assert.deepEqual(opened.features, ALL);
    assert.equal(opened.own, '/agent');
    assert.deepEqual(again, opened);
    assert.match(fs.readFileSync(`/proc/${other.pid}/cgroup`, 'utf8'), /^0::\/container\/agent$/m);
    other.kill('SIGKILL');
    await until('the group is empty', () => fs.readFileSync(`${group}/agent/cgroup.procs`, 'utf8') === '');
    const made = `${group}/${opened.directory.split('/').pop()}`;
    for (const directory of [made, `${group}/agent`, group]) fs.rmdirSync(directory);
  });
}

/** Opens groups twice, as an agent would that was started in `group`. */
async function openElsewhere(uid, group, program) {
  const enter = 'echo $$ >"$0"/cgroup.procs && exec "$@"';
  const args = ['-c', enter, group, ...program, `${__dirname}/openGroups.cjs`, uid, DATA_DIR];
  const { stdout } = await promisify(execFile)('/bin/sh', args);
  return JSON.parse(stdout);
}

module.exports = { checkGroups };

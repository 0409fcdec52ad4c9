/** Hard limits of instances, as the kernel enforces them and the agent reports them. */
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');
const { groupOf, isAlive, processesOf } = require('./agent.cjs');
const { check, until } = require('./tap.cjs');

const MIB = 2 ** 20;
/** Takes 200 MiB and writes to all of it. */
const HOG = 'dd if=/dev/zero of=/dev/null bs=200M count=1';
const GRACE_MS = 500;
const CPU_MEASURED_MS = 3_000;

async function checkLimits(agent) {
  await check('the node tells what it can hold instances to', async () => {
    const { features } = await agent.status();
    assert.deepEqual([...features].sort(), [
      'cgroup',
      'limits.cpu',
      'limits.memory',
      'limits.pids',
      'secrets',
      'user',
      'user.own',
    ]);
  });

  await check('an instance has a group of its own, its shim is outside', async () => {
    const { pid, shimPid } = await agent.start('own.0', 'sleep 1000 & wait');
    assert.match(groupOf(pid), /^\/sys\/fs\/cgroup\/morch-[0-9a-f]{10}\/[^/]+$/);
    assert.notEqual(groupOf(shimPid), groupOf(pid));
    assert.ok(isAlive(shimPid));
    const group = groupOf(pid);
    await agent.stop('own.0');
    await until('its group is removed', () => !fs.existsSync(group));
  });

  await check('more than limits.memoryBytes: the whole tree is killed, and it is told as oomKilled', async () => {
    const script = `setsid sleep 1000 & sleep 1; ${HOG}; sleep 1000`;
    await agent.start('oom.0', script, { limits: { memoryBytes: 64 * MIB } });
    const { exit } = await agent.untilStatus('oom.0', 'failed');
    assert.deepEqual([exit.code, exit.signal, exit.oomKilled], [null, 'SIGKILL', true]);
    assert.deepEqual(processesOf('oom.0'), []);
  });

  await check('less than limits.memoryBytes: nothing is killed', async () => {
    await agent.start('fits.0', HOG, { limits: { memoryBytes: 400 * MIB } });
    const { exit } = await agent.untilStatus('fits.0', 'completed');
    assert.deepEqual([exit.code, exit.oomKilled], [0, false]);
  });

  await check('oomKilled is said of the run it happened in, not of the next one', async () => {
    const script = `[ "$MORCH_RUN" = 1 ] || exit 3; ${HOG}; sleep 1000`;
    const restart = { policy: 'on-failure', attempts: 2, backoffMs: 1_500 };
    await agent.start('again.0', script, { limits: { memoryBytes: 64 * MIB }, restart });
    await until('the first run is told', async () => (await agent.instance('again.0')).exit?.oomKilled);
    const { run, exit } = await agent.untilStatus('again.0', 'failed');
    assert.deepEqual([run, exit.code, exit.oomKilled], [2, 3, false]);
  });

  await check('limits.pids stops a fork bomb, and a stop ends it in time', async () => {
    const bomb = 'bomb() { while :; do bomb & done; }; trap "" TERM HUP; (bomb) 2>/dev/null & exec tail -f /dev/null';
    const { pid } = await agent.start('bomb.0', bomb, { limits: { pids: 40 } });
    const group = groupOf(pid);
    const read = (file) => fs.readFileSync(`${group}/${file}`, 'utf8');
    await until('forks fail', () => /^max [1-9]/m.test(read('pids.events')));
    assert.ok(Number(read('pids.current')) <= 40);
    const { exit, tookMs } = await timeStop(agent, 'bomb.0', GRACE_MS);
    assert.equal(exit.signal, 'SIGKILL');
    assert.deepEqual(processesOf('bomb.0'), []);
    // An emulated machine on a busy host takes its time for any stop; that it is one second is tested outside.
    await agent.start('tame.0', 'exec sleep 1000');
    const allowedMs = GRACE_MS + Math.max(4_000, 5 * (await timeStop(agent, 'tame.0', 0)).tookMs);
    assert.ok(tookMs >= GRACE_MS && tookMs < allowedMs, `it took ${tookMs} of ${allowedMs} ms`);
  });

  await check('limits.cpuMillis: 200 of four busy processes is 15 to 25 % of one core', async () => {
    const busy = 'for n in 1 2 3; do (while :; do :; done) & done; while :; do :; done';
    const { pid } = await agent.start('busy.0', busy, { limits: { cpuMillis: 200 } });
    const usedMs = () =>
      Number(/^usage_usec (\d+)$/m.exec(fs.readFileSync(`${groupOf(pid)}/cpu.stat`, 'utf8'))[1]) / 1_000;
    const [before, beforeMs] = [usedMs(), performance.now()];
    await sleep(CPU_MEASURED_MS);
    const percent = (100 * (usedMs() - before)) / (performance.now() - beforeMs);
    await agent.stop('busy.0');
    assert.ok(percent >= 15 && percent <= 25, `${percent.toFixed(1)} %`);
  });

  await check('limits.openFiles holds for each process', async () => {
    await agent.start('files.0', 'ulimit -n; ulimit -H -n', { limits: { openFiles: 77 } });
    await agent.untilSaid('files.0', /^77\n77\n$/);
  });
}

async function timeStop(agent, instanceId, graceMs) {
  const startedMs = performance.now();
  const { exit } = await agent.stop(instanceId, graceMs);
  return { exit, tookMs: performance.now() - startedMs };
}

module.exports = { checkLimits };

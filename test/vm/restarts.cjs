/** Agents and shims that are killed, and pids that the kernel gives to strangers. */
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { groupOf, isAlive, processesOf, startStranger, startTicksOf } = require('./agent.cjs');
const { check, until } = require('./tap.cjs');

const KEPT = ['keep-0.0', 'keep-1.0', 'keep-2.0', 'keep-3.0', 'keep-4.0'];

async function checkRestarts(agent) {
  await check('a killed shim: the rest of its tree is killed by its group, however well hidden', async () => {
    const { instance, hidden } = await startWithHiddenChild(agent, 'mutilated.0');
    process.kill(instance.shimPid, 'SIGKILL');
    const { statusReason, exit } = await agent.untilStatus('mutilated.0', 'failed');
    assert.match(statusReason, /shim-lost/);
    assert.deepEqual([exit?.code ?? null, exit?.signal ?? null], [null, null]);
    assert.ok(!isAlive(hidden));
    assert.deepEqual(processesOf('mutilated.0'), []);
  });

  // One restart for all that follows: on an emulated machine it takes long.
  const kept = [];
  let orphaned;
  let strangers;
  await check('the agent is killed, and started again when all this has happened meanwhile', async () => {
    for (const id of KEPT) kept.push(await agent.start(id, 'sleep 1000'));
    for (const one of kept) one.startTicks = startTicksOf(one.pid);
    const ending = await agent.start('ending.0', 'until [ -e /tmp/end ]; do usleep 10000; done; exit 7');
    orphaned = await startWithHiddenChild(agent, 'orphaned.0');
    const reused = await agent.start('reused.0', 'exec sleep 1000');
    await agent.kill();
    fs.writeFileSync('/tmp/end', '');
    // The main processes die with their shims.
    for (const { shimPid } of [orphaned.instance, reused]) process.kill(shimPid, 'SIGKILL');
    await until('the program has ended', () => !isAlive(ending.pid));
    const free = (pid) => !fs.existsSync(`/proc/${pid}`);
    await until('both pids are free', () => free(reused.pid) && free(reused.shimPid));
    strangers = [await startStranger(reused.shimPid), await startStranger(reused.pid)];
    await agent.run();
  });

  await check('it takes over what runs: the same processes', async () => {
    for (const { instanceId, pid, shimPid, generation, run, startTicks } of kept) {
      const now = await agent.instance(instanceId);
      const told = [now.status, now.pid, now.shimPid, now.generation, now.run];
      assert.deepEqual(told, ['running', pid, shimPid, generation, run]);
      assert.equal(startTicksOf(pid), startTicks);
    }
  });

  await check('it tells the exit it has missed', async () => {
    const { exit } = await agent.untilStatus('ending.0', 'failed');
    assert.deepEqual([exit.code, exit.signal], [7, null]);
  });

  await check('it kills what a shim has left that was killed meanwhile', async () => {
    const { statusReason } = await agent.untilStatus('orphaned.0', 'failed');
    assert.match(statusReason, /shim-lost/);
    await until('the hidden child is dead', () => !isAlive(orphaned.hidden));
  });

  await check('it does not signal strangers that have the pids of its processes', async () => {
    const { statusReason } = await agent.untilStatus('reused.0', 'failed');
    assert.match(statusReason, /shim-lost/);
    await agent.request('POST', '/stop', { instanceId: 'reused.0', graceMs: 0 });
    for (const stranger of strangers) assert.ok(isAlive(stranger.pid) && stranger.signalCode === null);
    for (const stranger of strangers) stranger.kill('SIGKILL');
  });

  await check('groups are those of live instances, no more and no fewer', async () => {
    const groups = kept.map(({ pid }) => groupOf(pid));
    const parent = path.dirname(groups[0]);
    const there = () => fs.readdirSync(parent, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    await until('the groups of ended instances are removed', () => there().length === groups.length);
    assert.deepEqual(new Set(there().map(({ name }) => path.join(parent, name))), new Set(groups));
    for (const { instanceId } of kept) await agent.stop(instanceId);
    await until('all groups are removed', () => there().length === 0);
  });
}

/** A child that neither session nor environment tells for the instance's. */
async function startWithHiddenChild(agent, id) {
  const instance = await agent.start(id, 'setsid env -i /bin/sleep 100000 & echo "hidden $!"; sleep 1000');
  const hidden = Number((await agent.untilSaid(id, /^hidden (\d+)$/m))[1]);
  return { instance, hidden };
}

module.exports = { checkRestarts };

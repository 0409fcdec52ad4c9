/** Agents and shims that are killed, and pids that the kernel gives to strangers. */
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { groupOf, isAlive, processesOf, startStranger, startTicksOf } = require('./agent.cjs');
const { check, until } = require('./tap.cjs');

/** A child that neither session nor environment tells for the instance's. */
const WITH_HIDDEN_CHILD = 'setsid env -i /bin/sleep 100000 & echo "hidden $!"; sleep 1000';
const IDS = ['keep-0.0', 'keep-1.0', 'keep-2.0', 'keep-3.0', 'keep-4.0'];

async function checkRestarts(agent) {
  await check('agent killed and started again: same processes, and the exits it has missed', async () => {
    const before = [];
    for (const id of IDS) before.push(await agent.start(id, 'sleep 1000'));
    const ending = await agent.start('ending.0', 'until [ -e /tmp/end ]; do usleep 10000; done; exit 7');
    const ticks = before.map(({ pid }) => startTicksOf(pid));
    await agent.kill();
    fs.writeFileSync('/tmp/end', '');
    await until('the program has ended', () => !isAlive(ending.pid));
    await agent.run();
    const after = await Promise.all(IDS.map((id) => agent.instance(id)));
    const told = ({ pid, shimPid, generation, run, status }) => ({ pid, shimPid, generation, run, status });
    assert.deepEqual(after.map(told), before.map(told));
    assert.deepEqual(
      after.map(({ pid }) => startTicksOf(pid)),
      ticks,
    );
    const { exit } = await agent.untilStatus('ending.0', 'failed');
    assert.deepEqual([exit.code, exit.signal], [7, null]);
  });

  await check('groups are those of live instances, no more and no fewer', async () => {
    const groups = (await Promise.all(IDS.map((id) => agent.instance(id)))).map(({ pid }) => groupOf(pid));
    const parent = path.dirname(groups[0]);
    const there = () => fs.readdirSync(parent, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    await until('the groups of ended instances are removed', () => there().length === groups.length);
    assert.deepEqual(new Set(there().map(({ name }) => path.join(parent, name))), new Set(groups));
    for (const id of IDS) await agent.stop(id);
    await until('all groups are removed', () => there().length === 0);
  });

  await check('a killed shim: the rest of its tree is killed by its group, however well hidden', async () => {
    const { shimPid } = await agent.start('mutilated.0', WITH_HIDDEN_CHILD);
    const hidden = Number((await agent.untilSaid('mutilated.0', /^hidden (\d+)$/m))[1]);
    process.kill(shimPid, 'SIGKILL');
    const { statusReason, exit } = await agent.untilStatus('mutilated.0', 'failed');
    assert.match(statusReason, /shim-lost/);
    assert.deepEqual([exit?.code ?? null, exit?.signal ?? null], [null, null]);
    assert.ok(!isAlive(hidden));
    assert.deepEqual(processesOf('mutilated.0'), []);
  });

  await check('a shim killed while the agent is down: likewise', async () => {
    const { shimPid } = await agent.start('both.0', WITH_HIDDEN_CHILD);
    const hidden = Number((await agent.untilSaid('both.0', /^hidden (\d+)$/m))[1]);
    await agent.kill();
    process.kill(shimPid, 'SIGKILL');
    await agent.run();
    const { statusReason } = await agent.untilStatus('both.0', 'failed');
    assert.match(statusReason, /shim-lost/);
    await until('the hidden child is dead', () => !isAlive(hidden));
  });

  await check('pids taken by strangers while the agent was down: they are not signalled', async () => {
    const { pid, shimPid } = await agent.start('reused.0', 'exec sleep 1000');
    await agent.kill();
    process.kill(shimPid, 'SIGKILL');
    process.kill(pid, 'SIGKILL');
    await until('both pids are free', () => !fs.existsSync(`/proc/${pid}`) && !fs.existsSync(`/proc/${shimPid}`));
    const strangers = [await startStranger(shimPid), await startStranger(pid)];
    await agent.run();
    const { statusReason } = await agent.untilStatus('reused.0', 'failed');
    assert.match(statusReason, /shim-lost/);
    await agent.request('POST', '/stop', { instanceId: 'reused.0', graceMs: 0 });
    for (const stranger of strangers) {
      assert.ok(isAlive(stranger.pid) && stranger.exitCode === null && stranger.signalCode === null);
      stranger.kill('SIGKILL');
    }
  });
}

module.exports = { checkRestarts };

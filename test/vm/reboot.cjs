/** A node whose power is cut: what its agent makes of its records after the next boot. */
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const { isAlive, processesOf, readProc, shims, startStranger } = require('./agent.cjs');
const { check } = require('./tap.cjs');

const uidOf = (pid) => /^Uid:\t(\d+)/m.exec(readProc(pid, 'status'))[1];

/** What was there before, for the checks after. */
const NOTES = '/state/before.json';

async function prepareReboot(agent) {
  await check('instances are left for the next boot', async () => {
    const service = await agent.start('service.0', 'sleep 1000', { kind: 'service', restart: { policy: 'always' } });
    const batch = await agent.start('batch.0', 'trap "" TERM; sleep 1000 & wait', { limits: { pids: 10 } });
    await agent.start('done.0', 'exit 5');
    const done = await agent.untilStatus('done.0', 'failed');
    const { bootId } = await agent.status();
    const uid = uidOf(service.pid);
    const file = fs.openSync(NOTES, 'w');
    fs.writeSync(file, JSON.stringify({ bootId, uid, left: [service, batch], done }));
    fs.fsyncSync(file);
    fs.closeSync(file);
  });
}

async function checkReboot(agent) {
  const { bootId, uid, left, done } = JSON.parse(fs.readFileSync(NOTES, 'utf8'));
  const strangers = [];

  await check('the agent starts after a power cut, while strangers have the pids of then', async () => {
    for (const { pid, shimPid } of left) strangers.push(await startStranger(shimPid), await startStranger(pid));
    await agent.run();
    assert.notEqual((await agent.status()).bootId, bootId);
  });

  await check('nothing of before is adopted: it is told as failed, node rebooted', async () => {
    for (const { instanceId, generation, run } of left) {
      const now = await agent.instance(instanceId);
      const told = [now.status, now.statusReason, now.lost, now.generation, now.run];
      assert.deepEqual(told, ['failed', 'node rebooted', true, generation, run]);
      assert.deepEqual([now.exit?.code ?? null, now.exit?.signal ?? null], [null, null]);
      assert.deepEqual(processesOf(instanceId), []);
    }
    assert.deepEqual(shims(), []);
  });

  await check('what had ended before is told as it was', async () => {
    const now = await agent.instance(done.instanceId);
    assert.deepEqual([now.status, now.run, now.exit], ['failed', done.run, done.exit]);
  });

  await check('the strangers are not signalled', () => {
    for (const stranger of strangers) assert.ok(isAlive(stranger.pid) && stranger.signalCode === null);
  });

  await check('an instance of before can be started anew, as its user of before', async () => {
    const [{ instanceId, generation }] = left;
    const now = await agent.start(instanceId, 'sleep 1000', { limits: { memoryBytes: 2 ** 26 } });
    assert.ok(now.generation > generation);
    assert.equal(uidOf(now.pid), uid);
    await agent.stop(instanceId);
    assert.deepEqual(processesOf(instanceId), []);
    assert.deepEqual(shims(), []);
  });
  await agent.kill();
}

module.exports = { checkReboot, prepareReboot };

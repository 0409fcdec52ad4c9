/** Programs run as another user than the agent's. */
'use strict';

const assert = require('node:assert/strict');
const { isAlive, readProc } = require('./agent.cjs');
const { check } = require('./tap.cjs');

const field = (pid, name) => new RegExp(`^${name}:\\s*(.*?)\\s*$`, 'm').exec(readProc(pid, 'status'))?.[1];

async function checkUsers(agent) {
  await check('a program runs as its user, with the groups of that user and no way back', async () => {
    const script = 'touch here && echo "wrote as $USER in $HOME"; sleep 1000';
    const { pid, shimPid } = await agent.start('nobody.0', script, { user: 'nobody' });
    await agent.untilSaid('nobody.0', /^wrote as nobody in \/$/m);
    assert.equal(field(pid, 'Uid'), '65534\t65534\t65534\t65534');
    assert.equal(field(pid, 'Gid'), '65534\t65534\t65534\t65534');
    const groups = field(pid, 'Groups')
      .split(' ')
      .filter((gid) => gid !== '65534');
    assert.deepEqual(groups, ['1', '44']);
    assert.equal(field(pid, 'NoNewPrivs'), '1');
    for (const set of ['CapEff', 'CapPrm', 'CapInh', 'CapAmb']) assert.match(field(pid, set), /^0+$/);
    assert.equal(field(shimPid, 'Uid'), '0\t0\t0\t0');
    await agent.stop('nobody.0');
    assert.ok(!isAlive(pid) && !isAlive(shimPid));
  });

  await check('it cannot signal its shim', async () => {
    const { shimPid } = await agent.start('mutiny.0', 'kill -KILL $PPID; echo "answer $?"; sleep 1000', {
      user: '65534',
    });
    await agent.untilSaid('mutiny.0', /^answer 1$/m);
    assert.ok(isAlive(shimPid));
    assert.equal((await agent.instance('mutiny.0')).status, 'running');
    await agent.stop('mutiny.0');
  });

  await check('a user that the node does not know: the start fails, saying so', async () => {
    const command = { instanceId: 'who.0', command: ['true'], user: 'nosuchuser', restart: { policy: 'never' } };
    const { status, body } = await agent.request('POST', '/start', command);
    assert.equal(status, 422, JSON.stringify(body));
    assert.match(body.detail, /nosuchuser/);
  });
}

module.exports = { checkUsers };

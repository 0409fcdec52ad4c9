/** Programs run as another user than the agent's: of their instance's own, or one that they name. */
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const { isAlive, processesOf, readProc } = require('./agent.cjs');
const { check } = require('./tap.cjs');

const field = (pid, name) => new RegExp(`^${name}:\\s*(.*?)\\s*$`, 'm').exec(readProc(pid, 'status'))?.[1];

const CAPABILITIES = ['CapEff', 'CapPrm', 'CapInh', 'CapBnd', 'CapAmb'];

async function checkUsers(agent) {
  await checkOwnUsers(agent);
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
    for (const set of CAPABILITIES) assert.match(field(pid, set), /^0+$/);
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

  await check(
    'a user that the node does not allow, and root by any name: the start fails, naming the flag',
    async () => {
      for (const user of ['root', '0', '1', '1610612736']) {
        const command = { instanceId: 'who.0', command: ['true'], user, restart: { policy: 'never' } };
        const { status, body } = await agent.request('POST', '/start', command);
        assert.equal(status, 422, JSON.stringify(body));
        assert.match(body.detail, /--allow-user .*--allow-root/);
      }
    },
  );
}

async function checkOwnUsers(agent) {
  const uidOf = (pid) => Number(field(pid, 'Uid').split('\t')[0]);

  await check('instances have users of their own, without groups, capabilities or a way to either', async () => {
    const script = 'touch ~/here && echo "wrote in $HOME"; sleep 1000';
    const [one, other] = [await agent.start('own.0', script), await agent.start('own.1', script)];
    for (const { pid, shimPid, instanceId } of [one, other]) {
      await agent.untilSaid(instanceId, /^wrote in \/state\/agent\/work\//m);
      const uid = uidOf(pid);
      assert.ok(uid >= 1610612736 && uid <= 1610678271, `uid ${uid}`);
      assert.equal(field(pid, 'Uid'), Array(4).fill(uid).join('\t'));
      assert.equal(field(pid, 'Gid'), Array(4).fill(uid).join('\t'));
      assert.match(readProc(pid, 'status'), /^Groups:[ \t]*$/m);
      assert.equal(field(pid, 'NoNewPrivs'), '1');
      for (const set of CAPABILITIES) assert.match(field(pid, set), /^0+$/);
      assert.equal(field(shimPid, 'Uid'), '0\t0\t0\t0');
    }
    assert.notEqual(uidOf(one.pid), uidOf(other.pid));
  });

  await check('they can neither signal one another or their shims nor read what is theirs', async () => {
    const victim = await agent.instance('own.0');
    const { instances, logs, work } = Object.fromEntries(
      ['instances', 'logs', 'work'].map((name) => [name, `${agent.dataDir}/${name}`]),
    );
    const theirs = fs.readdirSync(work).find((name) => fs.statSync(`${work}/${name}`).uid === uidOf(victim.pid));
    const attempts = [
      ...[victim.pid, victim.shimPid, '$PPID'].flatMap((pid) => [
        `kill -KILL ${pid}`,
        `kill -CONT ${pid}`,
        ...['environ', 'mem', 'maps'].map((file) => `cat /proc/${pid}/${file}`),
        ...['fd', 'cwd/'].map((directory) => `ls /proc/${pid}/${directory}`),
      ]),
      ...[agent.dataDir, instances, logs, work, `${work}/${theirs}`].map((directory) => `ls ${directory}`),
      `cat ${agent.dataDir}/uids.json`,
      `cat ${work}/${theirs}/here`,
    ];
    const script = attempts.map((attempt) => `${attempt} > /dev/null 2>&1 && echo "done: ${attempt}"`).join('\n');
    await agent.start('thief.0', `${script}\nkill -KILL -1; echo "tried all"; sleep 1000`);
    const [, output] = await agent.untilSaid('thief.0', /^([\s\S]*)tried all$/m);
    assert.equal(output, '');
    assert.ok(isAlive(victim.pid) && isAlive(victim.shimPid));
    for (const instanceId of ['own.0', 'own.1', 'thief.0']) await agent.stop(instanceId);
    assert.deepEqual(processesOf('own.0'), []);
  });
}

module.exports = { checkUsers };

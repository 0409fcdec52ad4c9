/** Instances with users of their own: real programs that try to get at one another, at their shims and at the agent's files. */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Agents, isAlive, type TestAgent } from '../support/agent';
import { fixture } from '../support/fixtures';
import { until } from '../support/until';
import { claimedBelow, FIRST_UID, rangeOf, releaseBelow } from '../support/userRanges';

const isRoot = process.geteuid?.() === 0;
const describeAsRoot = isRoot ? describe : describe.skip;
if (!isRoot) process.stderr.write('ownUsers.test.ts: only root can run programs as other users; it is skipped\n');

const ONCE = { restart: { policy: 'never' } };

const agents = new Agents();
chmodSync(agents.directory, 0o711);
afterAll(async () => {
  await agents.endAll();
  releaseBelow(agents.directory);
}, 60_000);

/** Uids that the agents of this file hold. */
const claimed = () => claimedBelow(agents.directory);

/** A program that every user reaches, wherever this checkout is. */
function forEverybody(name: string): string {
  const program = join(agents.directory, name);
  if (!existsSync(program)) {
    copyFileSync(fixture(name), program);
    chmodSync(program, 0o755);
  }
  return program;
}

const statusOf = (pid: number, field: string) =>
  new RegExp(`^${field}:\\s*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]!;
const uidOf = (pid: number) => Number(statusOf(pid, 'Uid').split('\t')[0]);

/** A service that goes on, with something of its own to steal. */
async function startVictim(agent: TestAgent, instanceId: string): Promise<{ pid: number; shimPid: number }> {
  const script = 'echo secret > mine; chmod 644 mine; echo said; exec sleep 1000';
  const { status, body } = await agent.startShell(script, { ...ONCE, instanceId, env: { PASSWORD: 'secret' } });
  expect([status, body]).toEqual([201, expect.anything()]);
  await agent.untilSaid(instanceId, 'said');
  return body;
}

async function outputOf(agent: TestAgent, instanceId: string, script: string, more: object = {}): Promise<string> {
  const { status, body } = await agent.startShell(script, { ...ONCE, instanceId, ...more });
  expect([status, body]).toEqual([201, expect.anything()]);
  await agent.untilStatus(instanceId, 'completed');
  const output = await agent.logs(instanceId);
  await agent.stop({ instanceId });
  return output;
}

describeAsRoot('two instances with users of their own', () => {
  let agent: TestAgent;
  let victim: { pid: number; shimPid: number };
  beforeAll(async () => {
    agent = await agents.start({ runAs: 'own', userRange: rangeOf(16) });
    victim = await startVictim(agent, 'victim.0');
  }, 30_000);

  const pathsOf = ({ dataDir }: TestAgent) => {
    const records = readdirSync(join(dataDir, 'instances'));
    const state = join(dataDir, 'instances', records.find((name) => !name.startsWith('journal.'))!);
    const journal = join(dataDir, 'instances', records.find((name) => name.startsWith('journal.'))!);
    const logs = join(dataDir, 'logs', readdirSync(join(dataDir, 'logs'))[0]!);
    const work = join(dataDir, 'work', readdirSync(join(dataDir, 'work'))[0]!);
    return [
      dataDir,
      join(dataDir, 'instances'),
      state,
      journal,
      join(dataDir, 'logs'),
      logs,
      join(logs, 'stdout.1.log'),
      join(dataDir, 'work'),
      work,
      join(work, 'mine'),
      ...['lock', 'lease', 'uids.json'].map((name) => join(dataDir, name)),
    ];
  };

  const attemptsOf = async (intruders: TestAgent, target: { pid: number; shimPid: number }) => {
    const targets = [target.pid, target.shimPid, intruders.pid].map(String);
    const command = [forEverybody('intruder'), ...targets, ...pathsOf(intruders)];
    await intruders.start({ ...ONCE, command, instanceId: 'intruder.0' });
    const output = await intruders.untilSaid('intruder.0', 'tried all');
    await intruders.stop({ instanceId: 'intruder.0' });
    return output.trim().split('\n').slice(0, -1);
  };

  test('can do nothing to one another, to their shims and to the agent, and read nothing of theirs', async () => {
    const attempts = await attemptsOf(agent, victim);
    expect(attempts).toHaveLength(3 * 11 + 13);
    expect(attempts.filter((line) => !/: (EPERM|EACCES)$/.test(line))).toEqual([]);
    expect(isAlive(victim.pid)).toBe(true);
  });

  test('could do all of it if they ran as the agent', async () => {
    const open = await agents.start({ runAs: 'agent' });
    const attempts = await attemptsOf(open, await startVictim(open, 'victim.0'));
    // uids.json is not there, and what is missing cannot be had.
    expect(attempts.filter((line) => !line.endsWith(': done')).map((line) => line.replace(/^.*: /, ''))).toEqual([
      'No such file or directory',
    ]);
  });

  test('cannot signal their own shim either', async () => {
    const script = '{ kill -KILL $PPID; echo "answer $?"; cat /proc/$PPID/environ; echo "answer $?"; } 2> /dev/null';
    expect(await outputOf(agent, 'mutiny.0', script)).toBe('answer 1\nanswer 1\n');
  });

  test('have no capability, no group but their own, and no way to gain a right', async () => {
    const fields = (await outputOf(agent, 'bare.0', 'cat /proc/self/status; id -u; id -g; id -G')).trim().split('\n');
    const [uid, gid, groups] = fields.slice(-3);
    expect(Number(uid)).toBeGreaterThanOrEqual(FIRST_UID);
    expect([gid, groups]).toEqual([uid, uid]);
    const sets = fields.filter((line) => /^Cap(Inh|Prm|Eff|Bnd|Amb):/.test(line));
    expect(sets.map((line) => line.split('\t')[1])).toEqual(Array(5).fill('0000000000000000'));
    expect(fields).toContain('NoNewPrivs:\t1');
    expect(fields).toContain('Groups:\t ');
  });

  test('have no capability that the agent was given to pass on', async () => {
    const inheriting = (argv: readonly string[]) => {
      const caps = ['--inh-caps', '+net_raw,+chown', '--ambient-caps', '+net_raw,+chown'];
      return ['/bin/sh', '-c', '"$@"; exit', 'sh', 'setpriv', ...caps, ...argv];
    };
    const heir = await agents.start({ runAs: 'own', userRange: rangeOf(4, 52) }, inheriting);
    expect(BigInt(`0x${statusOf(heir.pid, 'CapAmb')}`)).not.toBe(0n);
    const output = await outputOf(heir, 'heir.0', 'grep -E "^Cap" /proc/self/status');
    expect(output.match(/[0-9a-f]{16}/g)).toEqual(Array(5).fill('0000000000000000'));
  });

  test('have a home of their own, where they begin, and which no other gets into', async () => {
    const script = 'echo "$HOME $USER"; pwd; echo hi > ~/file && cat ~/file; stat -c "%U %a" .';
    const [env, cwd, file, mode] = (await outputOf(agent, 'homely.0', script)).split('\n');
    expect(env).toMatch(new RegExp(`^${join(agent.dataDir, 'work')}/[^ ]+ \\d+$`));
    expect(env).toContain(`${cwd} `);
    expect([file, mode]).toEqual(['hi', 'UNKNOWN 700']);
  });

  test('have nothing of the environment of the agent', async () => {
    const names = (await outputOf(agent, 'env.0', 'env')).split('\n').map((line) => line.split('=')[0]);
    expect(names).not.toContain('SECRET_OF_THE_AGENT');
    expect(names).toEqual(expect.arrayContaining(['PATH', 'HOME', 'USER', 'LANG', 'MORCH_INSTANCE']));
  });

  test('see nothing in the data directory that is not theirs', () => {
    const open: string[] = [];
    const look = (path: string) => {
      const found = statSync(path);
      if ((found.mode & 0o006) !== 0) open.push(path);
      if (found.isDirectory()) for (const name of readdirSync(path)) look(join(path, name));
    };
    for (const name of readdirSync(agent.dataDir)) if (name !== 'work') look(join(agent.dataDir, name));
    expect(open).toEqual([]);
    expect(statSync(agent.dataDir).mode & 0o777).toBe(0o711);
    expect(statSync(join(agent.dataDir, 'work')).mode & 0o777).toBe(0o711);
  });

  test('cannot read a script that only root may, and are told what to do', async () => {
    const script = join(agents.directory, 'private.sh');
    writeFileSync(script, '#!/bin/sh\n', { mode: 0o700 });
    const { status, body } = await agent.start({ ...ONCE, script, instanceId: 'private.0' });
    expect(status).toBe(422);
    expect(body.detail).toMatch(/user \d+, which the node has given it \(see --run-as\) may not execute it/);
  });

  test('end with their shims like any other, however they hide', async () => {
    const { body } = await agent.startShell('setsid sleep 1000 & sleep 1000 & echo up; wait', {
      ...ONCE,
      instanceId: 'hidden.0',
    });
    await agent.untilSaid('hidden.0', 'up');
    const uid = uidOf(body.pid);
    process.kill(body.shimPid, 'SIGKILL');
    await agent.untilStatus('hidden.0', 'failed');
    const left = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && isAlive(Number(pid)) && ownedBy(pid, uid));
    expect(left).toEqual([]);
  });
});

function ownedBy(pid: string, uid: number): boolean {
  try {
    return uidOf(Number(pid)) === uid;
  } catch {
    return false;
  }
}

describeAsRoot("an instance's own user", () => {
  const ID = { instanceId: 'web.0', uid: 'workload-1' };
  const uids = ({ dataDir }: TestAgent) => JSON.parse(readFileSync(join(dataDir, 'uids.json'), 'utf8')).uids;

  test('stays over runs, generations and the end of the agent, and is another for each instance', async () => {
    const agent = await agents.start({ runAs: 'own', userRange: rangeOf(8, 16), onExit: 'keep' });
    const script = 'echo "$MORCH_GENERATION.$MORCH_RUN $(id -u)"; exec sleep 1000';
    const restart = { policy: 'always', backoffMs: 1 };
    const first = (await agent.startShell(script, { ...ID, generation: 1, restart })).body;
    const uid = uidOf(first.pid);
    process.kill(first.pid, 'SIGKILL');
    await agent.untilSaid('web.0', `1.2 ${uid}`);
    const other = (await agent.startShell(script, { instanceId: 'web.1', uid: 'workload-1' })).body;
    expect(uidOf(other.pid)).not.toBe(uid);

    await agent.kill('SIGKILL');
    const successor = await agents.restart(agent);
    await successor.startShell(script, { ...ID, generation: 2, restart });
    await successor.untilSaid('web.0', `2.1 ${uid}`);
    expect(uids(successor)).toEqual({ 'workload-1.0': uid, 'workload-1.1': uidOf(other.pid) });

    // Its file damaged, whose a directory is tells.
    await successor.kill('SIGKILL');
    writeFileSync(join(agent.dataDir, 'uids.json'), '{');
    const third = await agents.restart(successor);
    await third.startShell(script, { ...ID, generation: 3, restart });
    await third.untilSaid('web.0', `3.1 ${uid}`);
    for (const instanceId of ['web.0', 'web.1']) await third.stop({ instanceId, graceMs: 0 });
  });

  test('is free again when the last generation is forgotten, and is given out last', async () => {
    const agent = await agents.start({ runAs: 'own', userRange: rangeOf(4, 24) });
    const own = async (instanceId: string) => Number(await outputOf(agent, instanceId, 'id -u'));
    const first = await own('a.0');
    expect(claimed()).toContain(first);
    // Alone, an agent keeps its last 100, looked at when one ends.
    for (let i = 0; i < 100; i += 1) await agent.stop({ instanceId: 'b.0', uid: `u-${i}`, generation: 1 });
    const next = [await own('c.0')];
    await until(() => !claimed().includes(first), { what: 'nobody claims it any more' });
    expect(Object.values(uids(agent))).toEqual(next);
    expect(readdirSync(join(agent.dataDir, 'work'))).toHaveLength(1);
    next.push(await own('c.1'), await own('c.2'));
    expect(new Set([first, ...next]).size).toBe(4);
  });

  test("is nobody else's, also of another agent with the same range; when none is left, it is told", async () => {
    const options = { runAs: 'own' as const, userRange: rangeOf(4, 28) };
    const [one, two] = [await agents.start(options), await agents.start(options)];
    const starts = [one, two, one, two].map((agent, i) =>
      agent.start({ command: ['sleep', '1000'], instanceId: `s.${i}`, ...ONCE }),
    );
    const pids = (await Promise.all(starts)).map(({ body }) => body.pid);
    expect(new Set(pids.map(uidOf)).size).toBe(4);
    const { status, body } = await one.start({ command: ['true'], instanceId: 's.4', ...ONCE });
    expect(status).toBe(422);
    expect(body).toMatchObject({
      code: 'START_FAILED',
      errnoCode: 'EAGAIN',
      detail: expect.stringContaining('--user-range'),
    });
  });

  test('is given to none that could not be recorded', async () => {
    const agent = await agents.start({ runAs: 'own', userRange: rangeOf(4, 32) });
    // A directory in the place of the file that is written first.
    const obstacle = join(agent.dataDir, 'uids.json.tmp');
    mkdirSync(obstacle);
    const refused = await agent.start({ command: ['true'], instanceId: 'r.0', ...ONCE });
    expect([refused.status, refused.body.code]).toEqual([507, 'STORE_UNWRITABLE']);
    rmdirSync(obstacle);
    expect(await outputOf(agent, 'r.0', 'id -u')).toMatch(/^\d+$/m);
  });
});

describeAsRoot('a user that a spec names', () => {
  const start = async (agent: TestAgent, user: string) => {
    const command = ['/bin/sh', '-c', 'id -u'];
    const { status, body } = await agent.start({ ...ONCE, command, user });
    if (status !== 201) return `${status} ${body.code} ${body.detail}`;
    await agent.untilStatus(body.instanceId, 'completed');
    return (await agent.logs(body.instanceId)).trim();
  };

  test('is refused everywhere unless the node allows some', async () => {
    const agent = await agents.start({ runAs: 'own', userRange: rangeOf(4, 36) });
    expect((await agent.status()).features).toEqual(['user.own', 'secrets']);
    for (const user of ['nobody', 'root', '0']) {
      expect(await start(agent, user)).toMatch(/^422 FEATURE_UNSUPPORTED .*--allow-user and --allow-root/);
    }
  });

  test('may be one of those allowed, by name or number, and no other', async () => {
    const agent = await agents.start({ runAs: 'own', userRange: rangeOf(4, 40), allowUsers: ['nobody', '54321'] });
    expect((await agent.status()).features).toEqual(['user', 'user.own', 'secrets']);
    expect(await start(agent, 'nobody')).toBe('65534');
    expect(await start(agent, '65534')).toBe('65534');
    expect(await start(agent, '54321')).toBe('54321');
    expect(await start(agent, '54322')).toMatch(/^422 START_FAILED .*does not allow user 54322.*--allow-user 54322/);
    for (const root of ['root', '0', '00'])
      expect(await start(agent, root)).toMatch(/^422 START_FAILED .*--allow-root/);
  });

  test('may be any but root with *, though none of those that instances have of their own', async () => {
    const agent = await agents.start({ runAs: 'own', userRange: rangeOf(4, 44), allowUsers: ['*'] });
    expect(await start(agent, '54322')).toBe('54322');
    expect(await start(agent, String(FIRST_UID + 45))).toMatch(/^422 START_FAILED/);
    expect(await start(agent, 'root')).toMatch(/^422 START_FAILED .*--allow-root/);
  });

  test('may be root where the node says so', async () => {
    const agent = await agents.start({ runAs: 'own', userRange: rangeOf(4, 48), allowRoot: true });
    expect(await start(agent, 'root')).toBe('0');
    expect(await start(agent, 'nobody')).toMatch(/^422 START_FAILED/);
  });
});

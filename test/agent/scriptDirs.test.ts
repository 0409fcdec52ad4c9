/** Programs bound to directories: what is started lies there by its real path, whatever way is tried around it. */
import { chmodSync, copyFileSync, linkSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agents, type TestAgent } from '../support/agent';

const agents = new Agents();
const allowed = join(agents.directory, 'jobs');
const elsewhere = join(agents.directory, 'elsewhere');
const current = join(agents.directory, 'current');
let agent: TestAgent;

function writeScript(path: string, text = 'echo "ran as $0"; pwd'): string {
  writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return path;
}

beforeAll(async () => {
  for (const directory of [allowed, join(allowed, 'inner'), elsewhere, `${allowed}-not`]) mkdirSync(directory);
  symlinkSync(join(agents.directory, 'release-1'), current);
  mkdirSync(join(agents.directory, 'release-1'));
  mkdirSync(join(agents.directory, 'release-2'));
  agent = await agents.start({ scriptDirs: [allowed, current] });
}, 30_000);
afterAll(() => agents.endAll(), 30_000);

const ONCE = { restart: { policy: 'never' } };

async function outputOf(command: Record<string, unknown>): Promise<string> {
  const { status, body } = await agent.start({ ...ONCE, ...command });
  expect([status, body]).toEqual([201, expect.anything()]);
  await agent.untilStatus(body.instanceId, 'completed');
  return agent.logs(body.instanceId);
}

async function expectRefused(
  command: Record<string, unknown>,
  errnoCode = 'EACCES',
  syscall = 'script-dir',
): Promise<void> {
  const { status, body } = await agent.start({ ...ONCE, ...command });
  expect({ status, ...body }).toMatchObject({ status: 422, code: 'START_FAILED', syscall, errnoCode });
  expect(body.detail).toContain('--script-dir');
}

describe('is started', () => {
  test('a script or a command there, in its directory, by arguments of its own', async () => {
    const script = writeScript(join(allowed, 'inner/job.sh'), 'echo "$@"; pwd');
    expect(await outputOf({ script, args: ['a b'] })).toBe(`a b\n${join(allowed, 'inner')}\n`);
    expect(await outputOf({ command: [script, '$(id)'], cwd: '/' })).toBe('$(id)\n/\n');
    expect(await outputOf({ command: ['./job.sh'], cwd: join(allowed, 'inner') })).toContain(join(allowed, 'inner'));
  });

  test('what a link leads to that is there', async () => {
    const script = writeScript(join(allowed, 'linked.sh'));
    const link = join(elsewhere, 'link.sh');
    symlinkSync(script, link);
    expect(await outputOf({ script: link })).toContain(`ran as ${script}`);
  });

  test('what is there now, when the directory is a link that is changed', async () => {
    for (const release of ['release-1', 'release-2']) {
      writeScript(join(agents.directory, release, 'job.sh'), `echo ${release}`);
      rmSync(current);
      symlinkSync(join(agents.directory, release), current);
      expect(await outputOf({ script: join(current, 'job.sh') })).toBe(`${release}\n`);
    }
    await expectRefused({ script: join(agents.directory, 'release-1', 'job.sh') });
  });
});

test('variables may be set that do no harm, and those that the agent is told of, by name or by how they begin', async () => {
  const other = await agents.start({ scriptDirs: [allowed], scriptEnv: ['HOME', 'DB_*'] });
  const script = writeScript(
    join(allowed, 'says.sh'),
    'echo "$LANG $LC_ALL $TZ $APP_MODE $HOME $DB_HOST $DB_PASSWORD"',
  );
  const given = { LANG: 'a', LC_ALL: 'b', TZ: 'c', APP_MODE: 'd', HOME: '/e', DB_HOST: 'f' };
  const secrets = { secrets: [{ name: 's', env: 'DB_PASSWORD' }], secretValues: { s: 'Zw==' } };
  const { status, body } = await other.start({ ...ONCE, script, env: given, ...secrets });
  expect(status).toBe(201);
  await other.untilStatus(body.instanceId, 'completed');
  expect(await other.logs(body.instanceId)).toBe('a b c d /e f g\n');
  const refused = await other.start({ ...ONCE, script, env: { ...given, HOMES: 'x' } });
  expect(refused).toMatchObject({ status: 422, body: { detail: expect.stringContaining('the variable HOMES') } });
  await other.end();
});

describe('is refused', () => {
  test.each<[string, () => Record<string, unknown>]>([
    ['a script elsewhere', () => ({ script: writeScript(join(elsewhere, 'job.sh')) })],
    ['a command elsewhere', () => ({ command: ['/bin/sh', '-c', 'true'] })],
    ['a command found in the PATH', () => ({ command: ['sh', '-c', 'true'] })],
    ['a path that begins like it', () => ({ script: writeScript(join(`${allowed}-not`, 'job.sh')) })],
    ['a path that leads out of it', () => ({ script: `${allowed}/../elsewhere/job.sh` })],
    [
      'a link there that leads out of it',
      () => {
        symlinkSync(join(elsewhere, 'job.sh'), join(allowed, 'out.sh'));
        return { script: join(allowed, 'out.sh') };
      },
    ],
    [
      'a directory there that leads out of it',
      () => {
        symlinkSync(elsewhere, join(allowed, 'out'));
        return { script: join(allowed, 'out/job.sh') };
      },
    ],
    ['a relative path that leads out of it', () => ({ command: ['../elsewhere/job.sh'], cwd: allowed })],
    [
      'an interpreter by a link of the script’s name',
      () => {
        symlinkSync('/bin/sh', join(allowed, 'innocent'));
        return { command: [join(allowed, 'innocent'), '-c', 'true'] };
      },
    ],
    ['a file of /proc that means another', () => ({ script: '/proc/self/exe' })],
    ['the directory itself', () => ({ script: allowed })],
  ])('%s', async (_what, command) => {
    await expectRefused(command());
  });

  test.each([
    ...['PATH', 'LD_PRELOAD', 'LD_LIBRARY_PATH', 'BASH_ENV', 'ENV', 'PERL5OPT', 'PYTHONPATH', 'NODE_OPTIONS', 'HOME'],
    ...[
      'OPENSSL_CONF',
      'ZDOTDIR',
      'XDG_CONFIG_HOME',
      'GIT_SSH_COMMAND',
      'DOTNET_STARTUP_HOOKS',
      'LANGUAGE',
      'APP',
      'app_x',
    ],
  ])('the variable %s, which nobody has allowed', async (name) => {
    const script = writeScript(join(allowed, 'plain.sh'));
    await expectRefused({ script, env: { APP_A: 'a', [name]: '/tmp' } }, 'EPERM', 'script-env');
    await expectRefused(
      { script, secrets: [{ name: 's', env: name }], secretValues: { s: 'eA==' } },
      'EPERM',
      'script-env',
    );
    const { body } = await agent.start({ ...ONCE, script, env: { [name]: '/tmp' } });
    expect(body.detail).toContain(`--script-env ${name}.`);
    expect(await outputOf({ script, env: { [`APP_${name}`]: '/tmp' } })).toContain('ran as');
  });

  test('as by the kernel, what is not there', async () => {
    const { status, body } = await agent.start({ ...ONCE, script: join(allowed, 'gone.sh') });
    expect({ status, ...body }).toMatchObject({ status: 422, syscall: 'execve', errnoCode: 'ENOENT' });
  });
});

test('what is looked at is what runs, also when a link is changed meanwhile', async () => {
  const good = writeScript(join(allowed, 'good.sh'), 'echo good');
  const bad = writeScript(join(elsewhere, 'bad.sh'), 'echo bad');
  const link = join(elsewhere, 'changing.sh');
  symlinkSync(good, link);
  let isChanging = true;
  const change = (async () => {
    for (let i = 0; isChanging; i += 1) {
      symlinkSync(i % 2 === 0 ? bad : good, `${link}.next`);
      renameSync(`${link}.next`, link);
      await new Promise(setImmediate);
    }
  })();
  const ids: string[] = [];
  for (let i = 0; i < 60; i += 1) {
    const { status, body } = await agent.start({ ...ONCE, script: link });
    if (status === 201) ids.push(body.instanceId);
    else expect(body.errnoCode).toBe('EACCES');
  }
  isChanging = false;
  await change;
  expect(ids.length).toBeGreaterThan(0);
  for (const id of ids) {
    await agent.untilStatus(id, 'completed');
    expect(await agent.logs(id)).toBe('good\n');
  }
}, 60_000);

test('a hard link is a file like any other: who may put one there, may put anything there', async () => {
  const bad = writeScript(join(elsewhere, 'hard.sh'), 'echo hard');
  linkSync(bad, join(allowed, 'hard.sh'));
  expect(await outputOf({ script: join(allowed, 'hard.sh') })).toBe('hard\n');
  copyFileSync('/bin/true', join(allowed, 'true'));
  chmodSync(join(allowed, 'true'), 0o755);
  expect(await outputOf({ command: [join(allowed, 'true')] })).toBe('');
});

/** What an agent is told of users at its start, and whether it can do that. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { parseAgentOptions } from '../../agent/options';
import { isMapped, lackingCapabilities } from '../../agent/rights';
import { isAllowed } from '../../agent/runUsers';
import { Agents } from '../support/agent';

const options = (more: object) => parseAgentOptions({ dataDir: '/x', ...more });

describe('the options', () => {
  test('give instances 65,536 users that no system has', () => {
    expect(options({}).userRange).toEqual({ from: 1_610_612_736, to: 1_610_678_271 });
    expect(options({ userRange: '100000-100000' }).userRange).toEqual({ from: 100_000, to: 100_000 });
  });

  test.each(['', '1', '0-10', '10-9', '1-4294967295', '-1-5', '1-2-3', '1e3-1e4', ' 1-2'])(
    'refuse "%s" as a range of users',
    (userRange) => {
      expect(() => options({ userRange })).toThrow('--user-range');
    },
  );

  test.each(['root', '0', '000'])('never take %s for a user like others', (name) => {
    expect(() => options({ allowUsers: [name] })).toThrow('--allow-root');
  });

  test.each(['', 'a b', 'A', '**', '../x', '4294967295'])('refuse "%s" as a user', (name) => {
    expect(() => options({ allowUsers: [name] })).toThrow('--allow-user');
  });

  test('take only absolute directories for programs', () => {
    expect(() => options({ scriptDirs: ['jobs'] })).toThrow('--script-dir');
    for (const name of ['*', '', 'A=b', 'A*B', 'A,B']) {
      expect(() => options({ scriptDirs: ['/jobs'], scriptEnv: [name] })).toThrow('--script-env must be the name');
    }
    expect(() => options({ scriptEnv: ['HOME'] })).toThrow('--script-env is for an agent with --script-dir');
  });
});

describe('a user', () => {
  const range = { from: 1000, to: 1999 };
  const nobody = { name: 'nobody', uid: 65_534 };
  test.each<[string, { name: string; uid: number }, { allowUsers: string[]; allowRoot: boolean }, boolean]>([
    ['none where none is', nobody, { allowUsers: [], allowRoot: true }, false],
    ['by name', nobody, { allowUsers: ['www-data', 'nobody'], allowRoot: false }, true],
    ['by number', nobody, { allowUsers: ['65534'], allowRoot: false }, true],
    ['not by a part of it', nobody, { allowUsers: ['nobod', '6553'], allowRoot: false }, false],
    ['any with *', nobody, { allowUsers: ['*'], allowRoot: false }, true],
    ['not root with *', { name: 'root', uid: 0 }, { allowUsers: ['*'], allowRoot: false }, false],
    ['not root by another name', { name: 'toor', uid: 0 }, { allowUsers: ['*', 'toor'], allowRoot: false }, false],
    ['root by another name', { name: 'toor', uid: 0 }, { allowUsers: [], allowRoot: true }, true],
    ["not an instance's, with *", { name: '1000', uid: 1000 }, { allowUsers: ['*', '1000'], allowRoot: true }, false],
  ])('is allowed or not: %s', (_what, user, rules, allowed) => {
    expect(isAllowed(user, rules, range)).toBe(allowed);
  });
});

test('what an agent lacks of capabilities is told by name', () => {
  expect(lackingCapabilities('Name:\tx\nCapPrm:\t0\nCapEff:\t000001ffffffffff\n')).toEqual([]);
  // The default of container engines, which has no CAP_SYS_PTRACE.
  expect(lackingCapabilities('CapEff:\t00000000a80425fb\n')).toEqual(['CAP_SYS_PTRACE']);
  expect(lackingCapabilities('CapEff:\t0000000000000000\n')).toHaveLength(8);
});

test.each<[string, string, boolean]>([
  ['all of them', '         0          0 4294967295\n', true],
  ['a container of few', '0 100000 1500\n', false],
  ['extents side by side', '0 1 100\n1000 5000 500\n1500 9000 500\n', true],
  ['a hole', '1000 5000 500\n1501 9000 600\n', false],
  ['the last missing', '1000 5000 999\n', false],
])('whether a user namespace has the users 1000-1999: %s', (_what, map, mapped) => {
  expect(isMapped({ from: 1000, to: 1999 }, map)).toBe(mapped);
});

const isRoot = process.geteuid?.() === 0;
const testAsRoot = isRoot ? test : test.skip;
if (!isRoot) process.stderr.write('rights.test.ts: only root can give up rights; those tests are skipped\n');

describe('an agent', () => {
  const agents = new Agents();
  afterAll(() => agents.endAll(), 30_000);
  const withoutSetuid = (argv: readonly string[]) => {
    return ['/bin/sh', '-c', '"$@"; exit', 'sh', 'setpriv', '--bounding-set', '-setuid', ...argv];
  };

  testAsRoot('of another user than root runs all as itself, and refuses flags that it cannot follow', () => {
    const script = `
      const { parseAgentOptions } = require(process.argv[1] + '/options.js');
      const { settleRunAs } = require(process.argv[1] + '/rights.js');
      process.setgroups([]);
      process.setgid(65534);
      process.setuid(65534);
      const settle = (more) => settleRunAs(parseAgentOptions({ dataDir: '/x', ...more })).catch(({ message }) => message);
      (async () => {
        const asked = [{}, { runAs: 'agent' }, { runAs: 'own' }, { allowUsers: ['nobody'] }, { allowRoot: true }];
        for (const more of asked) console.log(await settle(more));
      })();`;
    const dist = join(__dirname, '../../dist/agent');
    const lines = execFileSync(process.execPath, ['-e', script, dist], { encoding: 'utf8' }).trim().split('\n');
    const refused = (flag: string) => expect.stringMatching(`^${flag} needs an agent that runs as root`);
    expect(lines).toEqual([
      'agent',
      'agent',
      refused('--run-as own'),
      refused('--allow-user'),
      refused('--allow-root'),
    ]);
  });

  testAsRoot('that cannot change users does not start, and says what to do', async () => {
    const why = /--run-as own needs capabilities.*CAP_SETUID.*--run-as agent/;
    await expect(agents.start({ runAs: 'own' }, withoutSetuid)).rejects.toThrow(why);
    const agent = await agents.start({ runAs: 'agent' }, withoutSetuid);
    expect((await agent.start({ command: ['true'] })).status).toBe(201);
  });
});

import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { isLoopbackHost } from '../../access/loopback';
import { chooseTarget, type TargetFlags } from '../../cli/context';
import { contextFile, loadContexts, saveContext, useContext } from '../../cli/contextFile';
import { defaultDataDir } from '../../cli/dataDir';
import { isAuthOff } from '../../cli/parts';

const home = mkdtempSync(path.join(tmpdir(), 'morch-context-'));
const config = path.join(home, '.config/morch/config.yaml');
mkdirSync(path.dirname(config), { recursive: true });
afterAll(() => rmSync(home, { recursive: true }));

const write = (text: string) => writeFileSync(config, text);
const CONTEXTS = `# mine
current: prod
contexts:
  prod:
    address: https://from-file:1
    tokenFile: prod.token
  other:
    address: https://other:1/
    token: other-token
`;
beforeEach(() => {
  write(CONTEXTS);
  writeFileSync(path.join(path.dirname(config), 'prod.token'), 'prod-token\n');
});

describe('the address of the scheduler', () => {
  const address = (flag: string | undefined, env: NodeJS.ProcessEnv) => chooseTarget({ address: flag }, env).address;

  test('is the first of flag, variable, current context, default', () => {
    const env = { HOME: home, MORCH_ADDRESS: 'http://from-env:1' };
    expect(address('http://from-flag:1', env)).toEqual({ url: 'http://from-flag:1', source: '--address' });
    expect(address(undefined, env)).toEqual({ url: 'http://from-env:1', source: 'MORCH_ADDRESS' });
    expect(address(undefined, { HOME: home })).toEqual({ url: 'https://from-file:1', source: 'context prod' });
    expect(address(undefined, { HOME: '/nowhere' }).url).toBe('http://127.0.0.1:5000');
  });

  test('is looked for below XDG_CONFIG_HOME, if that is absolute', () => {
    expect(address(undefined, { HOME: home, XDG_CONFIG_HOME: '/nowhere' }).source).toBe('default');
    expect(address(undefined, { HOME: home, XDG_CONFIG_HOME: 'relative' }).source).toBe('context prod');
  });

  test.each([
    ['127.0.0.1:5000', 'http://127.0.0.1:5000'],
    ['http://host:1/', 'http://host:1'],
    ['https://host/prefix/', 'https://host/prefix'],
    ['[::1]:5000', 'http://[::1]:5000'],
  ])('may be %s', (text, url) => {
    expect(address(text, { HOME: home }).url).toBe(url);
  });

  test.each(['', 'ftp://host', 'http://', 'http://h/?q=1', 'a b'])('may not be "%s"', (text) => {
    expect(() => address(text, { HOME: home })).toThrow('is not the address of a scheduler');
  });

  test.each([
    'contexts: [1',
    'contexts: 5',
    'just text',
    'address: http://h:1',
    'current: gone',
    'contexts: { a: { address: 5 } }',
  ])('is not taken from a file that holds "%s"', (text) => {
    write(text);
    expect(() => address(undefined, { HOME: home })).toThrow(config);
  });

  test.each(['', '# nothing\n', 'contexts:\n'])('is the default with a file that holds "%s"', (text) => {
    write(text);
    expect(address(undefined, { HOME: home }).source).toBe('default');
  });
});

describe('the token', () => {
  const tokens = (flags: TargetFlags, env: NodeJS.ProcessEnv = {}) =>
    chooseTarget(flags, { HOME: home, XDG_DATA_HOME: path.join(home, 'data'), ...env }).credentials.map(
      ({ token }) => token,
    );
  const file = path.join(home, 'given.token');
  beforeEach(() => writeFileSync(file, 'given-token\n'));

  test('is the first of flag, variable, context', () => {
    expect(tokens({ tokenFile: file }, { MORCH_TOKEN: 'from-env' })).toEqual(['given-token']);
    expect(tokens({}, { MORCH_TOKEN: 'from-env' })).toEqual(['from-env']);
    expect(tokens({})).toEqual(['prod-token']);
  });

  test('of a context goes to no other address than its own', () => {
    expect(tokens({ address: 'http://evil:1' })).toEqual([]);
    expect(tokens({}, { MORCH_ADDRESS: 'http://evil:1' })).toEqual([]);
    expect(tokens({ address: 'http://from-file:1' })).toEqual([]);
    expect(tokens({ address: 'https://other:1' })).toEqual(['other-token']);
  });

  test('is not there when the file of the context is gone', () => {
    rmSync(path.join(path.dirname(config), 'prod.token'));
    expect(tokens({})).toEqual([]);
  });

  test('is looked for, on this machine only, where schedulers keep theirs', () => {
    // As root that is one place for all tests, which may hold some.
    if (process.getuid?.() === 0) return;
    const folder = path.join(home, 'data/morch/scheduler');
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, 'admin.token'), 'local-token\n');
    expect(tokens({ address: 'http://127.0.0.1:5000' })).toEqual(['local-token']);
    expect(tokens({ address: 'https://other:1' })).toEqual(['other-token']);
  });

  test('must be in the file that was named', () => {
    expect(() => tokens({ tokenFile: '/nowhere' })).toThrow('--token-file');
    writeFileSync(file, 'two words\n');
    expect(() => tokens({ tokenFile: file })).toThrow('does not hold one token');
  });

  test('and address that were said need no context file, however broken', () => {
    write('contexts: [');
    expect(tokens({ address: 'http://127.0.0.1:1', tokenFile: file })).toEqual(['given-token']);
  });

  test('is not sent in the clear to another machine, wherever it was found', () => {
    const refused = (from: string) =>
      expect.objectContaining({
        code: 'INVALID_INPUT',
        message: expect.stringMatching(`${from}[^]*https://[^]*--ca-file`),
      });
    const http = 'http://scheduler.example:5000';
    expect(() => tokens({ address: http, tokenFile: file })).toThrow(refused(file));
    expect(() => tokens({ address: 'scheduler.example:5000' }, { MORCH_TOKEN: 'x' })).toThrow(refused('MORCH_TOKEN'));
    expect(() => tokens({}, { MORCH_ADDRESS: http, MORCH_TOKEN: 'x' })).toThrow(refused('MORCH_TOKEN'));
    write(CONTEXTS.replace('https://from-file:1', http));
    expect(() => tokens({})).toThrow(refused('context prod'));
    expect(tokens({ address: 'http://0x7f.1:5000' }, { MORCH_TOKEN: 'x' })).toEqual(['x']);
    expect(tokens({ address: 'https://scheduler.example:5000' }, { MORCH_TOKEN: 'x' })).toEqual(['x']);
  });
});

describe('the context file', () => {
  test('is written for its owner alone, with what was in it', async () => {
    await saveContext(config, 'dev', { address: 'http://127.0.0.1:5000', tokenFile: '/d/admin.token' }, () => false);
    expect(readFileSync(config, 'utf8')).toContain('# mine');
    expect(statSync(config).mode & 0o777).toBe(0o600);
    const { current, contexts } = loadContexts(config);
    expect(current).toBe('prod');
    expect(Object.keys(contexts)).toEqual(['prod', 'other', 'dev']);
    expect(contexts.dev).toEqual({ address: 'http://127.0.0.1:5000', tokenFile: '/d/admin.token' });
  });

  test('is made where there is none', async () => {
    const env = { XDG_CONFIG_HOME: path.join(home, 'fresh') };
    await saveContext(
      contextFile(env),
      'dev',
      { address: 'http://127.0.0.1:5000' },
      (current) => current === undefined,
    );
    expect(loadContexts(contextFile(env)).current).toBe('dev');
  });

  test('stays where a link leads to', async () => {
    const kept = path.join(home, 'kept.yaml');
    const link = path.join(home, 'link.yaml');
    writeFileSync(kept, CONTEXTS);
    symlinkSync(kept, link);
    await useContext(link, 'other');
    expect(loadContexts(kept).current).toBe('other');
    expect(loadContexts(link).current).toBe('other');
  });

  test('does not choose what it does not have', async () => {
    await expect(useContext(config, 'gone')).rejects.toThrow('There is no context gone');
  });
});

test('loopback is what never leaves the machine', () => {
  const hosts = [
    '127.0.0.1',
    '127.8.9.1',
    '::1',
    '[::1]',
    'localhost',
    '0.0.0.0',
    '::',
    '10.0.0.1',
    '127.0.0.1.evil.org',
  ];
  expect(hosts.filter(isLoopbackHost)).toEqual(['127.0.0.1', '127.8.9.1', '::1', '[::1]', 'localhost']);
});

test('nobody is asked for a token by --no-auth, or by a variable that says so', () => {
  expect(isAuthOff(true, {})).toBe(false);
  expect(isAuthOff(false, {})).toBe(true);
  expect(isAuthOff(true, { MORCH_NO_AUTH: '1' })).toBe(true);
  expect(isAuthOff(true, { MORCH_NO_AUTH: '0' })).toBe(false);
  expect(() => isAuthOff(true, { MORCH_NO_AUTH: 'no' })).toThrow('it must be 1 or 0');
});

test('data is below /var/lib as root, else below XDG_DATA_HOME', () => {
  const isRoot = process.getuid?.() === 0;
  const [plain, xdg] = [{ HOME: '/h' }, { HOME: '/h', XDG_DATA_HOME: '/x' }].map((env) => defaultDataDir('agent', env));
  expect([plain, xdg]).toEqual(
    isRoot ? ['/var/lib/morch/agent', '/var/lib/morch/agent'] : ['/h/.local/share/morch/agent', '/x/morch/agent'],
  );
});

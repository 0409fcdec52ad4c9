import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chooseAddress, isLoopbackHost } from '../../cli/context';
import { defaultDataDir, demandLoopback } from '../../cli/parts';

const home = mkdtempSync(path.join(tmpdir(), 'morch-context-'));
const config = path.join(home, '.config/morch/config.yaml');
mkdirSync(path.dirname(config), { recursive: true });
afterAll(() => rmSync(home, { recursive: true }));

describe('the address of the scheduler', () => {
  const write = (text: string) => writeFileSync(config, text);
  beforeEach(() => write('address: http://from-file:1\n'));

  test('is the first of flag, variable, file, default', () => {
    const env = { HOME: home, MORCH_ADDRESS: 'http://from-env:1' };
    expect(chooseAddress('http://from-flag:1', env)).toEqual({ url: 'http://from-flag:1', source: '--address' });
    expect(chooseAddress(undefined, env)).toEqual({ url: 'http://from-env:1', source: 'MORCH_ADDRESS' });
    expect(chooseAddress(undefined, { HOME: home })).toEqual({ url: 'http://from-file:1', source: config });
    expect(chooseAddress(undefined, { HOME: '/nowhere' }).url).toBe('http://127.0.0.1:5000');
  });

  test('is looked for below XDG_CONFIG_HOME, if that is absolute', () => {
    expect(chooseAddress(undefined, { HOME: home, XDG_CONFIG_HOME: '/nowhere' }).source).toBe('default');
    expect(chooseAddress(undefined, { HOME: home, XDG_CONFIG_HOME: 'relative' }).source).toBe(config);
  });

  test.each([
    ['127.0.0.1:5000', 'http://127.0.0.1:5000'],
    ['http://host:1/', 'http://host:1'],
    ['https://host/prefix/', 'https://host/prefix'],
    ['[::1]:5000', 'http://[::1]:5000'],
  ])('may be %s', (text, url) => {
    expect(chooseAddress(text, {}).url).toBe(url);
  });

  test.each(['', 'ftp://host', 'http://', 'http://h/?q=1', 'a b'])('may not be "%s"', (text) => {
    expect(() => chooseAddress(text, {})).toThrow('is not the address of a scheduler');
  });

  test.each(['address: [1', 'address: 5', 'just text'])('is not taken from a file that holds "%s"', (text) => {
    write(text);
    expect(() => chooseAddress(undefined, { HOME: home })).toThrow(config);
  });

  test.each(['', '# nothing\n', 'other: 1\n'])('is the default with a file that holds "%s"', (text) => {
    write(text);
    expect(chooseAddress(undefined, { HOME: home }).source).toBe('default');
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
  expect(() => demandLoopback('0.0.0.0')).toThrow('--host 0.0.0.0 is refused');
});

test('data is below /var/lib as root, else below XDG_DATA_HOME', () => {
  const isRoot = process.getuid?.() === 0;
  const [plain, xdg] = [{ HOME: '/h' }, { HOME: '/h', XDG_DATA_HOME: '/x' }].map((env) => defaultDataDir('agent', env));
  expect([plain, xdg]).toEqual(
    isRoot ? ['/var/lib/morch/agent', '/var/lib/morch/agent'] : ['/h/.local/share/morch/agent', '/x/morch/agent'],
  );
});

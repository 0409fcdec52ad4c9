/** What browsers send for pages of other sites is refused; what programs and own pages send is not. */
import { refusalOfBrowser } from '../../access/browser';

const ALLOWED = new Set(['morch.example']);
/** As Node has it, which takes the first of two. */
const codeOfRaw = (url: string, ...raw: [name: string, value: string][]) => {
  const headers = Object.fromEntries([...raw].reverse().map(([name, value]) => [name.toLowerCase(), value]));
  return refusalOfBrowser({ url, headers, rawHeaders: raw.flat() }, ALLOWED)?.code;
};
const codeOf = (headers: Record<string, string>) => codeOfRaw('/', ...Object.entries(headers));

test.each([
  'localhost',
  'LOCALHOST:5000',
  '127.0.0.1:5000',
  '[::1]:5000',
  '[fe80::1]:1',
  '10.1.2.3',
  'morch.example:1',
  'localhost.:5000',
])('Host %s is served', (host) => expect(codeOf({ host })).toBeUndefined());

test.each([
  '',
  'evil.example',
  'evil.example:5000',
  'localhost.evil.example',
  '127.0.0.1.evil.example',
  '127.0.0.1@evil.example',
  'morch.example.evil',
  'x.morch.example',
  '2130706433',
  '0x7f.1',
  '[::1].evil',
  'localhost:5000:1',
  'localhost/',
  'localhost, evil.example',
  ' localhost',
  '__proto__',
])('Host "%s" is not', (host) => expect(codeOf({ host })).toBe('WRONG_HOST'));

const host = '127.0.0.1:5000';
test.each([
  ['a program, which sends neither', {}],
  ['a page of its own', { origin: `http://${host}`, 'sec-fetch-site': 'same-origin' }],
  ['a page of its own, over TLS', { origin: `https://${host}` }],
  ['an address that somebody typed', { 'sec-fetch-site': 'none' }],
])('%s is let through', (_who, headers) => expect(codeOf({ host, ...headers })).toBeUndefined());

test.each([
  ['a page of another site', { origin: 'http://evil.example' }],
  ['a page of another port', { origin: 'http://127.0.0.1:8000' }],
  ['a page of a name for the same machine', { origin: 'http://localhost:5000' }],
  ['a sandboxed page, or a file', { origin: 'null' }],
  ['an extension', { origin: 'chrome-extension://abcdef' }],
  ['no valid origin', { origin: 'x' }],
  ['two origins', { origin: `http://${host} http://evil.example` }],
  ['an image or a form of another site', { 'sec-fetch-site': 'cross-site' }],
  ['a page of a sibling domain', { 'sec-fetch-site': 'same-site' }],
  ['a value that does not exist yet', { 'sec-fetch-site': 'new' }],
])('%s is refused', (_who, headers) => expect(codeOf({ host, ...headers })).toBe('CROSS_SITE'));

test('a default port may be left out', () => {
  expect(codeOf({ host: 'morch.example', origin: 'https://morch.example' })).toBeUndefined();
  expect(codeOf({ host: 'morch.example:443', origin: 'https://morch.example' })).toBeUndefined();
  expect(codeOf({ host: 'morch.example:444', origin: 'https://morch.example' })).toBe('CROSS_SITE');
});

describe('what could be read in two ways', () => {
  const served: [string, string] = ['Host', host];
  const evil: [string, string] = ['host', 'evil.example'];

  test.each([
    ['two hosts', [served, evil]],
    ['two hosts, the other way round', [evil, served]],
    ['the same host twice', [served, served]],
    ['two tokens', [served, ['Authorization', 'Bearer a'], ['AUTHORIZATION', 'Bearer b']]],
  ] as [string, [string, string][]][])('is refused: %s', (_what, raw) => {
    expect(codeOfRaw('/', ...raw)).toBe('INVALID_INPUT');
  });

  test.each(['http://evil.example/nodes', 'http://127.0.0.1:1/', 'http://', 'evil.example:80', 'nodes', 'http://a b/'])(
    'is refused: the target %s with another host',
    (url) => expect(codeOfRaw(url, served)).toBe('INVALID_INPUT'),
  );

  test.each(['/', '//evil.example/', '/http://evil.example/', '*', `http://${host}/nodes`, `HTTP://${host}`])(
    'is not the target %s',
    (url) => expect(codeOfRaw(url, served)).toBeUndefined(),
  );

  test('is not a host that is served nowhere: that is refused as such', () => {
    expect(codeOfRaw('http://evil.example/', evil)).toBe('WRONG_HOST');
  });

  test('is not any other header that comes twice', () => {
    expect(codeOfRaw('/', served, ['Accept', 'a'], ['Accept', 'b'])).toBeUndefined();
  });
});

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chooseTarget, type TargetFlags } from '../../cli/context';
import { defaultDataDir } from '../../cli/dataDir';
import { makeAuthority } from '../../pki/ca';

const home = mkdtempSync(path.join(tmpdir(), 'morch-trust-'));
const config = path.join(home, '.config/morch');
mkdirSync(config, { recursive: true });
afterAll(() => rmSync(home, { recursive: true }));

beforeAll(async () => {
  for (const name of ['flag', 'variable', 'context']) {
    writeFileSync(path.join(config, `${name}.crt`), (await makeAuthority(Date.now())).certificate);
  }
  writeFileSync(
    path.join(config, 'config.yaml'),
    'current: prod\ncontexts:\n  prod:\n    address: https://scheduler.example:5000\n    caFile: context.crt\n',
  );
});

const at = (name: string) => path.join(config, `${name}.crt`);
const sourceOf = (flags: TargetFlags, env: NodeJS.ProcessEnv = {}) =>
  chooseTarget(flags, { HOME: home, XDG_DATA_HOME: path.join(home, 'data'), ...env }).authorities?.source;

test('the authority is that of the flag, else of the variable, else of the context with that address', () => {
  const variable = { MORCH_CACERT: at('variable') };
  expect(sourceOf({ caFile: at('flag') }, variable)).toBe(`--ca-file ${at('flag')}`);
  expect(sourceOf({}, variable)).toBe(`MORCH_CACERT ${at('variable')}`);
  expect(sourceOf({})).toBe(`context prod: ${at('context')}`);
  expect(sourceOf({ address: 'https://scheduler.example:5000' })).toBe(`context prod: ${at('context')}`);
  expect(sourceOf({ address: 'https://elsewhere.example:5000' })).toBeUndefined();
});

test('none is looked for where nothing is encrypted', () => {
  expect(sourceOf({ address: 'http://scheduler.example:5000', caFile: at('flag') })).toBeUndefined();
});

test('on this machine it is that of the scheduler that keeps its data where it does by default', () => {
  // As root that is not below the home directory.
  const directory = path.join(
    defaultDataDir('scheduler', { HOME: home, XDG_DATA_HOME: path.join(home, 'data') }),
    'pki',
  );
  const isOurs = directory.startsWith(home);
  if (isOurs) {
    mkdirSync(directory, { recursive: true });
    writeFileSync(path.join(directory, 'ca.crt'), 'its own');
    expect(sourceOf({ address: 'https://127.0.0.1:5000' })).toBe(path.join(directory, 'ca.crt'));
  }
  expect(sourceOf({ address: 'https://10.0.0.1:5000' })).toBeUndefined();
});

test.each([
  ['missing', 'ENOENT'],
  ['config', 'must hold certificates in PEM'],
])('a file that was named and cannot be used is refused: %s', (name, why) => {
  writeFileSync(at('config'), 'no certificate');
  expect(() => sourceOf({ caFile: name === 'missing' ? '/nonexistent' : at('config') })).toThrow(why);
});

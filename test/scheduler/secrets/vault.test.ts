/** The vault on a real key file. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Vault } from '../../../scheduler/secrets/vault';

let dataDir: string;
let file: string;
beforeEach(async () => {
  dataDir = await mkdtemp(path.join(tmpdir(), 'morch-vault-'));
  file = path.join(dataDir, 'secret.key');
});
afterEach(() => rm(dataDir, { recursive: true }));

test('opens what it has sealed, also after a restart, as what it was sealed', async () => {
  const sealed = (await Vault.open(dataDir)).seal('hunter2 äöü', 'secret db 1');
  const vault = await Vault.open(dataDir);
  expect(vault.open(sealed, 'secret db 1')).toBe('hunter2 äöü');
  expect(vault.open(sealed, 'secret db 2')).toBeNull();
  expect(vault.open(sealed, 'secret dc 1')).toBeNull();
});

test('seals the same twice in two ways, and shows nothing of it', async () => {
  const vault = await Vault.open(dataDir);
  const [one, two] = [vault.seal('hunter2', 'x'), vault.seal('hunter2', 'x')];
  expect(one).not.toBe(two);
  expect(Buffer.from(one, 'base64url').includes('hunter2')).toBe(false);
});

test('does not open what was changed, at whatever bit, or cut', async () => {
  const vault = await Vault.open(dataDir);
  const sealed = Buffer.from(vault.seal('hunter2', 'x'), 'base64url');
  for (let bit = 0; bit < sealed.length * 8; bit += 1) {
    const changed = Buffer.from(sealed);
    changed[bit >> 3]! ^= 1 << (bit & 7);
    expect(vault.open(changed.toString('base64url'), 'x')).toBeNull();
  }
  for (let length = 0; length < sealed.length; length += 1) {
    expect(vault.open(sealed.subarray(0, length).toString('base64url'), 'x')).toBeNull();
  }
});

test('does not open what another key has sealed', async () => {
  const sealed = (await Vault.open(dataDir)).seal('hunter2', 'x');
  await writeFile(file, randomBytes(32));
  expect((await Vault.open(dataDir)).open(sealed, 'x')).toBeNull();
});

test('makes its key once, for its owner alone, and closes one that is open to others', async () => {
  await Vault.open(dataDir);
  const key = await readFile(file);
  expect([key.length, (await stat(file)).mode & 0o777]).toEqual([32, 0o600]);
  expect(await readdir(dataDir)).toEqual(['secret.key']);
  await chmod(file, 0o644);
  await Vault.open(dataDir);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(await readFile(file)).toEqual(key);
});

test.each([0, 31, 33])('refuses a key file of %d bytes, and leaves it as it is', async (length) => {
  await writeFile(file, Buffer.alloc(length, 1));
  await expect(Vault.open(dataDir)).rejects.toMatchObject({
    code: 'INVALID_INPUT',
    message: expect.stringContaining(`it has ${length} bytes and not 32`),
  });
  expect((await stat(file)).size).toBe(length);
});

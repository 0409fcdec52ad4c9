import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadNative } from '../../agent/native/index';
import { PathWork } from '../../agent/pathWork';
import { SpareDirectories } from '../../agent/spareDirectories';
import { fixture } from '../support/fixtures';

const paths = new PathWork(loadNative());
const directory = mkdtempSync(join(tmpdir(), 'morch-spare-'));
afterAll(() => rmSync(directory, { recursive: true }));

const root = join(directory, 'spare');
const [a, b] = [join(directory, 'a'), join(directory, 'b')];
let spare: SpareDirectories;
beforeEach(async () => {
  spare = await SpareDirectories.open(root, paths);
  for (const path of [a, b]) rmSync(path, { recursive: true, force: true });
});

it('gives what is removed out again, as one that is made', async () => {
  expect(await spare.make(a)).toBe(true);
  const { ino } = statSync(a);
  expect(await spare.remove(a)).toBe(true);
  expect(existsSync(a)).toBe(false);
  expect(await spare.make(b)).toBe(true);
  const { ino: again, mode, uid } = statSync(b);
  expect([again, mode & 0o7777, uid]).toEqual([ino, 0o700, process.geteuid!()]);
  expect(readdirSync(root)).toEqual([]);
});

it('takes nothing away that is there, and keeps the spare one for another', async () => {
  await spare.make(a);
  await spare.remove(a);
  mkdirSync(a);
  const { ino } = statSync(a);
  expect(await spare.make(a)).toBe(false);
  expect(statSync(a).ino).toBe(ino);
  writeFileSync(b, '');
  expect(await spare.make(b)).toBe(false);
  rmSync(b);
  const [left] = readdirSync(root);
  const { ino: kept } = statSync(join(root, left!));
  expect(await spare.make(b)).toBe(true);
  expect(statSync(b).ino).toBe(kept);
});

it('says when something is in it, and removes nothing then', async () => {
  await spare.make(a);
  writeFileSync(join(a, 'file'), 'kept');
  expect(await spare.remove(a)).toBe(false);
  expect(readdirSync(a)).toEqual(['file']);
  // One that is not there is as good as removed.
  expect(await spare.remove(b)).toBe(true);
  expect(readdirSync(root)).toEqual([]);
});

const others: [string, (path: string) => void][] = [
  ['that others may look into', (path) => chmodSync(path, 0o755)],
  ['with the sticky bit', (path) => chmodSync(path, 0o1700)],
];
const setAttribute = (path: string) => spawnSync(fixture('set_attribute'), [path], { encoding: 'utf8' });
const refused = setAttribute(directory).stderr.trim();
if (refused === '') others.push(['with an attribute', setAttribute]);
else console.log(`skipped, as the file system has no attributes (${refused}): a directory with one`);
test.each(others)('one %s is removed, not given to anybody else', async (_which, change) => {
  await spare.make(a);
  change(a);
  expect(await spare.remove(a)).toBe(true);
  expect(existsSync(a)).toBe(false);
  expect(readdirSync(root)).toEqual([]);
});

const asRoot = process.geteuid!() === 0 ? it : it.skip;
if (process.geteuid!() !== 0) console.log('skipped, as it takes root: a directory that was given to another user');
asRoot('one that was given to another user is the own one again', async () => {
  await spare.make(a);
  chownSync(a, 4_321, 4_322);
  const { ino } = statSync(a);
  expect(await spare.remove(a)).toBe(true);
  expect(await spare.make(b)).toBe(true);
  const { ino: again, uid, gid } = statSync(b);
  expect([again, uid, gid]).toEqual([ino, process.geteuid!(), process.getegid!()]);
});

it('does without where it cannot move them, and has no more than some hundred', async () => {
  const elsewhere = mkdtempSync('/dev/shm/morch-spare-');
  try {
    const path = join(elsewhere, 'a');
    await spare.make(a);
    await spare.remove(a);
    expect(await spare.make(path)).toBe(true);
    expect(await spare.remove(path)).toBe(true);
    expect(readdirSync(elsewhere)).toEqual([]);
    expect(readdirSync(root)).toHaveLength(1);
  } finally {
    rmSync(elsewhere, { recursive: true });
  }
  const many = Array.from({ length: 300 }, (_, n) => join(directory, `many${n}`));
  await Promise.all(many.map((path) => spare.make(path)));
  await Promise.all(many.map((path) => spare.remove(path)));
  expect(many.filter((path) => existsSync(path))).toEqual([]);
  expect(readdirSync(root).length).toBeLessThanOrEqual(256);
});

it('makes one where the spare one is gone', async () => {
  await spare.make(a);
  await spare.remove(a);
  for (const name of readdirSync(root)) rmSync(join(root, name), { recursive: true });
  expect(await spare.make(a)).toBe(true);
  expect(await spare.make(b)).toBe(true);
});

it('begins with none, whatever an agent before has left', async () => {
  await spare.make(a);
  await spare.remove(a);
  const next = await SpareDirectories.open(root, paths);
  expect(readdirSync(root)).toEqual([]);
  expect(await next.make(a)).toBe(true);
});

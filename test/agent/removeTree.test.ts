/** A work directory is removed by root while its workload may still change it: what it makes of it must not lead elsewhere. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeTree } from '../../agent/removeTree';
import { until } from '../support/until';

const root = mkdtempSync(join(tmpdir(), 'morch-remove-test-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let made = 0;
function newTree(): string {
  const tree = join(root, String(++made));
  mkdirSync(tree);
  return tree;
}

test('removes files, directories, links, and what its maker has closed', async () => {
  const tree = newTree();
  mkdirSync(join(tree, 'a/b/c'), { recursive: true });
  writeFileSync(join(tree, 'a/b/c/file'), 'x');
  writeFileSync(join(tree, 'file'), 'x', { mode: 0 });
  symlinkSync('/nowhere', join(tree, 'dangling'));
  mkdirSync(join(tree, 'closed/inner/file'), { recursive: true });
  chmodSync(join(tree, 'closed/inner'), 0o500);
  chmodSync(join(tree, 'closed'), 0o500);
  await removeTree(tree);
  expect(existsSync(tree)).toBe(false);
});

test('finds nothing to do where nothing is', async () => {
  await expect(removeTree(join(root, 'nothing'))).resolves.toBeUndefined();
});

test('does not follow links, whether below it or in its place', async () => {
  const kept = newTree();
  writeFileSync(join(kept, 'file'), 'x');
  const tree = newTree();
  symlinkSync(kept, join(tree, 'link'));
  mkdirSync(join(tree, 'inner'));
  symlinkSync(kept, join(tree, 'inner/link'));
  await removeTree(tree);
  expect(existsSync(tree)).toBe(false);
  symlinkSync(kept, tree);
  await removeTree(tree);
  expect(existsSync(tree)).toBe(false);
  expect(readdirSync(kept)).toEqual(['file']);
});

test('removes a tree deeper than a path can be long', async () => {
  const tree = newTree();
  // Built from the bottom up: each level is put into a new one.
  let top = join(tree, 'deep');
  mkdirSync(top);
  for (let level = 0; level < 3_000; level += 1) {
    const above = join(tree, `level-${level}`);
    mkdirSync(above);
    renameSync(top, join(above, 'd'));
    top = above;
  }
  expect(top.length + 3_000 * 2).toBeGreaterThan(4_096);
  await removeTree(tree);
  expect(existsSync(tree)).toBe(false);
}, 60_000);

describe('while directories are replaced by links all the time', () => {
  let swapper: ChildProcess | null = null;
  afterEach(() => swapper?.kill('SIGKILL'));

  test('nothing is removed of what they lead to', async () => {
    const kept = newTree();
    const tree = newTree();
    for (let i = 0; i < 200; i += 1) writeFileSync(join(kept, `file-${i}`), 'x');
    // As a workload could: 'a' is now a directory with files of the same names, now a link.
    const script = `
      const fs = require('fs');
      const [tree, kept] = process.argv.slice(1);
      const attempt = (act) => { try { act(); } catch {} };
      for (let i = 0; ; i += 1) {
        attempt(() => process.chdir(tree));
        attempt(() => fs.mkdirSync('a'));
        for (let file = 0; file < 20; file += 1) attempt(() => fs.writeFileSync('a/file-' + file, ''));
        attempt(() => fs.renameSync('a', 'b-' + i));
        attempt(() => fs.symlinkSync(kept, 'a'));
        attempt(() => fs.rmSync('a'));
        attempt(() => fs.renameSync('b-' + i, 'a'));
        if (i === 0) console.log('swaps');
      }`;
    swapper = spawn(process.execPath, ['-e', script, tree, kept], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(swapper.stdout!, 'data');
    // It may lose at times; what counts is that it is led nowhere.
    for (const begin = performance.now(); performance.now() - begin < 3_000; ) {
      await removeTree(tree).catch((error) => {
        if (error.code !== 'ENOTEMPTY') throw error;
      });
      mkdirSync(tree, { recursive: true });
    }
    swapper.kill('SIGKILL');
    await until(() => swapper!.signalCode !== null, { what: 'the swapper has ended' });
    await removeTree(tree);
    expect(readdirSync(kept)).toHaveLength(200);
    expect(existsSync(tree)).toBe(false);
  }, 30_000);
});

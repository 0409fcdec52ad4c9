/** `npm run bench`: the measurements by name, and what is kept of a run. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const ROOT = path.resolve(__dirname, '../..');

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(os.tmpdir(), 'morch-bench-all-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

function bench(...args: string[]) {
  return spawnSync(process.execPath, ['bench/all.cjs', ...args], { cwd: ROOT, encoding: 'utf8' });
}

test('lists the measurements, and for a name that is none as well', () => {
  const list = bench('--list');
  expect(list.status).toBe(0);
  expect(list.stdout).toMatch(/^ {2}spawn +\S/m);
  expect(list.stdout).toMatch(/^ {2}agentRestarts-busy +\S/m);
  const unknown = bench('spwan');
  expect(unknown.status).toBe(4);
  expect(unknown.stderr).toContain('there is no spwan');
  expect(unknown.stderr).toContain(list.stdout.trimEnd());
  expect(bench('--fulll').status).toBe(4);
});

test('runs one by its name with flags of its own, and keeps its figures', () => {
  const save = path.join(directory, 'made');
  const ran = bench('spawn', '--runs', '2', '--count', '3', '--rss-mb', '60', `--save=${save}`);
  expect(ran.stderr).toContain('run 2/2');
  expect(ran.status).toBe(0);
  const kept = JSON.parse(readFileSync(path.join(save, 'spawn.json'), 'utf8'));
  expect(kept).toMatchObject({
    program: 'spawn.cjs',
    command: 'node bench/spawn.cjs --runs 2 --count 3 --rss-mb 60',
    machine: { cores: os.cpus().length, kernel: `Linux ${os.release()}`, node: process.version },
    flags: { runs: 2, count: 3, 'rss-mb': 60 },
    failures: [],
  });
  expect(kept.samples).toBeUndefined();
  expect(kept.rows[0].usEach.values).toHaveLength(2);
  expect(ran.stdout).toContain(kept.report.at(-1));
});

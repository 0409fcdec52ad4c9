import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';

const SCRIPTS = path.resolve(__dirname, '../../scripts');
const shellScripts = fs.readdirSync(SCRIPTS).filter((name) => name.endsWith('.sh'));

test.each(shellScripts)('%s is executable and parses', (name) => {
  const file = path.join(SCRIPTS, name);
  fs.accessSync(file, fs.constants.X_OK);
  const shell = fs.readFileSync(file, 'utf8').startsWith('#!/bin/sh') ? 'sh' : 'bash';
  execFileSync(shell, ['-n', file], { stdio: 'pipe' });
});

/** Starts a sample workload and resolves once it has printed `text`. */
async function startUntil(name: string, args: string[], text: string) {
  const child = spawn(path.join(SCRIPTS, name), args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  let output = '';
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
    output += chunk;
    if (output.includes(text)) break;
  }
  child.stdout.resume();
  expect(output).toContain(text);
  return { child, exit };
}

test('sample-workload.sh reports its progress and ends by itself', () => {
  const output = execFileSync(path.join(SCRIPTS, 'sample-workload.sh'), ['1'], { encoding: 'utf8' });
  expect(output).toMatch(/1 of 1 s/);
  expect(output).toMatch(/done, \d+ rounds/);
});

test('memory-workload.sh holds the memory it was asked for in its own process', async () => {
  const { child, exit } = await startUntil('memory-workload.sh', ['32', '30'], 'holding 32 MiB');
  const status = fs.readFileSync(`/proc/${child.pid}/status`, 'utf8');
  const residentKiB = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]);
  child.kill();
  expect(await exit).toEqual([143, null]);
  expect(residentKiB).toBeGreaterThan(32 * 1024);
  expect(residentKiB).toBeLessThan(64 * 1024);
});

test('sample-workload.sh ends with 143 on SIGTERM', async () => {
  const { child, exit } = await startUntil('sample-workload.sh', ['600'], 'computing');
  child.kill();
  expect(await exit).toEqual([143, null]);
});

test.each([
  ['sample-workload.sh', ['soon']],
  ['memory-workload.sh', ['1', 'x']],
  ['memory-workload.sh', ['-1']],
])('%s %j is a usage error', (name, args) => {
  expect(() => execFileSync(path.join(SCRIPTS, name), args, { stdio: 'pipe' })).toThrow(/usage/);
});

/** What happens to the processes under watch, and to threads, when the process around the addon ends, in whatever way. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { reasonToSkip } from '../support/pidNamespace';
import { until } from '../support/until';
import { hasOnlyItsDescriptors, readProcess } from './workloads';

const FIXTURES = join(__dirname, 'fixtures');
const directory = mkdtempSync(join(tmpdir(), 'morch-native-'));

interface Agent {
  process: ChildProcess;
  output(): string;
  exit: Promise<[number | null, NodeJS.Signals | null]>;
}

const agents: Agent[] = [];
const pids = new Set<number>();

function compile(source: string): string {
  const program = join(directory, source);
  const flags = ['-O1', '-Wall', '-Wextra', '-Werror'];
  execFileSync('cc', [...flags, '-o', program, join(FIXTURES, `${source}.c`)], { stdio: 'inherit' });
  return program;
}

const shim = compile('stand_in_shim');

function startAgent(what: string, ...under: string[]): Agent {
  const [program, ...args] = [...under, process.execPath, join(FIXTURES, 'agent.cjs'), what, shim];
  const child = spawn(program!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout!.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const agent = { process: child, output: () => output, exit: once(child, 'close') as Agent['exit'] };
  agents.push(agent);
  return agent;
}

/** What `sleepAndShim` prints. */
async function printedPids(agent: Agent): Promise<{ sleep: number; shim: number }> {
  const line = await until(() => agent.output().includes('\n') && agent.output().split('\n')[0], {
    what: 'pids are printed',
  });
  return parsePids(line);
}

function parsePids(line: string): { sleep: number; shim: number } {
  const [sleep, shim] = line.split(' ').map(Number);
  pids.add(sleep!).add(shim!);
  return { sleep: sleep!, shim: shim! };
}

const isGone = (pid: number) => () => {
  const found = readProcess(pid);
  return found === null || found.state === 'Z';
};

afterAll(async () => {
  for (const agent of agents) agent.process.kill('SIGKILL');
  await Promise.all(agents.map(({ exit }) => exit));
  for (const pid of pids) if (!isGone(pid)()) process.kill(pid, 'SIGKILL');
  rmSync(directory, { recursive: true });
});

describe('the end of an agent', () => {
  test('by kill -9 leaves shims, and kills what has not cleared its parent-death signal', async () => {
    const agent = startAgent('hold');
    const pid = await printedPids(agent);
    expect(readProcess(pid.sleep)?.parent).toBe(agent.process.pid);
    expect(readProcess(pid.shim)?.parent).toBe(agent.process.pid);
    agent.process.kill('SIGKILL');
    await until(isGone(pid.sleep), { what: 'the sleep is dead' });
    await until(() => readProcess(pid.shim)?.parent !== agent.process.pid, { what: 'the shim has a new parent' });
    expect(isGone(pid.shim)()).toBe(false);
  });

  test.each(['exit', 'end'])('by %s with live shims does not hang, and leaves them', async (what) => {
    const agent = startAgent(what);
    expect(await agent.exit).toEqual([0, null]);
    const pid = await printedPids(agent);
    await until(isGone(pid.sleep), { what: 'the sleep is dead' });
    expect(isGone(pid.shim)()).toBe(false);
  });

  test('with starts in flight does not hang', async () => {
    const agent = startAgent('quit-in-flight');
    expect(await agent.exit).toEqual([0, null]);
  });

  test.each(['wait', 'watch'])('waits for a live process while a listener is set (%s)', async (what) => {
    const agent = startAgent(what);
    expect(await agent.exit).toEqual([0, null]);
    expect(agent.output()).toBe(what === 'wait' ? 'code 0\n' : 'code -1 true\n');
  });
});

describe('the addon in worker threads', () => {
  test('works in each; the end of one leaves its processes, which are still reaped', async () => {
    const agent = startAgent('workers');
    const lines = await until(
      () => agent.output().endsWith('done\n') && agent.output().trim().split('\n').slice(0, -1),
      {
        what: 'all workers are terminated',
        timeoutMs: 20_000,
      },
    );
    expect(lines).toHaveLength(6);
    for (const pid of lines.map(parsePids)) {
      for (const each of [pid.sleep, pid.shim]) {
        expect(readProcess(each)).toMatchObject({ parent: agent.process.pid });
        process.kill(each, 'SIGKILL');
      }
      await until(() => readProcess(pid.sleep) === null && readProcess(pid.shim) === null, {
        what: 'both are reaped',
        timeoutMs: 1_000,
      });
    }
  });
});

describe('a start', () => {
  test('works without clone3 and close_range', async () => {
    const agent = startAgent('descriptors', compile('without_clone3'));
    const printed = await until(() => agent.output().trim(), { what: 'the start was made' });
    const [hasStartTicks, pid] = printed.split(' ');
    pids.add(Number(pid));
    expect(hasStartTicks).toBe('true');
    await hasOnlyItsDescriptors(Number(pid));
    agent.process.kill('SIGKILL');
    await until(isGone(Number(pid)), { what: 'it dies with the agent' });
  });

  test('needs one descriptor of the agent, and fails cleanly without', async () => {
    const agent = startAgent('exhausted', 'prlimit', '--nofile=64:64');
    expect(await agent.exit).toEqual([0, null]);
    expect(agent.output()).toMatch(/^clone3? 24\ncode 0\n$/);
  });
});

describe('a pid that is in use again', () => {
  const skipped = reasonToSkip();
  if (skipped !== null) console.log(`skipped: ${skipped}`);
  (skipped === null ? test : test.skip)('names no process that was known under it before', async () => {
    const agent = startAgent('recycled', 'unshare', '--pid', '--fork', '--mount-proc', '--kill-child');
    expect(await agent.exit).toEqual([0, null]);
    expect(JSON.parse(agent.output())).toEqual({
      oldEnd: [-1, 0],
      answers: [false, false, null],
      freshEnd: [-1, 15], // by the signal meant for it, not the 9 meant for the other
    });
  });
});

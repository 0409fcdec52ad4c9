/** What happens to workloads and threads when the process around the addon ends, in whatever way. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

import { until } from '../support/until';
import { readProcess } from './workloads';

const FIXTURE = join(__dirname, 'fixtures/agent.cjs');

interface Agent {
  process: ChildProcess;
  output(): string;
  exit: Promise<[number | null, NodeJS.Signals | null]>;
}

const agents: Agent[] = [];

function startAgent(what: string): Agent {
  const child = spawn(process.execPath, [FIXTURE, what], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout!.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const agent = { process: child, output: () => output, exit: once(child, 'close') as Agent['exit'] };
  agents.push(agent);
  return agent;
}

async function firstPid(agent: Agent): Promise<number> {
  return until(() => agent.output().includes('\n') && Number(agent.output().split('\n')[0]), {
    what: 'a pid is printed',
  });
}

const isGone = (pid: number) => () => {
  const found = readProcess(pid);
  return found === null || found.state === 'Z';
};

afterAll(() => {
  for (const agent of agents) agent.process.kill('SIGKILL');
});

describe('the end of an agent', () => {
  test('by kill -9 kills its workloads', async () => {
    const agent = startAgent('hold');
    const pid = await firstPid(agent);
    expect(readProcess(pid)?.parent).toBe(agent.process.pid);
    agent.process.kill('SIGKILL');
    await until(isGone(pid), { what: 'the workload is dead' });
  });

  test.each(['exit', 'end'])('by %s with a live workload does not hang and leaves nothing', async (what) => {
    const agent = startAgent(what);
    expect(await agent.exit).toEqual([0, null]);
    await until(isGone(Number(agent.output().trim())), { what: 'the workload is dead' });
  });

  test('with starts in flight does not hang', async () => {
    const agent = startAgent('quit-in-flight');
    expect(await agent.exit).toEqual([0, null]);
  });

  test('waits for a live child while a listener is set', async () => {
    const agent = startAgent('wait');
    expect(await agent.exit).toEqual([0, null]);
    expect(agent.output()).toBe('code 0\n');
  });
});

describe('the addon in worker threads', () => {
  test('works in each, and the end of one kills its workloads and no others', async () => {
    const agent = startAgent('workers');
    expect(await agent.exit).toEqual([0, null]);
    const lines = agent.output().trim().split('\n');
    expect(lines.pop()).toBe('done');
    for (const pid of lines.flatMap((line) => line.split(' ')).map(Number)) {
      await until(isGone(pid), { what: `workload ${pid} is dead` });
    }
  });
});

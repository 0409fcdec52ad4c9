/** Failures on purpose in a real cluster, asked for and measured by the command line. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { DrillResult } from '../../cli/drill/result';
import type { DrillPreview } from '../../contract/drill';
import type { MorchEvent } from '../../contract/events';
import type { RecoveryMetrics } from '../../contract/health';
import type { NodeDetail } from '../../contract/node';
import { MAIN, morch, startMorch } from '../cli/morch';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
/** Verdicts come soon, unless they are not to come. */
async function begin(profile: 'fast' | 'default' = 'fast'): Promise<void> {
  cluster = await Cluster.start(3, {
    schedulerArgs: profile === 'fast' ? { profile, health: { leaseMs: 2_000 } } : {},
    agentArgs: { onExit: 'keep' },
  });
}
afterEach(() => cluster.close(), 60_000);

const drill = (...args: string[]) => morch(['drill', ...args], { env: cluster.env });
const SERVICE = { id: 'web', kind: 'service', command: ['sleep', '1000'], replicas: 6, stop: { graceMs: 200 } };
const times = (at: readonly (string | null)[]) => at.map((time) => Date.parse(time ?? ''));
const rising = (values: readonly number[]) => [...values].sort((a, b) => a - b);
const drillEvents = async (): Promise<MorchEvent[]> => {
  const lines = startMorch(['events', '--since', '0', '-o', 'json'], { env: cluster.env });
  await until(() => lines.output.stdout.includes('scheduler.started'), { what: 'events are there' });
  lines.child.kill('SIGINT');
  const { stdout } = await lines.ended;
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as MorchEvent)
    .filter(({ type }) => type === 'node.drill');
};

test('a cut is seen, what may move runs elsewhere, the node comes back and its old copies go: all of it measured', async () => {
  await begin();
  await cluster.submit(SERVICE);
  await cluster.submit({ ...SERVICE, id: 'once', replicas: 3, onDisconnect: 'stop' });
  await cluster.submit({ ...SERVICE, id: 'home', replicas: 3, onDisconnect: 'keep' });
  for (const [id, replicas] of [
    ['web', 6],
    ['once', 3],
    ['home', 3],
  ] as const)
    await cluster.untilRunning(id, replicas);
  const { body: preview } = await cluster.request<DrillPreview>('GET', '/nodes/n2/drill');
  expect(preview.instances.map(({ fate }) => fate).sort()).toEqual(['moves', 'moves', 'moves', 'waits']);

  const { exitCode, stdout, stderr } = await drill('n2', '--kind', 'cut', '--for', '6s', '-y', '-o', 'json');
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
  const result = JSON.parse(stdout) as DrillResult;
  expect(result).toMatchObject({ node: 'n2', kind: 'cut', durationMs: 6_000, outcome: 'recovered', met: true });
  const { injectedAt, suspectAt, verdictAt, recoveredAt, returnedAt, staleGoneAt } = result.timeline;
  const steps = times([injectedAt, suspectAt, verdictAt, recoveredAt, returnedAt, staleGoneAt]);
  expect(steps).toEqual(rising(steps));
  expect(result.detectionMs).toBe(Date.parse(verdictAt!) - Date.parse(injectedAt));
  expect(Date.parse(returnedAt!) - Date.parse(injectedAt)).toBeGreaterThanOrEqual(6_000);

  const outcomes = result.instances.map(({ workload, outcome }) => `${workload} ${outcome}`).sort();
  expect(outcomes).toEqual(['home running', 'once running', 'web running', 'web running']);
  for (const instance of result.instances) {
    if (instance.onDisconnect === 'keep') {
      expect(instance).toMatchObject({ toNode: 'n2', placedAt: null, startedAt: null });
      expect(instance.runningAt! >= returnedAt!).toBe(true);
      continue;
    }
    expect(['n1', 'n3']).toContain(instance.toNode);
    const story = times([verdictAt, instance.placedAt, instance.startedAt, instance.runningAt]);
    expect(story).toEqual(rising(story));
    // A fenced one waits for its lease first.
    const placedMs = Date.parse(instance.placedAt!) - Date.parse(verdictAt!);
    if (instance.onDisconnect === 'stop') expect(placedMs).toBeGreaterThan(500);
  }
  for (const said of [
    'cuts the agent of n2 off for 6s',
    'home',
    'waits for n2',
    'n2 is suspect',
    'n2 is lost',
    'n2 is heard again',
    'no stale copy left',
  ]) {
    expect(stderr).toContain(said);
  }
  const { body: metrics } = await cluster.request<RecoveryMetrics>('GET', '/recovery/metrics');
  expect(metrics).toMatchObject({ verdicts: 1, recoveries: { started: 3, succeeded: 3, inFlight: 0 } });
  for (const { timeline } of metrics.recent) {
    const story = times([
      timeline.suspectAt,
      timeline.verdictAt,
      timeline.placedAt,
      timeline.startedAt,
      timeline.runningAt,
    ]);
    expect(story).toEqual(rising(story));
  }
  expect(await drillEvents()).toMatchObject([{ node: 'n2', data: { kind: 'cut', durationMs: 6_000 } }]);
  await cluster.untilRunning('home', 3);
  expect(await cluster.workloadPids()).toHaveLength(12);
}, 90_000);

test('an objective that is missed is exit code 1, and the table says which', async () => {
  await begin();
  await cluster.submit(SERVICE);
  await cluster.untilRunning('web', 6);
  const { exitCode, stdout } = await drill('n1', '--kind', 'cut', '--for', '3s', '-y', '--detect-within', '10ms');
  expect(exitCode).toBe(1);
  expect(stdout).toMatch(/^verdict .* 10ms +missed$/m);
  expect(stdout).toMatch(/^all running again .* 15s +met$/m);
  expect(stdout).toMatch(/^web\.\d +replace +running +n[23] +\+/m);
}, 60_000);

test('a killed agent that is back in time costs nothing', async () => {
  await begin('default');
  await cluster.submit(SERVICE);
  const before = await cluster.untilRunning('web', 6);
  const running = startMorch(['drill', 'n3', '-y', '-o', 'json'], { env: cluster.env });
  const { child } = cluster.agents.get('n3')!;
  await until(() => child.signalCode, { what: 'its agent is killed', timeoutMs: 15_000 });
  expect(child.signalCode).toBe('SIGKILL');
  await cluster.startAgent('n3');
  const { exitCode, stdout } = await running.ended;
  expect(exitCode).toBe(0);
  const result = JSON.parse(stdout) as DrillResult;
  expect(result).toMatchObject({ kind: 'kill', outcome: 'backInTime', met: true, detectionMs: null, recoveryMs: null });
  expect(result.timeline.suspectAt).not.toBeNull();
  expect(result.instances.map(({ outcome }) => outcome)).toEqual(['untouched', 'untouched']);
  const pids = (w: typeof before) => w.instances.map(({ pid }) => pid);
  expect(pids(await cluster.workload('web'))).toEqual(pids(before));
}, 60_000);

test('is refused without a yes, and where nothing else could take what runs there', async () => {
  await begin();
  await cluster.submit(SERVICE);
  await cluster.untilRunning('web', 6);
  const unasked = await drill('n1');
  expect(unasked).toMatchObject({ exitCode: 4, stdout: '' });
  expect(unasked.stderr).toContain('add -y');
  for (const node of ['n2', 'n3']) await cluster.request('POST', `/nodes/${node}/cordon`);
  const hopeless = await drill('n1', '-y');
  expect(hopeless).toMatchObject({ exitCode: 4, stdout: '' });
  expect(hopeless.stderr).toContain('No other node could take 2 of the 2 instances on n1');
  expect(hopeless.stderr).toContain('is cordoned');
  expect(await drill('n1', '-y', '--for', '5s')).toEqual({
    ...{ exitCode: 4, signal: null, stdout: '' },
    stderr: 'morch: --for: a kill lasts until the agent is started again\n',
  });
  expect(await drill('n9', '-y')).toMatchObject({ exitCode: 3, stdout: '' });
  expect(await answerOnTerminal('no', 'drill', 'n1', '--force')).toMatchObject({
    exitCode: 1,
    text: expect.stringContaining('nothing was done'),
  });
  expect(await drillEvents()).toEqual([]);
  expect((await cluster.request<NodeDetail>('GET', '/nodes/n1')).body.status).toBe('healthy');
}, 60_000);

test('never two at a time; Ctrl-C ends the watching, not the drill', async () => {
  await begin();
  const ask = (node: string) => cluster.request('POST', `/nodes/${node}/drill`, { kind: 'cut', durationMs: 4_000 });
  const watching = startMorch(['drill', 'n1', '--kind', 'cut', '--for', '4s', '-y'], { env: cluster.env });
  await until(() => watching.output.stderr.includes('n1 fails'), { what: 'it has begun', timeoutMs: 15_000 });
  const other = await ask('n2');
  expect(other).toMatchObject({ status: 409, body: { code: 'NOT_POSSIBLE' } });
  expect(other.body.detail).toContain('n1');
  await cluster.untilNode('n1', 'lost');
  expect((await ask('n2')).body.detail).toContain('n1');
  expect(await ask('n1')).toMatchObject({ status: 409, body: { detail: expect.stringContaining('n1 is lost') } });
  watching.child.kill('SIGINT');
  const { exitCode, stdout, stderr } = await watching.ended;
  expect({ exitCode, stdout }).toEqual({ exitCode: 130, stdout: '' });
  expect(stderr).toContain('no longer watching');
  await cluster.untilNode('n1', 'healthy');
  expect((await ask('n2')).status).toBe(202);
  await cluster.untilNode('n2', 'lost');
  await cluster.untilNode('n2', 'healthy');
}, 60_000);

test('a scheduler that is started anew in the middle is told of, and so is what ended meanwhile', async () => {
  await begin();
  await cluster.submit({ ...SERVICE, onDisconnect: 'stop' });
  await cluster.untilRunning('web', 6);
  const watching = startMorch(['drill', 'n1', '--kind', 'cut', '--for', '5s', '-y', '-o', 'json'], {
    env: cluster.env,
  });
  await until(() => watching.output.stderr.includes('n1 fails'), { what: 'it has begun', timeoutMs: 15_000 });
  await end(cluster.scheduler.child, 'SIGKILL');
  // The lease of 2 s runs out; the rest of the cut is no time for a verdict.
  await until(async () => (await cluster.workloadPids()).length === 0, { what: 'all are fenced', timeoutMs: 15_000 });
  await cluster.startScheduler();
  const { exitCode, stdout, stderr } = await watching.ended;
  const result = JSON.parse(stdout) as DrillResult;
  expect({ exitCode, stderr }).toMatchObject({ stderr: expect.stringContaining('the scheduler was started anew') });
  expect(result.timeline.schedulerStartedAt).not.toBeNull();
  expect(result.instances.map(({ outcome }) => outcome)).toEqual(['running', 'running']);
  if (result.timeline.verdictAt === null) expect({ exitCode, met: result.met }).toEqual({ exitCode: 1, met: false });
  await cluster.untilRunning('web', 6);
}, 90_000);

test('a cut that ends early, its agent having been started anew, costs nothing', async () => {
  await begin('default');
  await cluster.submit(SERVICE);
  await cluster.untilRunning('web', 6);
  const watching = startMorch(['drill', 'n2', '--kind', 'cut', '--for', '60s', '-y', '-o', 'json'], {
    env: cluster.env,
  });
  await until(() => watching.output.stderr.includes('n2 fails'), { what: 'it has begun', timeoutMs: 15_000 });
  await end(cluster.agents.get('n2')!.child, 'SIGKILL');
  await cluster.startAgent('n2', { onExit: 'keep' });
  const { exitCode, stdout } = await watching.ended;
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ outcome: 'backInTime', met: true });
}, 60_000);

test('a cut too short to be seen measures nothing, and keeps the next one waiting for its own time only', async () => {
  await begin('default');
  const { exitCode, stdout } = await drill('n1', '--kind', 'cut', '--for', '300ms', '-y');
  expect(exitCode).toBe(1);
  expect(stdout).toContain('nothing was measured');
  const again = () => cluster.request('POST', '/nodes/n1/drill', { kind: 'cut', durationMs: 5_500 });
  await until(async () => (await again()).status === 202, { what: 'n1 is heard, and drilled again', timeoutMs: 4_000 });
  const refused = await drill('n1', '-y');
  expect(refused).toMatchObject({ exitCode: 1, stdout: '' });
  expect(refused.stderr).toContain('Node n1 is');
  expect(refused.stderr).not.toContain('This kills the agent');
  await cluster.untilNode('n1', 'lost');
  expect((await drill('n1', '-y')).stderr).toBe('morch: Node n1 is lost; only a healthy node can be drilled.\n');
  await cluster.untilNode('n1', 'healthy');
}, 60_000);

/** Runs the command on a terminal, and answers what it asks. */
async function answerOnTerminal(answer: string, ...args: string[]): Promise<{ exitCode: number | null; text: string }> {
  const command = [process.execPath, MAIN, ...args].join(' ');
  const terminal = spawn('script', ['-qec', command, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...cluster.env },
  });
  let text = '';
  terminal.stdout.on('data', (data) => {
    text += String(data);
  });
  await until(() => text.includes('[y/N]'), { what: 'it asks', timeoutMs: 15_000 });
  terminal.stdin.write(`${answer}\n`);
  const [exitCode] = await once(terminal, 'close');
  return { exitCode, text };
}

/** Output from a workload's pipes to the terminal of who asks for it: real shims, agents, scheduler and command. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { morch, type Result, startMorch } from '../cli/morch';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(2);
}, 60_000);
afterAll(() => cluster.close(), 60_000);

const shell = (script: string) => ['bash', '-c', script];
const logs = (...args: string[]): Promise<Result> => morch(['logs', ...args], { env: cluster.env });
/** Once its agent answers: right after a kill its node still counts as healthy. */
async function logsOnceThere(id: string): Promise<Result> {
  return until(
    async () => {
      const read = await logs(id);
      return read.stderr.includes('no answer') ? null : read;
    },
    { what: `the logs of ${id} are read`, timeoutMs: 20_000 },
  );
}
const linesOf = (text: string) => text.split('\n').slice(0, -1);

async function killAgent(name: string): Promise<void> {
  await end(cluster.agents.get(name)!.child, 'SIGKILL');
}

test('everything written comes out once, across rotations and while the agent is killed and comes back', async () => {
  const count = 60_000;
  const script = `for ((i = 0; i < ${count}; i++)); do echo "out $i"; ((i % 10)) || echo "err $i" >&2; ((i % 500)) || sleep 0.03; done`;
  // On a busy machine an agent may need longer than a verdict takes.
  const onDisconnect = 'keep';
  await cluster.submit({ id: 'much', command: shell(script), onDisconnect, logs: { maxBytes: 50_000, files: 100 } });
  await cluster.untilRunning('much', 1);
  const node = (await cluster.workload('much')).instances[0]!.node!;
  const following = startMorch(['logs', 'much', '-f'], { env: cluster.env });
  for (const least of [2_000, 10_000]) {
    await until(() => linesOf(following.output.stdout).length > least, {
      what: 'some lines have come',
      timeoutMs: 20_000,
    });
    await killAgent(node);
    await cluster.startAgent(node);
  }
  const { exitCode, stdout } = await following.ended;
  expect(exitCode).toBe(0);
  const written = (stream: string, step: number) =>
    Array.from({ length: count / step }, (_, i) => `${stream} ${i * step}`).join('\n');
  const of = (text: string, stream: string) =>
    linesOf(text)
      .filter((line) => line.startsWith(stream))
      .join('\n');
  const whole = await logs('much');
  for (const text of [stdout, whole.stdout]) {
    expect(of(text, 'out') === written('out', 1)).toBe(true);
    expect(of(text, 'err') === written('err', 10)).toBe(true);
  }
  expect((await logs('much', '--stream', 'stderr', '--tail', '2')).stdout).toBe(
    `err ${count - 20}\nerr ${count - 10}\n`,
  );
  const one = (await cluster.workload('much')).instances[0]!;
  expect([one.generation, one.run]).toEqual([1, 1]);
  const directory = join(cluster.agents.get(node)!.dataDir, 'logs', `${(await cluster.workload('much')).uid}.0`);
  expect(readdirSync(directory).filter((name) => /^stdout\.\d+\.log$/.test(name)).length).toBeGreaterThan(10);
}, 90_000);

test('several instances are told apart, and a time is the same for all', async () => {
  const script = 'echo first; sleep 2; echo second; echo problem >&2; sleep 600';
  const { id } = await cluster.submit({ id: 'pair', kind: 'service', command: shell(script), replicas: 2 });
  await cluster.untilRunning(id, 2);
  await until(async () => (await logs(id, '--stream', 'stderr')).stdout.length >= 30, { what: 'both are through' });
  expect((await logs(id)).stdout).toBe(
    [0, 1].flatMap((i) => ['first', 'second', 'problem'].map((word) => `pair.${i} ${word}\n`)).join(''),
  );
  expect((await logs('pair.1', '--tail', '1')).stdout).toBe('problem\n');
  expect((await logs(id, '--since', '1h', '--tail', '1')).stdout).toBe('pair.1 problem\n');
  const { events } = (
    await cluster.request<{ events: { type: string; at: string }[] }>('GET', `/workloads/${id}/history`)
  ).body;
  const since = new Date(Math.max(...events.map(({ at }) => Date.parse(at))) + 1_000).toISOString();
  const late = linesOf((await logs(id, '--since', since, '--stream', 'stdout')).stdout);
  expect(late).toEqual(['pair.0 second', 'pair.1 second']);
  await cluster.request('DELETE', `/workloads/${id}`);
  await cluster.untilStatus(id, 'stopped');
}, 60_000);

test('a restarted instance goes on in the same files, and its follower with it', async () => {
  const { id } = await cluster.submit({
    id: 'again',
    kind: 'service',
    command: shell('echo "$MORCH_GENERATION"; sleep 600'),
  });
  await cluster.untilRunning(id, 1);
  const following = startMorch(['logs', id, '-f', '--tail', '5'], { env: cluster.env });
  await until(() => following.output.stdout === '1\n', { what: 'the first has come' });
  await cluster.request('POST', `/workloads/${id}/restart`);
  await until(() => following.output.stdout === '1\n2\n', { what: 'the second has come', timeoutMs: 20_000 });
  await cluster.request('DELETE', `/workloads/${id}`);
  expect(await following.ended).toMatchObject({ exitCode: 0, stdout: '1\n2\n' });
  expect((await logs(id)).stdout).toBe('1\n2\n');
}, 60_000);

test('a node holds its cap by giving up the oldest output', async () => {
  const script = 'for ((i = 0; i < 20000; i++)); do echo "line $i"; done';
  // A node of its own: elsewhere the newest files of others, which stay, would take up part of the cap.
  const node = 'capped';
  const labels = { logs: 'capped' };
  await cluster.startAgent(node, { labels });
  await cluster.untilNode(node, 'healthy');
  const placement = { constraints: [{ label: 'logs', op: 'in', values: ['capped'] }] };
  const logLimits = { maxBytes: 10_000, files: 50 };
  const { id } = await cluster.submit({ id: 'capped', command: shell(script), logs: logLimits, placement });
  await cluster.untilStatus(id, 'completed');
  const before = linesOf((await logs(id)).stdout);
  expect(before).toHaveLength(20_000);
  await killAgent(node);
  const { dataDir } = await cluster.startAgent(node, { labels, maxLogBytes: 60_000 });
  const sizeOf = () =>
    readdirSync(join(dataDir, 'logs'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .reduce(
        (sum, entry) => sum + (statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0),
        0,
      );
  await until(() => sizeOf() <= 60_000, { what: 'the cap holds' });
  const after = linesOf((await logsOnceThere(id)).stdout);
  expect(after.length).toBeGreaterThan(1_000);
  expect(after).toEqual(before.slice(-after.length));
}, 60_000);

describe('a full disk', () => {
  const mount = (...args: string[]) => spawnSync('mount', args, { encoding: 'utf8' });
  let small: string;
  let refusal: string;

  beforeAll(async () => {
    small = join(cluster.directory, 'small', 'logs');
    mkdirSync(small, { recursive: true });
    const { status, stderr, error } = mount('-t', 'tmpfs', '-o', 'size=256k', 'morch-test', small);
    refusal = status === 0 ? '' : `a small tmpfs cannot be mounted here: ${stderr || error}`;
    if (refusal === '') await cluster.startAgent('small', { labels: { disk: 'small' } });
  }, 30_000);
  afterAll(async () => {
    const part = cluster.agents.get('small');
    if (part !== undefined) await end(part.child, 'SIGTERM');
    spawnSync('umount', ['-l', small]);
    rmSync(small, { recursive: true, force: true });
  });

  test('neither blocks nor kills a workload; what it cost is told', async () => {
    if (refusal !== '') {
      console.warn(`skipped: ${refusal}`);
      return;
    }
    await cluster.untilNode('small', 'healthy');
    const written = 20_000;
    const script = `for ((i = 0; i < ${written}; i++)); do printf '%079d\\n' "$i"; done; exit 7`;
    const placement = { constraints: [{ label: 'disk', op: 'in', values: ['small'] }] };
    const { id } = await cluster.submit({
      id: 'full',
      command: shell(script),
      placement,
      restart: { policy: 'never' },
    });
    const failed = await cluster.untilStatus(id, 'failed');
    expect(failed.instances[0]!.exit).toMatchObject({ code: 7 });
    const { stdout, stderr } = await logs(id);
    const dropped = Number(/morch: (\d+) bytes of output were dropped/.exec(stderr)?.[1]);
    expect(dropped).toBeGreaterThan(0);
    expect(dropped + stdout.length).toBe(written * 80);
    // One that has come and gone while there was no room, also once its agent is told to forget it.
    await cluster.submit({
      id: 'late',
      command: shell(`for ((i = 0; i < 500; i++)); do printf '%079d\\n' "$i"; done; exit 7`),
      placement,
      restart: { policy: 'on-failure', attempts: 2, backoffMs: 10 },
    });
    await cluster.untilStatus('late', 'failed');
    const lost = async () => {
      const told = await logsOnceThere('late');
      return Number(/morch: (\d+) bytes of output were dropped/.exec(told.stderr)?.[1] ?? 0) + told.stdout.length;
    };
    expect(await lost()).toBe(2 * 500 * 80);
    const agent = cluster.agents.get('small')!;
    await end(agent.child, 'SIGKILL');
    await cluster.startAgent('small', { labels: { disk: 'small' } });
    expect(await lost()).toBe(2 * 500 * 80);
  }, 60_000);
});

/** What is left of an instance when its node is gone with all that was on it. */
import { rm } from 'node:fs/promises';
import type { BlackBoxRecord } from '../../contract/blackBox';
import { morch } from '../cli/morch';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start(2, { schedulerArgs: { profile: 'fast' } });
}, 60_000);
afterEach(() => cluster.close(), 60_000);

const records = async (query = '') =>
  (
    await cluster.request<{ records: BlackBoxRecord[]; nextCursor: string | null }>(
      'GET',
      `/workloads/web/blackbox${query}`,
    )
  ).body;

/** Writes 30 lines, complains once, and is silent then. */
const SERVICE = {
  id: 'web',
  kind: 'service',
  command: ['sh', '-c', 'for n in $(seq 30); do echo line $n; done; echo oops >&2; exec sleep 1000'],
};
const LAST_20 = Array.from({ length: 20 }, (_, i) => `line ${i + 11}\n`).join('');

/** Its machine burns down: agent, shims, programs, data. */
async function destroy(node: string): Promise<void> {
  await cluster.killNode(node);
  await rm(cluster.agents.get(node)!.dataDir, { recursive: true });
}

/** Long enough for its agent to have looked at its output and told of it, twice over, and for measurements. */
async function untilTold(): Promise<void> {
  const usage = async () => (await cluster.workload('web')).instances[0]?.usage?.memoryBytes;
  await until(usage, { what: 'its usage is measured', timeoutMs: 15_000 });
  const beganMs = performance.now();
  await until(() => performance.now() - beganMs > 3_000, { what: 'its output has been looked at' });
}

test('the last lines, the last usage and the pid outlive the node, and the scheduler', async () => {
  await cluster.submit(SERVICE);
  const { instances } = await cluster.untilRunning('web', 1);
  const { node, pid, startedAt } = instances[0]!;
  await untilTold();
  expect(await records()).toEqual({ records: [], nextCursor: null });

  await destroy(node!);
  await cluster.untilNode(node!, 'lost');
  const moved = await cluster.untilWorkload('web', 'runs elsewhere', (w) => w.instances[0]?.generation === 2);
  expect((await cluster.request('DELETE', `/nodes/${node}?force=true`)).status).toBe(204);
  await end(cluster.scheduler.child, 'SIGTERM');
  await cluster.startScheduler();

  const { records: found, nextCursor } = await records();
  expect(found).toHaveLength(1);
  expect(nextCursor).toBeNull();
  const record = found[0]!;
  expect(record).toMatchObject({
    instance: 'web.0',
    generation: 1,
    run: 1,
    node,
    pid,
    startedAt,
    exit: null,
    attempts: 1,
  });
  expect(record.reason).toContain(`its node ${node} is lost: connection refused`);
  expect(record.lastLines).toEqual({ stdout: LAST_20, stderr: 'oops\n' });
  expect(record.usage.length).toBeGreaterThan(0);
  expect(record.usage.at(-1)!.memoryBytes).toBeGreaterThan(0);
  for (const { at } of record.usage) expect(at <= record.lostAt).toBe(true);
  expect(record.reportedAt! <= record.lostAt).toBe(true);
  expect(moved.instances[0]!.node).not.toBe(node);

  const { env } = cluster;
  const shown = await morch(['blackbox', 'web'], { env });
  expect(shown.exitCode).toBe(0);
  expect(shown.stdout).toContain(`web.0 generation 1 on ${node}`);
  expect(shown.stdout).toContain('oops');
  expect(JSON.parse((await morch(['blackbox', 'web.0', '-o', 'json'], { env })).stdout)).toEqual(found);
  expect(await morch(['blackbox', 'web', '--instance', 'web.7'], { env })).toMatchObject({ exitCode: 3, stdout: '' });
}, 90_000);

test('a node that is forgotten while it is well leaves records too, and a purge takes them', async () => {
  await cluster.submit(SERVICE);
  const { instances } = await cluster.untilRunning('web', 1);
  const { node, pid } = instances[0]!;
  await untilTold();
  await cluster.request('DELETE', `/nodes/${node}?force=true`);
  const { records: found } = await records('?instance=web.0');
  expect(found).toMatchObject([{ instance: 'web.0', generation: 1, node, pid, reason: 'its node was forgotten' }]);
  expect(found[0]!.lastLines).toEqual({ stdout: LAST_20, stderr: 'oops\n' });
  await cluster.request('DELETE', '/workloads/web?purge=true');
  await until(async () => (await cluster.request('GET', '/workloads/web')).status === 404, {
    what: 'it is purged',
    timeoutMs: 20_000,
  });
  await cluster.submit(SERVICE);
  expect(await records()).toEqual({ records: [], nextCursor: null });
  expect((await cluster.request('GET', '/workloads/web/blackbox?instance=web.9')).status).toBe(404);
}, 90_000);

/** What Prometheus is told, of real parts: well-formed by its own tool, and true. */
import { spawnSync } from 'node:child_process';
import { Cluster } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(2);
}, 60_000);
afterAll(() => cluster.close(), 60_000);

async function tell(route: string): Promise<string> {
  const answer = await cluster.fetch(route);
  expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  expect(answer.status).toBe(200);
  return answer.text();
}

/** By name and labels as they are written. */
const valuesIn = (text: string): Record<string, number> =>
  Object.fromEntries(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );

const promtool = spawnSync('promtool', ['--version']).error === undefined;
if (!promtool)
  process.stderr.write('metrics.test.ts: promtool (Debian: prometheus) is not there; its check is skipped\n');

(promtool ? test : test.skip).each(['/metrics', '/nodes/n1/metrics'])('%s is clean by promtool', async (route) => {
  await cluster.submit({ id: 'seen', command: ['sleep', '1000'], replicas: 2 });
  await cluster.untilRunning('seen', 2);
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
    input: await tell(route),
    encoding: 'utf8',
  });
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' });
  await cluster.request('DELETE', '/workloads/seen?purge=true');
  await until(async () => (await cluster.request('GET', '/workloads/seen')).status === 404, { what: 'it is gone' });
});

test('are true: of nodes, instances, requests, refusals, the store, a lost node and what became of its work', async () => {
  const before = valuesIn(await tell('/metrics'));
  expect(before['morch_nodes{status="healthy"}']).toBe(2);
  await cluster.submit({
    id: 'web',
    kind: 'service',
    command: ['sleep', '1000'],
    replicas: 4,
    resources: { cpuMillis: 500, memoryBytes: 2 ** 20 },
  });
  await cluster.untilRunning('web', 4);
  for (let i = 0; i < 3; ++i) await cluster.ask('/nodes');
  const running = valuesIn(await tell('/metrics'));
  expect(running).toMatchObject({
    'morch_instances{status="running"}': 4,
    'morch_workloads{status="running"}': 1,
    morch_instances_unplaced: 0,
    morch_capacity_cpu_cores: 8,
    morch_reserved_cpu_cores: 2,
    morch_reserved_memory_bytes: 4 * 2 ** 20,
    'morch_ready{check="store"}': 1,
    'morch_events_total{type="instance.started"}': (before['morch_events_total{type="instance.started"}'] ?? 0) + 4,
  });
  const refused = 'morch_http_requests_refused_total{code="UNAUTHENTICATED"}';
  expect(running[refused]! - before[refused]!).toBe(3);
  const posts = 'morch_http_request_seconds_count{method="POST",route="/workloads",status="201"}';
  expect(running[posts]! - (before[posts] ?? 0)).toBe(1);
  expect(running.morch_store_records_written_total).toBeGreaterThan(before.morch_store_records_written_total!);
  expect(running.morch_store_commit_seconds_count).toBeGreaterThan(before.morch_store_commit_seconds_count!);

  const agent = valuesIn(await tell('/nodes/n2/metrics'));
  expect(agent).toMatchObject({
    'morch_instances{status="running"}': 2,
    morch_scheduler_session: 1,
    morch_scheduler_unheard_seconds: 0,
  });
  expect(agent['morch_instance_changes_total{status="running"}']).toBeGreaterThanOrEqual(2);
  const memory = Object.keys(agent).filter((name) => /^morch_instance_memory_bytes\{instance="web\.\d"\}$/.test(name));
  expect(memory).toHaveLength(2);

  await cluster.killNode('n2');
  await cluster.untilWorkload(
    'web',
    'runs on one node',
    (w) => w.counts.running === 4 && w.instances.every(({ node }) => node === 'n1'),
  );
  const after = valuesIn(await tell('/metrics'));
  expect(after).toMatchObject({
    'morch_nodes{status="lost"}': 1,
    morch_verdicts_total: 1,
    morch_false_verdicts_total: 0,
    'morch_recoveries_total{outcome="succeeded"}': 2,
    morch_recoveries_in_flight: 0,
    morch_detection_seconds_count: 1,
    'morch_detection_seconds_bucket{le="5"}': 1,
    morch_recovery_seconds_count: 2,
    'morch_recovery_seconds_bucket{le="15"}': 2,
    morch_capacity_cpu_cores: 4,
  });
  const unreachable = await cluster.request('GET', '/nodes/n2/metrics');
  expect([unreachable.status, unreachable.body.code]).toEqual([422, 'NODE_UNREACHABLE']);
  expect((await cluster.request('GET', '/nodes/n9/metrics')).body.code).toBe('NODE_NOT_FOUND');
}, 60_000);

/** A scheduler that dies loses nothing that it acknowledged, and finds again what runs. */
import type { Workload } from '../../contract/workload';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start(3);
}, 60_000);
afterEach(() => cluster.close(), 60_000);

it('keeps every acknowledged submission through kill -9, runs each once, and what ran keeps its pid and generation', async () => {
  await cluster.submit({ id: 'before', kind: 'service', command: ['sleep', '1000'], replicas: 10 });
  const before = await cluster.untilRunning('before', 10);
  const acknowledged: string[] = [];
  let submitted = 0;
  // Each client goes on until it is refused: however fast the scheduler is, it is killed with submissions under way.
  const client = async () => {
    for (;;) {
      submitted += 1;
      const workload = await cluster.submit({ id: `job-${submitted}`, command: ['sleep', '1000'] }).catch(() => null);
      if (workload === null) return;
      acknowledged.push(workload.id);
      if (acknowledged.length === 200) cluster.scheduler.child.kill('SIGKILL');
    }
  };
  await Promise.all(Array.from({ length: 50 }, client));
  expect(acknowledged.length).toBeGreaterThanOrEqual(200);
  await cluster.startScheduler();
  await cluster.untilHealthy(3);
  for (const id of acknowledged) {
    const workload = await cluster.untilRunning(id, 1);
    const [instance] = workload.instances;
    // A start that was under way may have been given up, before anything was executed, and placed once more.
    expect(instance).toMatchObject({ run: 1, attempts: 1 });
    expect(instance!.generation).toBeLessThanOrEqual(2);
  }
  const after = await cluster.untilRunning('before', 10);
  expect(after.instances.map((i) => [i.id, i.pid, i.generation])).toEqual(
    before.instances.map((i) => [i.id, i.pid, i.generation]),
  );
  // One process for each: what was not acknowledged may have been taken in all the same, but nothing runs twice.
  const { body } = await cluster.request<{ workloads: Workload[] }>('GET', '/workloads?limit=1000');
  await until(async () => (await cluster.workloadPids()).length === body.workloads.length - 1 + 10, {
    what: 'there is one process for each instance',
  });
}, 90_000);

it('takes in the exits that it missed', async () => {
  await cluster.submit({ id: 'short', command: ['sh', '-c', 'sleep 1; exit 7'], restart: { policy: 'never' } });
  await cluster.untilStatus('short', 'running');
  await end(cluster.scheduler.child, 'SIGKILL');
  await until(async () => (await cluster.workloadPids()).length === 0, { what: 'the job has ended' });
  await cluster.startScheduler();
  const failed = await cluster.untilStatus('short', 'failed');
  expect(failed.instances[0]).toMatchObject({ generation: 1, run: 1, exit: { code: 7, signal: null } });
}, 60_000);

it('goes on with stops, restarts and events where it was', async () => {
  await cluster.submit({
    id: 'slow',
    kind: 'service',
    command: ['sh', '-c', 'trap "" TERM; while :; do sleep 0.1; done'],
    stop: { graceMs: 3_000 },
  });
  await cluster.untilRunning('slow', 1);
  await cluster.request('DELETE', '/workloads/slow');
  await end(cluster.scheduler.child, 'SIGKILL');
  await cluster.startScheduler();
  await cluster.untilStatus('slow', 'stopped');
  const seqs: number[] = [];
  const controller = new AbortController();
  const response = await cluster.fetch('/events?since=0', { signal: controller.signal });
  for await (const chunk of response.body!) {
    for (const match of Buffer.from(chunk as Uint8Array)
      .toString()
      .matchAll(/^id: (\d+)$/gm))
      seqs.push(Number(match[1]));
    if (seqs.length >= 8) break;
  }
  controller.abort();
  expect(seqs).toEqual(seqs.map((_, i) => i + 1));
  expect((await cluster.request('GET', '/health')).body.epoch).toBe(2);
}, 60_000);

it('acknowledges nothing once its files are gone', async () => {
  const { rm } = await import('node:fs/promises');
  await rm(cluster.scheduler.dataDir, { recursive: true });
  // Both meet the loss of the files: neither is carried out.
  const answers = await Promise.all([
    cluster.request('POST', '/workloads', { command: ['true'] }),
    cluster.request('POST', '/nodes/n1/cordon'),
  ]);
  for (const answer of answers) expect(answer).toMatchObject({ status: 507, body: { code: 'STORE_UNWRITABLE' } });
  const isSchedulable = async () =>
    (await cluster.request<{ schedulable: boolean }>('GET', '/nodes/n1')).body.schedulable;
  await until(isSchedulable, { what: 'the node takes instances, as far as it is heard' });
  expect((await cluster.request('GET', '/workloads')).body).toMatchObject({ workloads: [] });
  expect((await cluster.request('GET', '/health')).body).toMatchObject({
    status: 'degraded',
    store: { writable: false },
  });
  expect((await cluster.fetch('/readyz')).status).toBe(503);
}, 60_000);

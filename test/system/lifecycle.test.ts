/** What users do with workloads, on a real scheduler and three real agents. */
import { Cluster } from '../support/cluster';
import { until } from '../support/until';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(3);
}, 60_000);
afterAll(() => cluster.close(), 60_000);

const sh = (script: string) => ['sh', '-c', script];
const QUICK = { backoffMs: 50 };

describe('a workload', () => {
  it('runs to completion and tells its exit', async () => {
    await cluster.submit({ id: 'done', command: sh('exit 0') });
    const done = await cluster.untilStatus('done', 'completed');
    expect(done.instances[0]).toMatchObject({
      generation: 1,
      run: 1,
      status: 'completed',
      exit: { code: 0, signal: null },
      pid: null,
      attempts: 1,
    });
    expect((await cluster.history('done')).map((e) => e.type)).toEqual([
      'workload.submitted',
      'instance.placed',
      'instance.started',
      'instance.exited',
      'workload.completed',
    ]);
  });

  it('is given three attempts with backoff, then has failed with the reason', async () => {
    await cluster.submit({ id: 'fails', command: sh('exit 1'), restart: { backoffMs: 200 } });
    const failed = await cluster.untilStatus('fails', 'failed');
    expect(failed.instances[0]).toMatchObject({ run: 3, attempts: 3, exit: { code: 1, signal: null } });
    expect(failed.statusReason).toContain('3 attempts');
    const starts = (await cluster.history('fails'))
      .filter((e) => e.type === 'instance.started')
      .map((e) => Date.parse(e.at));
    expect(starts).toHaveLength(3);
    expect(starts[1]! - starts[0]!).toBeGreaterThanOrEqual(180);
    expect(starts[2]! - starts[1]!).toBeGreaterThanOrEqual(360);
  });

  it.each([
    ['exit 42', { code: 42, signal: null }],
    ['kill -SEGV $$', { code: null, signal: 'SIGSEGV' }],
  ])('that ends by `%s` is reported so', async (script, exit) => {
    const { id } = await cluster.submit({ command: sh(script), restart: { policy: 'never' } });
    const failed = await cluster.untilStatus(id, 'failed');
    expect(failed.instances[0]!.exit).toMatchObject(exit);
  });

  it('whose program is missing is tried on a node not tried yet, then has failed', async () => {
    await cluster.submit({ id: 'missing', script: '/no/such/script.sh', restart: QUICK });
    const failed = await cluster.untilStatus('missing', 'failed');
    expect(failed.statusReason).toContain('/no/such/script.sh');
    const nodes = (await cluster.history('missing')).filter((e) => e.type === 'instance.placed').map((e) => e.node);
    expect(new Set(nodes).size).toBe(3);
    expect(failed.attempts).toBe(3);
  });

  it('that runs longer than maxRunMs is stopped, and that is a failure', async () => {
    await cluster.submit({ id: 'long', command: ['sleep', '1000'], maxRunMs: 150, restart: { policy: 'never' } });
    const failed = await cluster.untilStatus('long', 'failed');
    expect(failed.instances[0]!.exit).toMatchObject({ signal: 'SIGTERM' });
    expect(failed.statusReason).toContain('150 ms');
  });

  it('is told its fencing token and nothing of the agent', async () => {
    await cluster.submit({ id: 'env', command: ['env'], env: { GREETING: 'a=b\nc 🙂' } });
    await cluster.untilStatus('env', 'completed');
    const text = await (await cluster.fetch('/workloads/env/logs')).text();
    expect(text).toContain('GREETING=a=b\nc 🙂');
    for (const line of ['MORCH_WORKLOAD=env', 'MORCH_INSTANCE=env.0', 'MORCH_GENERATION=1', 'MORCH_RUN=1'])
      expect(text).toContain(`${line}\n`);
    expect(text).not.toContain('TEST_OPTIONS');
  });
});

describe('a service', () => {
  it('is started again whatever its exit', async () => {
    await cluster.submit({ id: 'again', kind: 'service', command: sh('sleep 0.05'), restart: QUICK });
    await cluster.untilWorkload('again', 'has run three times', (w) => (w.instances[0]?.run ?? 0) >= 3);
    await cluster.request('DELETE', '/workloads/again');
    const { instances } = await cluster.untilStatus('again', 'stopped');
    expect(instances[0]!.generation).toBe(1);
  });

  it('is spread, scaled up to the lowest free and down from the highest', async () => {
    await cluster.submit({ id: 'web', kind: 'service', command: ['sleep', '1000'], replicas: 3 });
    const three = await cluster.untilRunning('web', 3);
    expect(new Set(three.instances.map((i) => i.node)).size).toBe(3);
    expect((await cluster.request('POST', '/workloads/web/scale', { replicas: 6 })).status).toBe(200);
    const six = await cluster.untilRunning('web', 6);
    expect(six.instances.slice(0, 3).map((i) => i.pid)).toEqual(three.instances.map((i) => i.pid));
    await cluster.request('POST', '/workloads/web/scale', { replicas: 2 });
    const two = await cluster.untilWorkload('web', 'has two instances', (w) => w.instances.length === 2);
    expect(two.instances.map((i) => [i.id, i.pid])).toEqual(three.instances.slice(0, 2).map((i) => [i.id, i.pid]));
    await cluster.request('POST', '/workloads/web/scale', { replicas: 3 });
    const again = await cluster.untilRunning('web', 3);
    expect(again.instances[2]!.generation).toBeGreaterThan(1);
    await cluster.request('DELETE', '/workloads/web?purge=true');
    await until(async () => (await cluster.request('GET', '/workloads/web')).status === 404, { what: 'web is purged' });
  });

  it('is restarted one instance at a time, on the same node, with attempts from 0', async () => {
    await cluster.submit({ id: 'one', kind: 'service', command: ['sleep', '1000'], replicas: 3 });
    const before = await cluster.untilRunning('one', 3);
    expect((await cluster.request('POST', '/workloads/one/restart')).status).toBe(202);
    let fewest = 3;
    const after = await cluster.untilWorkload('one', 'has second generations', (w) => {
      fewest = Math.min(fewest, w.counts.running ?? 0);
      return w.counts.running === 3 && w.instances.every((i) => i.generation === 2);
    });
    expect(fewest).toBeGreaterThanOrEqual(2);
    expect(after.instances.map((i) => i.node)).toEqual(before.instances.map((i) => i.node));
    await cluster.request('DELETE', '/workloads/one');
    await cluster.untilStatus('one', 'stopped');
  });

  it('changed by PUT is replaced only if what it runs has changed', async () => {
    const spec = { kind: 'service', command: ['sleep', '1000'] };
    expect((await cluster.request('PUT', '/workloads/put', spec)).status).toBe(201);
    const first = await cluster.untilRunning('put', 1);
    const unchanged = await cluster.request('PUT', '/workloads/put', spec);
    expect([unchanged.status, unchanged.body.version, unchanged.headers.get('etag')]).toEqual([200, 1, '"1"']);
    const labelled = await cluster.request(
      'PUT',
      '/workloads/put',
      { ...spec, labels: { a: 'b' }, replicas: 2 },
      { 'if-match': '"1"' },
    );
    expect([labelled.status, labelled.body.version]).toEqual([200, 2]);
    const two = await cluster.untilRunning('put', 2);
    expect(two.instances[0]!.pid).toBe(first.instances[0]!.pid);
    expect((await cluster.request('PUT', '/workloads/put', spec, { 'if-match': '"1"' })).status).toBe(412);
    await cluster.request('PUT', '/workloads/put', { ...spec, command: ['sleep', '2000'], replicas: 2 });
    const replaced = await cluster.untilWorkload(
      'put',
      'is replaced',
      (w) => w.counts.running === 2 && w.instances.every((i) => i.generation === 2),
    );
    expect(replaced.version).toBe(3);
    await cluster.request('DELETE', '/workloads/put');
    await cluster.untilStatus('put', 'stopped');
  });

  it('stopped takes its children along, also those that ignore the signal', async () => {
    await cluster.submit({
      id: 'deaf',
      kind: 'service',
      command: sh('trap "" TERM; sleep 1000 & sleep 1000'),
      stop: { graceMs: 100 },
    });
    await cluster.untilRunning('deaf', 1);
    const answer = await cluster.request('DELETE', '/workloads/deaf');
    expect([answer.status, answer.body.status]).toEqual([202, 'stopping']);
    const { instances } = await cluster.untilStatus('deaf', 'stopped');
    expect(instances[0]!.exit).toMatchObject({ signal: 'SIGKILL' });
    expect(await cluster.workloadPids()).toEqual([]);
    expect((await cluster.request('DELETE', '/workloads/deaf')).status).toBe(202);
  });
});

describe('a workload that has ended', () => {
  it('is not run again by new labels, and is by a new program', async () => {
    const put = (spec: object) =>
      cluster.request('PUT', '/workloads/over', { env: { TEST_MARK: cluster.mark }, ...spec });
    await put({ command: ['true'] });
    await cluster.untilStatus('over', 'completed');
    expect((await put({ command: ['true'], labels: { a: 'b' } })).body).toMatchObject({
      status: 'completed',
      version: 2,
    });
    await put({ command: ['sh', '-c', 'exit 0'] });
    const again = await cluster.untilWorkload(
      'over',
      'has run again',
      (w) => w.status === 'completed' && w.instances[0]!.generation === 2,
    );
    expect(again.version).toBe(3);
    expect((await cluster.history('over')).filter((e) => e.type === 'instance.started')).toHaveLength(2);
  });

  it('scaled to nothing is running, as it is wanted', async () => {
    await cluster.submit({
      id: 'none',
      kind: 'service',
      command: ['sh', '-c', 'trap "" TERM; while :; do sleep 0.05; done'],
      stop: { graceMs: 300 },
    });
    await cluster.untilRunning('none', 1);
    expect((await cluster.request('POST', '/workloads/none/scale', { replicas: 0 })).body.status).toBe('running');
    await cluster.untilWorkload('none', 'has no instance', (w) => w.instances.length === 0 && w.status === 'running');
    await cluster.request('DELETE', '/workloads/none');
    await cluster.untilStatus('none', 'stopped');
  });
});

describe('submission', () => {
  it('under a live id is refused, under a terminal one makes a new version with later generations', async () => {
    await cluster.submit({ id: 'twice', kind: 'service', command: ['sleep', '1000'] });
    await cluster.untilRunning('twice', 1);
    expect((await cluster.request('POST', '/workloads', { id: 'twice', command: ['true'] })).body.code).toBe(
      'WORKLOAD_EXISTS',
    );
    await cluster.request('DELETE', '/workloads/twice');
    await cluster.untilStatus('twice', 'stopped');
    const again = await cluster.submit({ id: 'twice', command: ['true'] });
    expect(again.version).toBe(2);
    const done = await cluster.untilStatus('twice', 'completed');
    expect(done.instances[0]).toMatchObject({ generation: 2, run: 1 });
  });

  it('with the same Idempotency-Key gives the same answer, with another body 409', async () => {
    const key = { 'idempotency-key': 'k-1' };
    const both = await Promise.all([1, 2].map(() => cluster.request('POST', '/workloads', { command: ['true'] }, key)));
    const [first, second] = both as [(typeof both)[0], (typeof both)[0]];
    expect([first.status, second.status]).toEqual([201, 201]);
    expect(second.body).toEqual(first.body);
    expect((await cluster.request('POST', '/workloads', { command: ['true'] }, key)).body).toEqual(first.body);
    expect((await cluster.request('POST', '/workloads', { command: ['false'] }, key)).body.code).toBe(
      'IDEMPOTENCY_CONFLICT',
    );
  });

  it('that fits nowhere waits with a reason, costs no attempt, and is placed as soon as it fits', async () => {
    await cluster.submit({
      id: 'big-a',
      kind: 'service',
      command: ['sleep', '1000'],
      replicas: 3,
      resources: { cpuMillis: 4_000 },
    });
    await cluster.untilRunning('big-a', 3);
    await cluster.submit({ id: 'big-b', kind: 'service', command: ['sleep', '1000'], resources: { cpuMillis: 1 } });
    const waiting = await cluster.untilWorkload(
      'big-b',
      'has a reason',
      (w) => w.instances[0]?.statusReason?.startsWith('no node fits') ?? false,
    );
    expect(waiting).toMatchObject({ status: 'pending', attempts: 0 });
    expect(waiting.statusReason).toContain('short of 1m cpu');
    await cluster.request('POST', '/workloads/big-a/scale', { replicas: 2 });
    await cluster.untilRunning('big-b', 1);
    await Promise.all(['big-a', 'big-b'].map((id) => cluster.request('DELETE', `/workloads/${id}`)));
    await Promise.all(['big-a', 'big-b'].map((id) => cluster.untilStatus(id, 'stopped')));
    const { body } = await cluster.request<{ nodes: { allocated: object }[] }>('GET', '/nodes');
    expect(body.nodes.map((n) => n.allocated)).toEqual(Array(3).fill({ cpuMillis: 0, memoryBytes: 0 }));
  });
});

describe('a daemon', () => {
  it('runs once on every fitting node, also on one that joins later', async () => {
    await cluster.submit({ id: 'logd', kind: 'daemon', command: ['sleep', '1000'] });
    const three = await cluster.untilWorkload('logd', 'runs on three', (w) => w.counts.running === 3);
    expect(three.instances.map((i) => i.id)).toEqual(['logd.n1', 'logd.n2', 'logd.n3']);
    await cluster.startAgent('n4', { labels: { extra: 'yes' } });
    await cluster.untilWorkload('logd', 'runs on four', (w) => w.counts.running === 4);
    expect((await cluster.request('POST', '/workloads/logd/scale', { replicas: 2 })).body.code).toBe('NOT_POSSIBLE');
    await cluster.submit({
      id: 'picky',
      command: ['true'],
      placement: { constraints: [{ label: 'extra', op: 'in', values: ['yes'] }] },
    });
    expect((await cluster.untilStatus('picky', 'completed')).instances[0]!.node).toBe('n4');
    await cluster.request('DELETE', '/workloads/logd');
    await cluster.untilStatus('logd', 'stopped');
  });
});

describe('cordon and drain', () => {
  it('restarts on a cordoned node what was there', async () => {
    await cluster.submit({ id: 'stay', kind: 'service', command: ['sleep', '1000'] });
    await cluster.submit({ id: 'each', kind: 'daemon', command: ['sleep', '1000'] });
    const { node } = (await cluster.untilRunning('stay', 1)).instances[0]!;
    const before = await cluster.untilWorkload(
      'each',
      'runs everywhere',
      (w) => w.status === 'running' && w.counts.running === w.instances.length,
    );
    await cluster.request('POST', `/nodes/${node}/cordon`);
    for (const id of ['stay', 'each']) await cluster.request('POST', `/workloads/${id}/restart`);
    const after = await cluster.untilWorkload(
      'stay',
      'runs again',
      (w) => w.status === 'running' && w.instances[0]!.generation === 2,
    );
    expect(after.instances[0]!.node).toBe(node);
    await cluster.untilWorkload(
      'each',
      'runs again everywhere',
      (w) => w.counts.running === before.instances.length && w.instances.every((i) => i.generation === 2),
    );
    await cluster.request('POST', `/nodes/${node}/uncordon`);
    for (const id of ['stay', 'each']) {
      await cluster.request('DELETE', `/workloads/${id}`);
      await cluster.untilStatus(id, 'stopped');
    }
  });

  it('moves a batch that is between two runs, with the attempts that it has had', async () => {
    for (const node of ['n1', 'n2', 'n4']) await cluster.request('POST', `/nodes/${node}/cordon`);
    const restart = { attempts: 3, backoffMs: 600_000, maxBackoffMs: 600_000 };
    await cluster.submit({ id: 'tries', command: sh('[ "$MORCH_NODE" != n3 ] || exit 3; exec sleep 1000'), restart });
    await cluster.untilWorkload('tries', 'is between two runs', (w) => w.counts.backoff === 1);
    for (const node of ['n1', 'n2', 'n4']) await cluster.request('POST', `/nodes/${node}/uncordon`);
    await cluster.request('POST', '/nodes/n3/drain');
    const [moved] = (await cluster.untilStatus('tries', 'running')).instances;
    expect(moved).toMatchObject({ generation: 2, run: 1, attempts: 2 });
    expect(moved!.node).not.toBe('n3');
    await until(async () => (await cluster.request('GET', '/nodes/n3')).body.drain === 'drained', {
      what: 'n3 is drained',
    });
    await cluster.request('POST', '/nodes/n3/uncordon');
    await cluster.request('DELETE', '/workloads/tries');
    await cluster.untilStatus('tries', 'stopped');
  });

  it('moves services off and lets a batch end, and daemons last', async () => {
    await cluster.submit({ id: 'all', kind: 'daemon', command: ['sleep', '1000'] });
    await cluster.untilRunning('all', 4);
    await cluster.submit({ id: 'svc', kind: 'service', command: ['sleep', '1000'], replicas: 4 });
    await cluster.untilRunning('svc', 4);
    const fifo = `${cluster.directory}/go`;
    await cluster.request('POST', '/nodes/n1/cordon');
    await cluster.request('POST', '/nodes/n2/cordon');
    await cluster.request('POST', '/nodes/n4/cordon');
    await cluster.submit({ id: 'job', command: sh(`while [ ! -e ${fifo} ]; do sleep 0.05; done`) });
    expect((await cluster.untilStatus('job', 'running')).instances[0]!.node).toBe('n3');
    for (const node of ['n1', 'n2', 'n4']) await cluster.request('POST', `/nodes/${node}/uncordon`);
    expect((await cluster.request('POST', '/nodes/n3/drain')).status).toBe(202);
    const moved = await cluster.untilWorkload(
      'svc',
      'left n3',
      (w) => w.counts.running === 4 && w.instances.every((i) => i.node !== 'n3'),
    );
    expect(moved.instances.filter((i) => i.generation === 1)).toHaveLength(3);
    await cluster.untilWorkload('job', 'runs on, and tells why', ({ status, instances }) => {
      const why = 'kept on n3, which is draining: a batch may end by itself until the deadline';
      return status === 'running' && instances[0]!.statusReason === why;
    });
    await cluster.untilWorkload('all', 'stays on n3, and tells why', ({ instances }) => {
      const why = 'kept on n3, which is draining: a daemon stops when nothing else is left';
      return instances.find(({ node }) => node === 'n3')?.statusReason === why;
    });
    await require('node:fs/promises').writeFile(fifo, '');
    expect((await cluster.untilStatus('job', 'completed')).instances[0]).toMatchObject({ generation: 1, node: 'n3' });
    await cluster.untilWorkload('all', 'has left n3', ({ instances }) => instances.every(({ node }) => node !== 'n3'));
    await until(async () => (await cluster.request('GET', '/nodes/n3')).body.drain === 'drained', {
      what: 'n3 is drained',
    });
    expect((await cluster.request('POST', '/nodes/n3/uncordon')).body).toMatchObject({
      drain: 'none',
      schedulable: true,
    });
    await cluster.untilRunning('all', 4);
    for (const id of ['svc', 'all']) {
      await cluster.request('DELETE', `/workloads/${id}`);
      await cluster.untilStatus(id, 'stopped');
    }
  });
});

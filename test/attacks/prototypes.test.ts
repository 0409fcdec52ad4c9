/**
 * Names that mean something to JavaScript itself, as keys, ids and parameters: refused, or names like any other. Whether the
 * prototype of all objects was changed is seen by what a request without the field comes to afterwards.
 */
import { Agents, type TestAgent } from '../support/agent';
import { Cluster } from '../support/cluster';
import { fixture } from '../support/fixtures';
import { Asker } from './asker';

jest.setTimeout(60_000);

const agents = new Agents();
let cluster: Cluster;
let agent: TestAgent;
let scheduler: Asker;
let node: Asker;
beforeAll(async () => {
  [cluster, agent] = await Promise.all([Cluster.start(1), agents.start()]);
  scheduler = Asker.ofScheduler(cluster);
  node = Asker.ofAgent(agent);
});
afterAll(async () => {
  await Promise.all([scheduler?.close(), node?.close()]);
  await cluster?.close();
  await agents.endAll();
});

/** Were it inherited by every object, each of these would show. */
const POLLUTION = { nice: 7, umask: '077', replicas: 5, surprise: 1, kind: 'service', cwd: '/tmp', user: 'daemon' };
const dirty = JSON.stringify(POLLUTION);

/** `HERE` stands where a pair is put in: JSON.stringify would leave `__proto__` out. */
const KEYS = [
  ['__proto__', `"__proto__":${dirty}`],
  ['__proto__ with its first letters escaped', `"\\u005f\\u005fproto__":${dirty}`],
  ['__proto__ with another letter escaped', `"__\\u0070roto__":${dirty}`],
  ['__proto__ given twice', `"__proto__":{},"__proto__":${dirty}`],
  ['constructor', `"constructor":{"prototype":${dirty}}`],
  ['prototype', `"prototype":${dirty}`],
  ['__defineGetter__', `"__defineGetter__":${dirty}`],
] as const;
const PLACES = ['{HERE}', '{"command":["true"],"replicas":0,HERE}', '{"command":["true"],"labels":{HERE}}'].concat(
  '{"command":["true"],"env":{HERE}}',
  '{"command":["true"],"restart":{HERE}}',
  '{"command":["true"],"placement":{"constraints":[{HERE}]}}',
  '{"command":["true"],"secrets":[{HERE}]}',
);

let count = 0;
async function expectClean(): Promise<void> {
  const id = `clean-${++count}`;
  const told = await scheduler.ask({ method: 'PUT', path: `/workloads/${id}`, body: { command: ['true'] } });
  expect(told.status).toBe(201);
  const workload = JSON.parse(told.text);
  expect(workload).toMatchObject({ kind: 'batch', replicas: 1, labels: {} });
  for (const key of ['nice', 'umask', 'surprise', 'cwd', 'user']) expect(workload).not.toHaveProperty(key);
  const started = await node.ask({ method: 'POST', path: '/start', body: { command: [fixture('print_env')] } });
  expect(started.status).toBe(201);
  const { instanceId } = JSON.parse(started.text);
  await agent.untilStatus(instanceId, 'completed');
  expect(await agent.logs(instanceId)).not.toMatch(/surprise|umask/);
}
afterEach(expectClean);

test.each(KEYS)('%s is no field of any body', async (_what, pair) => {
  const routes: [Asker, string, string, string[]][] = [
    [scheduler, 'POST', '/workloads', PLACES],
    [scheduler, 'PUT', '/workloads/web', PLACES],
    [scheduler, 'POST', '/workloads/clean-1/scale', ['{HERE}', '{"replicas":0,HERE}']],
    [
      scheduler,
      'POST',
      '/nodes',
      ['{HERE}', '{"host":"127.0.0.1","port":1,HERE}', '{"host":"127.0.0.1","port":1,"labels":{HERE}}'],
    ],
    [scheduler, 'POST', '/nodes/n1/drain', ['{HERE}']],
    [scheduler, 'POST', '/nodes/n1/cordon', ['{HERE}']],
    [scheduler, 'POST', '/nodes/n1/drill', ['{HERE}', '{"kind":"cut",HERE}']],
    [scheduler, 'PUT', '/secrets/a', ['{HERE}', '{"value":"x",HERE}']],
    [scheduler, 'POST', '/tokens', ['{HERE}', '{"name":"a","role":"read",HERE}']],
    [node, 'POST', '/start', [...PLACES, '{"instances":[{HERE}]}', '{"command":["true"],"secretValues":{HERE}}']],
    [node, 'POST', '/stop', ['{HERE}', '{"pid":1,HERE}', '{"instances":[{HERE}]}']],
    [node, 'POST', '/drill', ['{HERE}', '{"kind":"kill","clusterId":"c","epoch":1,"session":1,HERE}']],
  ];
  for (const [asker, method, path, bodies] of routes) {
    for (const body of bodies) {
      const told = await asker.ask({ method, path, body: body.replace('HERE', pair) });
      expect([path, body, told.status, told.text]).toEqual([path, body, 400, expect.stringContaining('INVALID_INPUT')]);
    }
  }
});

test('a variable named __proto__ is refused by an agent too, rather than lost', async () => {
  for (const key of ['"__proto__"', '"__\\u0070roto__"']) {
    const told = await node.ask({ method: 'POST', path: '/start', body: `{"command":["true"],"env":{${key}:"x"}}` });
    expect([told.status, JSON.parse(told.text).errors]).toEqual([
      400,
      [{ pointer: '/env/__proto__', message: 'is not taken as a name' }],
    ]);
  }
});

test.each([
  '__proto__',
  '__proto__[surprise]',
  '__proto__.surprise',
  'constructor',
  'constructor[prototype][surprise]',
])('a parameter %s is unknown everywhere', async (name) => {
  const places: [Asker, string][] = [
    ...['/workloads', '/nodes', '/secrets', '/tokens', '/audit', '/health', '/livez'].map((path): [Asker, string] => [
      scheduler,
      path,
    ]),
    ...['/status', '/livez', '/instances'].map((path): [Asker, string] => [node, path]),
  ];
  for (const [asker, path] of places) {
    for (const query of [`${name}=1`, `${encodeURIComponent(name)}=1`, `${name}=1&${name}=2`]) {
      const told = await asker.ask({ method: 'GET', path: `${path}?${query}` });
      expect([path, query, told.status]).toEqual([path, query, 400]);
    }
  }
});

const INHERITED = ['constructor', 'toString', 'valueOf', 'hasOwnProperty', 'isPrototypeOf', 'prototype'];

test('names that every object inherits are labels and variables like any other', async () => {
  const named = Object.fromEntries(INHERITED.map((name) => [name, `my ${name}`]));
  await cluster.submit({ id: 'inherited', command: [fixture('print_env')], env: named, labels: named });
  const { env, labels } = await cluster.untilStatus('inherited', 'completed');
  expect([labels, env]).toEqual([named, expect.objectContaining(named)]);
  const output = (await (await cluster.fetch('/workloads/inherited/logs')).text()).split('\0');
  for (const name of INHERITED) expect(output).toContain(`${name}=my ${name}`);

  const found = async (label: string) => {
    const told = await scheduler.ask({ method: 'GET', path: `/workloads?label=${encodeURIComponent(label)}` });
    return JSON.parse(told.text).workloads.map(({ id }: { id: string }) => id);
  };
  for (const name of INHERITED) {
    expect(await found(`${name}=my ${name}`)).toEqual(['inherited']);
    expect(await found(`${name}=${Object.prototype[name as 'constructor']}`)).toEqual([]);
  }
});

test('a node has no label that it was not given', async () => {
  const constraints = [{ label: 'constructor', op: 'exists' }];
  await cluster.submit({ id: 'nowhere', command: ['true'], placement: { constraints } });
  await cluster.untilWorkload('nowhere', 'fits no node', (w) => w.statusReason?.includes('constructor') === true);
  await cluster.submit({
    id: 'somewhere',
    command: ['true'],
    placement: { constraints: [{ ...constraints[0], op: 'absent' }] },
  });
  await cluster.untilStatus('somewhere', 'completed');
});

test('ids of such names are ids like any other', async () => {
  for (const id of [
    'constructor',
    'prototype',
    'valueof',
    'tostring',
    'null',
    'undefined',
    'nan',
    'true',
    '0',
    '1e1',
  ]) {
    expect((await cluster.request('GET', `/workloads/${id}`)).status).toBe(404);
    expect((await cluster.request('GET', `/nodes/${id}`)).status).toBe(404);
    const wish = { name: id, role: 'read' };
    expect((await cluster.request('POST', '/tokens', wish)).body).toMatchObject(wish);
    await cluster.submit({
      id,
      command: ['sh', '-c', 'echo "$MORCH_WORKLOAD"'],
      secrets: [{ name: id, env: 'VALUE' }],
    });
    await cluster.untilWorkload(id, 'waits', (w) => w.statusReason?.startsWith(`secret ${id} is not there`) === true);
    expect((await cluster.request('PUT', `/secrets/${id}`, { value: 'x' })).status).toBe(201);
    await cluster.untilStatus(id, 'completed');
    expect(await (await cluster.fetch(`/workloads/${id}/logs`)).text()).toBe(`${id}\n`);
    const stopped = await agent.stop({ instanceId: `${id}.0` });
    expect(stopped.status).toBe(404);
  }
});

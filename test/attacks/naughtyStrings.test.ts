/**
 * The big list of naughty strings in every string that anybody may send, to a real scheduler and a real agent: taken and
 * given back as it is, or refused as the caller's fault, and never a failure of ours.
 */
import { AGENT_ROUTES, type Route, SCHEDULER_ROUTES } from '../../contract/routes';
import { Agents, type TestAgent } from '../support/agent';
import { Cluster } from '../support/cluster';
import { fixture } from '../support/fixtures';
import { type Asked, Asker, type Told } from './asker';

const NAUGHTY = require('big-list-of-naughty-strings') as string[];

jest.setTimeout(120_000);

const agents = new Agents();
let cluster: Cluster;
let agent: TestAgent;
let scheduler: Asker;
let node: Asker;
beforeAll(async () => {
  // Without a limit on the rate, by which many would be refused unread.
  [cluster, agent] = await Promise.all([Cluster.start(1, { schedulerArgs: { rateLimit: 0 } }), agents.start()]);
  scheduler = Asker.ofScheduler(cluster);
  node = Asker.ofAgent(agent);
}, 60_000);
afterAll(async () => {
  await Promise.all([scheduler?.close(), node?.close()]);
  await cluster?.close();
  await agents.endAll();
}, 60_000);
// Whatever was sent, both serve on, and are the processes that they were.
afterEach(async () => {
  expect([await scheduler.serves(), await node.serves()]).toEqual([true, true]);
  expect([cluster.scheduler.child.exitCode, cluster.agents.get('n1')!.child.exitCode, agent.child.exitCode]).toEqual([
    null,
    null,
    null,
  ]);
});

type Path = readonly (string | number)[];

/** Every string in it, and every key that is the sender's own choice. */
function stringsOf(value: unknown, path: Path = []): Path[] {
  if (typeof value === 'string') return [path];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, child]) => stringsOf(child, [...path, key]));
}

function at(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((inner, key) => (inner as Record<string, unknown> | undefined)?.[key], value);
}

function withStringAt(value: object, path: Path, text: string): object {
  const copy = structuredClone(value);
  const parent = at(copy, path.slice(0, -1)) as Record<string, unknown>;
  parent[path.at(-1)!] = text;
  return copy;
}

/** With a key instead of a value. */
function withKeyAt(value: object, path: Path, text: string): object {
  const copy = structuredClone(value);
  const parent = at(copy, path.slice(0, -1)) as Record<string, unknown>;
  parent[path.at(-1)!] = { [text]: 'x' };
  return copy;
}

class Findings {
  readonly wrong: string[] = [];
  asked = 0;
  taken = 0;

  judge(what: string, text: string, told: Told, echo?: (answer: unknown) => unknown): void {
    this.asked += 1;
    const isTaken = told.status >= 200 && told.status < 300;
    const isRefused = told.status >= 400 && told.status < 500 && told.status !== 429;
    if (!isTaken && !isRefused) this.wrong.push(`${what} ${JSON.stringify(text)}: ${told.status}`);
    if (!isTaken) return;
    this.taken += 1;
    const given = echo === undefined ? text : echo(told.text === '' ? null : JSON.parse(told.text));
    if (given !== text) this.wrong.push(`${what} ${JSON.stringify(text)} came back as ${JSON.stringify(given)}`);
  }
}

/** Take what there is: all at once, further below. */
const FREE = ['command/1', 'args/0', 'env/A', 'labels/tier', 'placement/constraints/0/values/0'];

/** Each string in the place of each string of a body that is good without. `*` in the path: of those at a time, each has its own. */
async function tryFields(
  asker: Asker,
  { method, path, body, echoes = true }: { method: string; path: string; body: object; echoes?: boolean },
  keys: readonly Path[] = [],
): Promise<Findings> {
  const findings = new Findings();
  const tries = [
    ...stringsOf(body)
      .filter((field) => !FREE.includes(field.join('/')))
      .map((field) => ({ field, place: withStringAt })),
    ...keys.map((field) => ({ field, place: withKeyAt })),
  ].flatMap((one) => NAUGHTY.map((text) => ({ ...one, text })));
  await asker.askAll(tries, async ({ field, place, text }, worker) => {
    const told = await asker.ask({ method, path: path.replace('*', `w${worker}`), body: place(body, field, text) });
    const isShown = echoes && place === withStringAt;
    findings.judge(
      `${method} ${path} ${field.join('/')}`,
      text,
      told,
      isShown ? (answer) => at(answer, field) : undefined,
    );
  });
  return findings;
}

/** A workload with everything in it that may be a text, and no instance. */
const SPEC = {
  id: 'naughty',
  kind: 'service',
  command: ['true', 'x'],
  args: ['x'],
  env: { A: 'x' },
  cwd: '/tmp',
  user: 'nobody',
  labels: { tier: 'x' },
  umask: '027',
  onDisconnect: 'keep',
  restart: { policy: 'always' },
  stop: { signal: 'SIGTERM' },
  secrets: [
    { name: 'db', env: 'DB' },
    { name: 'db', file: 'db' },
  ],
  placement: { strategy: 'spread', constraints: [{ label: 'zone', op: 'in', values: ['x'] }] },
  replicas: 0,
};
const KEYS = [['env'], ['labels']] as const;

describe('the scheduler', () => {
  test('takes them in a workload as they are, or refuses them', async () => {
    const { id: _, ...spec } = SPEC;
    for (const [method, path, body, keys] of [
      ['PUT', '/workloads/*', spec, KEYS],
      ['POST', '/workloads', { id: 'x', command: ['true'], replicas: 0 }, []],
      ['POST', '/workloads', { script: '/x', replicas: 0 }, []],
    ] as const) {
      const { wrong, taken, asked } = await tryFields(scheduler, { method, path, body }, keys);
      expect(wrong).toEqual([]);
      expect(asked).toBeGreaterThanOrEqual(NAUGHTY.length);
      expect(taken).toBeGreaterThan(0);
    }
  });

  test.each<Asked & { body: object }>([
    {
      method: 'POST',
      path: '/nodes',
      body: { name: 'n9', host: '127.0.0.1', port: 1, labels: { a: 'x' }, agentToken: 'x' },
    },
    { method: 'POST', path: '/nodes/n1/certificate', body: { csr: 'x' } },
    { method: 'POST', path: '/nodes/n1/drain', body: { deadlineMs: 'x' } },
    { method: 'POST', path: '/nodes/nope/drill', body: { kind: 'x', durationMs: 'x' } },
    { method: 'POST', path: '/workloads/naughty/scale', body: { replicas: 'x' } },
    { method: 'PUT', path: '/secrets/naughty', body: { value: 'x', encoding: 'utf8' } },
    { method: 'POST', path: '/tokens', body: { name: 'x', role: 'read' } },
  ])('has no failure by them in $method $path', async (asked) => {
    const { wrong } = await tryFields(scheduler, { ...asked, echoes: asked.path === '/tokens' });
    expect(wrong).toEqual([]);
  });

  test('has a place in the contract for every route with a body', () => {
    const tried = [
      '/workloads',
      '/workloads/:id',
      '/nodes',
      '/nodes/:id/certificate',
      '/nodes/:id/drain',
      '/nodes/:id/drill',
    ];
    tried.push('/workloads/:id/scale', '/secrets/:id', '/tokens');
    const withBody = (SCHEDULER_ROUTES as readonly Route[]).filter(({ body }) => body !== undefined);
    expect(new Set(withBody.map(({ path }) => path))).toEqual(new Set(tried));
  });
});

/** In the place of every id and of every parameter of a query. */
async function tryUrls(asker: Asker, routes: readonly Route[]): Promise<Findings> {
  const findings = new Findings();
  const urls = routes.flatMap(({ method, path, query }) => {
    const ids = path.includes(':id') ? [(text: string) => path.replace(':id', text)] : [];
    const names = Object.keys(query?.shape ?? {});
    const parameters = names.map((name) => (text: string) => `${path.replace(':id', 'nope.0')}?${name}=${text}`);
    return [...ids, ...parameters].map((url) => ({ method, url }));
  });
  const tries = urls.flatMap(({ method, url }) => NAUGHTY.map((text) => ({ method, url, text })));
  await asker.askAll(tries, async ({ method, url, text }) => {
    const path = url(encodeURIComponent(text));
    const body = ['POST', 'PUT'].includes(method) ? {} : undefined;
    findings.judge(`${method} ${url('*')}`, text, await asker.ask({ method, path, ...(body && { body }) }));
  });
  return findings;
}

test('ids and parameters of the scheduler', async () => {
  const { wrong, asked } = await tryUrls(scheduler, SCHEDULER_ROUTES);
  expect(wrong).toEqual([]);
  expect(asked).toBeGreaterThan(NAUGHTY.length * 30);
});

test('ids and parameters of an agent', async () => {
  const { wrong, asked } = await tryUrls(node, AGENT_ROUTES);
  expect(wrong).toEqual([]);
  expect(asked).toBeGreaterThan(NAUGHTY.length * 5);
});

describe('an agent', () => {
  test('has no failure by them in a start', async () => {
    const { id: _, replicas: __, labels, placement, secrets: ___, ...spec } = SPEC;
    const body = {
      ...{ ...spec, kind: 'batch', restart: { policy: 'never' } },
      ...{ instanceId: 'naughty.0', uid: 'x', node: 'n1', clusterId: 'x', epoch: 1, session: 1 },
      workload: { labels, placement, createdAt: 'x' },
    };
    const { wrong } = await tryFields(node, { method: 'POST', path: '/start', body, echoes: false }, KEYS);
    expect(wrong).toEqual([]);
    for (const one of [
      { script: '/x' },
      { command: ['x'] },
      { command: ['true'], cwd: '/x' },
      { command: ['true'], user: 'x' },
    ]) {
      const { wrong: more } = await tryFields(node, { method: 'POST', path: '/start', body: one, echoes: false });
      expect(more).toEqual([]);
    }
  });

  test('has no failure by them in a stop or a drill', async () => {
    for (const [path, body] of [
      ['/stop', { instanceId: 'x.0', uid: 'x', clusterId: 'x' }],
      ['/stop', { instances: [{ instanceId: 'x.0', uid: 'x', generation: 1 }] }],
      ['/drill', { kind: 'kill', clusterId: 'x', epoch: 1, session: 1 }],
    ] as const) {
      expect((await tryFields(node, { method: 'POST', path, body, echoes: false })).wrong).toEqual([]);
    }
  });
});

describe('all of them at once', () => {
  const labels = NAUGHTY.filter((text) => text.length <= 255);
  const numbered = (texts: readonly string[]) => Object.fromEntries(texts.map((text, i) => [`N${i}`, text]));

  test('in a workload come back as they are', async () => {
    const placement = { strategy: 'spread', constraints: [{ label: 'zone', op: 'in', values: NAUGHTY }] };
    const spec = {
      ...{ id: 'all', command: ['true', ...NAUGHTY], args: NAUGHTY, env: numbered(NAUGHTY) },
      ...{ labels: numbered(labels), placement },
    };
    const { status } = await scheduler.ask({ method: 'POST', path: '/workloads', body: { ...spec, replicas: 0 } });
    expect(status).toBe(201);
    const told = await scheduler.ask({ method: 'GET', path: '/workloads/all' });
    expect(JSON.parse(told.text)).toMatchObject(spec);
  });

  test('are what a program of a cluster really gets, byte for byte', async () => {
    await cluster.submit({ id: 'args', command: [fixture('print_args')], args: NAUGHTY });
    await cluster.submit({ id: 'env', command: [fixture('print_env')], env: numbered(NAUGHTY) });
    await Promise.all([cluster.untilStatus('args', 'completed'), cluster.untilStatus('env', 'completed')]);
    const output = async (id: string) =>
      Buffer.from(await (await cluster.fetch(`/workloads/${id}/logs`)).arrayBuffer());
    const args = Buffer.from([fixture('print_args'), ...NAUGHTY].map((text) => `${text}\0`).join(''));
    expect((await output('args')).equals(args)).toBe(true);
    const variables = (await output('env')).toString().split('\0');
    for (const [i, text] of NAUGHTY.entries()) expect(variables).toContain(`N${i}=${text}`);
  });

  test('are what a program of an agent alone gets', async () => {
    const alone = await agents.start();
    const started = await alone.start({ command: [fixture('print_args'), ...NAUGHTY], instanceId: 'args.0' });
    expect(started.status).toBe(201);
    await alone.untilStatus('args.0', 'completed');
    const output = Buffer.from(await (await alone.fetch('/instances/args.0/logs')).arrayBuffer());
    const args = Buffer.from([fixture('print_args'), ...NAUGHTY].map((text) => `${text}\0`).join(''));
    expect(output.equals(args)).toBe(true);
  });
});

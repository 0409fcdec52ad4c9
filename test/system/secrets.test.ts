/** A canary secret, set and used by real workloads: it works, through all restarts, and is found nowhere but where it belongs. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Instance } from '../../contract/workload';
import { morch } from '../cli/morch';
import { Cluster, end } from '../support/cluster';
import { memoryOf } from '../support/secretMemory';
import { until } from '../support/until';

const SHARED_MEMORY = '/dev/shm';
const SECONDS = 1_000;

// All that any part has to say goes into its log, which is looked through.
process.env.MORCH_LOG_LEVEL = 'trace';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start(2);
}, 60 * SECONDS);
afterEach(async () => {
  const dataDirs = [...cluster.agents.values()].map(({ dataDir }) => dataDir);
  await cluster.close();
  const left = dataDirs.map(memoryOf).filter((directory) => existsSync(directory));
  for (const directory of left) await rm(directory, { recursive: true });
  // Those whose agents were killed for good.
  expect(left).toEqual(mayBeLeft.splice(0));
}, 60 * SECONDS);

const mayBeLeft: string[] = [];

const SECRETS = [
  { name: 'canary', env: 'CANARY' },
  { name: 'canary', file: 'canary' },
];

/** Uses both, and tells nobody. */
const QUIET = 'test "$CANARY" = "$(cat "$MORCH_SECRETS/canary")" && exec sleep 1000';

async function set(name: string, value: string): Promise<number> {
  return (await cluster.request('PUT', `/secrets/${name}`, { value })).status;
}

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
}

/** In the clear, or as it would be after JSON, base64 or hex. */
function formsOf(canary: string): Buffer[] {
  const bytes = Buffer.from(canary);
  // Of base64 what does not depend on where in the text it stands.
  const shifted = [0, 1, 2].map((at) =>
    Buffer.concat([Buffer.alloc(at), bytes])
      .toString('base64')
      .slice(4, -4),
  );
  return [bytes, ...[bytes.toString('hex'), ...shifted].map((text) => Buffer.from(text))];
}

async function filesWith(canary: string, files: readonly string[]): Promise<string[]> {
  const forms = formsOf(canary);
  const found: string[] = [];
  for (const file of files) {
    const content = await readFile(file).catch(() => Buffer.alloc(0));
    if (forms.some((form) => content.includes(form))) found.push(file);
  }
  return found;
}

async function procFiles(name: 'cmdline' | 'environ'): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry));
  return pids.map((pid) => `/proc/${pid}/${name}`);
}

const only = ({ instances }: { instances: Instance[] }): Instance => instances[0]!;

it(
  'is given as variable and as file, and is nowhere but there',
  async () => {
    const canary = `canary-${randomBytes(24).toString('hex')}`;
    expect(await set('canary', canary)).toBe(201);
    const broken = await cluster.fetch('/secrets/canary', {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: `{"value":${canary}}`,
    });
    expect([broken.status, await broken.text()]).toEqual([400, expect.not.stringContaining(canary)]);
    expect(await set('canary', `${canary}\0`)).toBe(204);
    expect(await set('canary', canary)).toBe(204);
    await cluster.submit({ id: 'quiet', kind: 'service', replicas: 2, command: ['sh', '-c', QUIET], secrets: SECRETS });
    // A start that fails, and a program that fails, are told of in many places.
    await cluster.submit({
      id: 'missing',
      command: ['/nonexistent/program'],
      secrets: SECRETS,
      restart: { policy: 'never' },
    });
    await cluster.submit({
      id: 'fails',
      command: ['sh', '-c', 'exit 3'],
      secrets: SECRETS,
      restart: { policy: 'on-failure', attempts: 3, backoffMs: 10 },
    });
    const { instances } = await cluster.untilRunning('quiet', 2);
    await cluster.untilStatus('missing', 'failed');
    expect((await cluster.untilStatus('fails', 'failed')).attempts).toBe(3);
    // A node is lost with its instance: what is known of that is kept in the black box.
    const lost = instances[0]!.node!;
    await cluster.killNode(lost);
    mayBeLeft.push(memoryOf(cluster.agents.get(lost)!.dataDir));
    const whole = (w: { instances: Instance[] }) => w.instances.every((i) => i.status === 'running' && i.node !== lost);
    const running = (await cluster.untilWorkload('quiet', 'runs elsewhere', whole, 30 * SECONDS)).instances;

    const answers = [
      '/secrets',
      '/workloads',
      '/workloads/quiet',
      '/workloads/quiet/history',
      '/workloads/quiet/blackbox',
    ];
    answers.push('/workloads/quiet/instances', '/workloads/missing', '/nodes', '/health', '/health/summary', '/audit');
    answers.push(
      '/workloads/fails',
      '/workloads/fails/history',
      '/nodes/n1',
      '/nodes/n2',
      '/recovery/metrics',
      '/tokens',
    );
    for (const route of answers) {
      const { status, body } = await cluster.request('GET', route);
      expect(status).toBe(200);
      for (const form of formsOf(canary)) expect(JSON.stringify(body)).not.toContain(form.toString());
    }
    for (const text of [await eventsOf(running.length), ...(await toldByAgentOf(running[0]!))]) {
      expect(text).not.toBe('');
      for (const form of formsOf(canary)) expect(text).not.toContain(form.toString());
    }
    for (const id of ['quiet', 'fails', 'missing']) {
      expect(await (await cluster.fetch(`/workloads/${id}/logs`)).text()).not.toContain(canary);
    }
    const { body } = await cluster.request<{ secrets: object[] }>('GET', '/secrets');
    expect(body.secrets).toEqual([
      { name: 'canary', version: 3, updatedAt: expect.any(String), readable: true, usedBy: ['quiet'] },
    ]);
    const backup = await cluster.fetch('/backup');
    const key = await readFile(path.join(cluster.scheduler.dataDir, 'secret.key'));
    const backupFile = path.join(cluster.directory, 'backup.ndjson');
    await writeFile(backupFile, Buffer.from(await backup.arrayBuffer()));
    expect(await readFile(backupFile, 'utf8')).toContain('["secret/canary",');
    expect(await filesWith(key.toString('latin1'), [backupFile])).toEqual([]);
    expect((await readFile(backupFile)).includes(key)).toBe(false);

    // Everything below all data directories, the logs of all parts, the backup.
    const files = await filesBelow(cluster.directory);
    expect(files.length).toBeGreaterThan(20);
    expect(await filesWith(canary, files)).toEqual([]);
    expect(await filesWith(canary, await procFiles('cmdline'))).toEqual([]);

    const withEnviron = await filesWith(canary, await procFiles('environ'));
    expect(withEnviron.sort()).toEqual(running.map(({ pid }) => `/proc/${pid}/environ`).sort());
    const memory = memoryOf(cluster.agents.get(running[0]!.node!)!.dataDir);
    const kept = await filesWith(canary, await filesBelow(SHARED_MEMORY));
    const ofLost = kept.filter((file) => file.startsWith(mayBeLeft[0]!));
    expect(
      kept
        .filter((file) => !ofLost.includes(file))
        .map((file) => path.basename(file))
        .sort(),
    ).toEqual(['canary', 'canary', 'env.json', 'env.json']);
    for (const file of kept) {
      expect(file.startsWith(memory) || ofLost.includes(file)).toBe(true);
      expect((await lstat(file)).mode & 0o777).toBe(file.endsWith('env.json') ? 0o600 : 0o400);
    }
    await rm(backupFile);
  },
  120 * SECONDS,
);

/** All that there were, as a dashboard hears them. */
async function eventsOf(least: number): Promise<string> {
  const leaving = new AbortController();
  const { body } = await cluster.fetch('/events?since=0', { signal: leaving.signal });
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of body!) {
    text += decoder.decode(chunk, { stream: true });
    // The last of them: it was lost with its node, and runs again.
    if (text.split('instance.started').length > least + 1 && text.includes('node.lost')) break;
  }
  leaving.abort();
  return text;
}

/** What its agent tells whoever has its token: its status, the commands that it keeps. */
async function toldByAgentOf({ node, id }: Instance): Promise<string[]> {
  const { port, dataDir } = cluster.agents.get(node!)!;
  const token = (await readFile(path.join(dataDir, 'agent.token'), 'utf8')).trim();
  const get = async (route: string) =>
    (await fetch(`http://127.0.0.1:${port}${route}`, { headers: { authorization: `Bearer ${token}` } })).text();
  const { clusterId } = JSON.parse(await get('/status')) as { clusterId: string };
  const kept = await get(`/instances?clusterId=${clusterId}`);
  expect(kept).toContain(`"instanceId":"${id}"`);
  return [await get('/status'), kept];
}

/** The variable as the running process has it. */
/** While a process executes another program there are moments in which its environment cannot be read. */
async function valueIn({ pid }: Instance): Promise<string> {
  const prefix = 'CANARY=';
  const find = async () =>
    (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0').find((variable) => variable.startsWith(prefix));
  return (await until(find, { what: `the environment of ${pid} is there` })).slice(prefix.length);
}

const runs = ({ instances: [i] }: { instances: Instance[] }, run: number): boolean =>
  i?.status === 'running' && i.run === run && i.pid !== null;

async function killAndAwaitRun(id: string): Promise<Instance> {
  const before = only(await cluster.untilRunning(id, 1));
  process.kill(before.pid!, 'SIGKILL');
  return only(await cluster.untilWorkload(id, 'runs again', (w) => runs(w, before.run + 1)));
}

it(
  'is waited for, without an attempt, and kept as long as it is needed',
  async () => {
    await cluster.submit({ id: 'web', kind: 'service', command: ['sh', '-c', QUIET], secrets: SECRETS });
    const waiting = await cluster.untilWorkload('web', 'waits', (w) => w.statusReason?.startsWith('secret') === true);
    expect(waiting).toMatchObject({
      status: 'pending',
      statusReason: 'secret canary is not there; it waits for morch secret set canary',
      attempts: 0,
      secrets: SECRETS,
    });
    expect(await set('canary', 'first')).toBe(201);
    expect(only(await cluster.untilRunning('web', 1))).toMatchObject({ attempts: 1, generation: 1 });

    const inUse = await cluster.request('DELETE', '/secrets/canary');
    expect(inUse).toMatchObject({
      status: 409,
      body: { code: 'SECRET_IN_USE', detail: expect.stringContaining('web') },
    });
    const binary = await cluster.request('PUT', '/secrets/canary', { value: 'AAA=', encoding: 'base64' });
    expect(binary).toMatchObject({ status: 409, body: { code: 'NOT_POSSIBLE' } });
    await cluster.request('DELETE', '/workloads/web');
    await cluster.untilStatus('web', 'stopped');
    expect((await cluster.request('DELETE', '/secrets/canary')).status).toBe(204);
    expect(await cluster.request('DELETE', '/secrets/canary')).toMatchObject({
      status: 404,
      body: { code: 'SECRET_NOT_FOUND' },
    });
    await cluster.request('POST', '/workloads/web/restart');
    await cluster.untilWorkload('web', 'waits again', (w) => w.statusReason?.startsWith('secret canary') === true);
  },
  60 * SECONDS,
);

it(
  'outlives agent and scheduler, and is there when a program is restarted without one',
  async () => {
    await set('canary', 'first');
    await cluster.submit({ id: 'web', kind: 'service', command: ['sh', '-c', QUIET], secrets: SECRETS });
    const begun = only(await cluster.untilRunning('web', 1));
    const node = begun.node!;

    await end(cluster.scheduler.child, 'SIGKILL');
    await end(cluster.agents.get(node)!.child, 'SIGKILL');
    await cluster.startAgent(node);
    process.kill(begun.pid!, 'SIGKILL');
    const { port } = cluster.agents.get(node)!;
    const token = (await readFile(path.join(cluster.agents.get(node)!.dataDir, 'agent.token'), 'utf8')).trim();
    await until(
      async () => {
        const headers = { authorization: `Bearer ${token}` };
        const answer = await fetch(`http://127.0.0.1:${port}/status`, { headers }).catch(() => null);
        if (answer === null) return false;
        const { processes } = (await answer.json()) as { processes: { run: number; status: string }[] };
        return processes.some(({ run, status }) => run === 2 && status === 'running');
      },
      { what: 'the agent alone has started it again', timeoutMs: 15 * SECONDS },
    );
    await cluster.startScheduler();
    const again = only(await cluster.untilWorkload('web', 'is known again', (w) => runs(w, 2)));
    expect([await valueIn(again), again.generation]).toEqual(['first', begun.generation]);

    // Another value comes with the next generation, not with a restart in place.
    expect(await set('canary', 'second')).toBe(204);
    expect(await valueIn(await killAndAwaitRun('web'))).toBe('first');
    await cluster.request('POST', '/workloads/web/restart');
    const renewed = await cluster.untilWorkload(
      'web',
      'is renewed',
      (w) => w.instances[0]?.generation === begun.generation + 1 && w.status === 'running',
    );
    expect(await valueIn(only(renewed))).toBe('second');
  },
  90 * SECONDS,
);

it(
  'is given anew by a later generation when it was removed from the memory of its node',
  async () => {
    await set('canary', 'first');
    await cluster.submit({ id: 'web', kind: 'service', command: ['sh', '-c', QUIET], secrets: SECRETS });
    const before = only(await cluster.untilRunning('web', 1));
    for (const { dataDir } of cluster.agents.values()) await rm(memoryOf(dataDir), { recursive: true, force: true });
    process.kill(before.pid!, 'SIGKILL');
    const after = await cluster.untilWorkload(
      'web',
      'runs as a later generation',
      (w) => w.status === 'running' && w.instances[0]!.generation > before.generation,
    );
    expect(await valueIn(only(after))).toBe('first');
  },
  60 * SECONDS,
);

it(
  'cannot be opened with another key file, which is told; what runs goes on, and it can be set anew',
  async () => {
    await set('canary', 'first');
    await cluster.submit({ id: 'web', kind: 'service', command: ['sh', '-c', QUIET], secrets: SECRETS });
    const before = only(await cluster.untilRunning('web', 1));
    const keyFile = path.join(cluster.scheduler.dataDir, 'secret.key');
    expect((await lstat(keyFile)).mode & 0o777).toBe(0o600);
    await end(cluster.scheduler.child, 'SIGKILL');
    const key = await readFile(keyFile);

    await writeFile(keyFile, key.subarray(1));
    await expect(cluster.startScheduler()).rejects.toThrow(/secret\.key is damaged: it has 31 bytes/);
    await writeFile(keyFile, randomBytes(32));
    await cluster.startScheduler();
    await cluster.untilHealthy(2, 30 * SECONDS);
    expect((await cluster.request('GET', '/health')).body).toMatchObject({
      status: 'degraded',
      reasons: expect.arrayContaining([expect.stringContaining('another secret.key')]),
    });
    expect((await cluster.request('GET', '/secrets')).body).toMatchObject({
      secrets: [{ name: 'canary', readable: false, version: 1 }],
    });
    await cluster.submit({ id: 'new', kind: 'service', command: ['sh', '-c', QUIET], secrets: SECRETS });
    const waiting = await cluster.untilWorkload('new', 'waits', (w) => w.statusReason?.startsWith('secret') === true);
    expect(waiting.statusReason).toMatch(/canary cannot be opened: .*another secret\.key/);
    // It could not be started elsewhere, so a drain leaves it where it is.
    await cluster.request('POST', `/nodes/${before.node}/drain`, {});
    await cluster.untilWorkload('web', 'is kept', (w) => w.statusReason?.startsWith('kept on') === true);
    await cluster.request('POST', `/nodes/${before.node}/uncordon`);
    expect(only(await cluster.untilRunning('web', 1))).toMatchObject({ pid: before.pid, run: 1 });

    expect(await set('canary', 'second')).toBe(204);
    expect(await valueIn(only(await cluster.untilRunning('new', 1)))).toBe('second');
    await until(async () => (await cluster.request('GET', '/health')).body.status === 'healthy', {
      what: 'all is well again',
    });
  },
  90 * SECONDS,
);

it(
  'comes back with a backup and the key file',
  async () => {
    await set('canary', 'first');
    const file = path.join(cluster.directory, 'backup.ndjson');
    const answer = await cluster.fetch('/backup');
    await writeFile(file, Buffer.from(await answer.arrayBuffer()));
    const { dataDir } = cluster.scheduler;
    const key = await readFile(path.join(dataDir, 'secret.key'));
    await end(cluster.scheduler.child, 'SIGKILL');
    await rm(dataDir, { recursive: true });
    const restored = await morch(['restore', file, '--data-dir', dataDir]);
    expect(restored).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/1 of them are secrets, .*secret\.key/),
    });
    await writeFile(path.join(dataDir, 'secret.key'), key, { mode: 0o600 });
    await cluster.startScheduler();
    await cluster.untilHealthy(2, 60 * SECONDS);
    await cluster.submit({ id: 'web', kind: 'service', command: ['sh', '-c', QUIET], secrets: SECRETS });
    expect(await valueIn(only(await cluster.untilRunning('web', 1, 60 * SECONDS)))).toBe('first');
  },
  120 * SECONDS,
);

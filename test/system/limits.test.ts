/** Who workloads run as and what bounds them, on a real scheduler and agents; hard limits are tested where there is cgroup v2. */
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { Cluster } from '../support/cluster';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(2, { agentArgs: { allowUsers: isRoot ? ['*'] : [] } });
}, 60_000);
afterAll(() => cluster.close(), 60_000);

const ONCE = { restart: { policy: 'never' } };
const sh = (...lines: string[]) => ['/bin/sh', '-c', lines.join('\n')];
const isRoot = process.geteuid?.() === 0;
const asRoot = isRoot ? it : it.skip;
if (!isRoot)
  process.stderr.write('limits.test.ts: only root can run programs as another user; those tests are skipped\n');

async function outputOf(id: string): Promise<string[]> {
  await cluster.untilStatus(id, 'completed');
  const answer = await cluster.fetch(`/workloads/${id}/logs`);
  return (await answer.text()).trimEnd().split('\n');
}

describe('a workload', () => {
  it('has the limits, the umask and the nice value that it asks for, and no core dumps', async () => {
    const script = sh('ulimit -n', 'ulimit -c', 'ulimit -f', 'umask', 'nice');
    const limits = { openFiles: 123, fileBytes: 2 ** 20 };
    await cluster.submit({ id: 'bounded', command: script, limits, umask: '027', nice: 7, ...ONCE });
    // ulimit -f of dash counts in blocks of 512 bytes.
    expect(await outputOf('bounded')).toEqual(['123', '0', '2048', '0027', '7']);
    await cluster.submit({ id: 'plain', command: script, ...ONCE });
    expect((await outputOf('plain')).slice(1)).toEqual(['0', 'unlimited', '0022', '0']);
  });

  it('that writes a larger file than it may is killed for it, and is told so', async () => {
    const command = sh('exec dd if=/dev/zero of=big bs=64K count=64');
    await cluster.submit({ id: 'big', command, limits: { fileBytes: 2 ** 20 }, ...ONCE });
    const { instances, statusReason } = await cluster.untilStatus('big', 'failed');
    expect(instances[0]!.exit).toMatchObject({ code: null, signal: 'SIGXFSZ', oomKilled: false });
    expect(statusReason).toContain('killed by SIGXFSZ');
  });

  it('tells the pid of its shim, which is the parent of its main process', async () => {
    await cluster.submit({ id: 'held', kind: 'service', command: ['sleep', '1000'] });
    const { instances } = await cluster.untilRunning('held', 1);
    const { pid, shimPid } = instances[0]!;
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    expect(Number(stat.slice(stat.lastIndexOf(')')).split(' ')[2])).toBe(shimPid);
    await cluster.request('DELETE', '/workloads/held');
    const stopped = await cluster.untilStatus('held', 'stopped');
    expect(stopped.instances[0]).toMatchObject({ pid: null, shimPid: null });
  });

  asRoot('runs as the user it names, with their groups, home and a directory that they may write', async () => {
    const script = sh(
      'id -un',
      'id -Gn',
      'echo "$USER $HOME"',
      'touch here && stat -c %U here',
      'grep NoNewPrivs /proc/self/status',
    );
    await cluster.submit({ id: 'other', command: script, user: 'nobody', ...ONCE });
    const [user, groups, environment, owner, privileges] = await outputOf('other');
    const theirs = execFileSync('id', ['-Gn', 'nobody'], { encoding: 'utf8' }).trim();
    expect([user, groups, owner]).toEqual(['nobody', theirs, 'nobody']);
    expect(environment).toMatch(/^nobody \//);
    expect(privileges).toMatch(/\s1$/);
    await cluster.submit({ id: 'numeric', command: sh('id -u', 'id -g'), user: '54321', ...ONCE });
    expect(await outputOf('numeric')).toEqual(['54321', '54321']);
  });

  asRoot('of a user that no node knows is tried on each, then has failed with what to do', async () => {
    const restart = { policy: 'on-failure', attempts: 2, backoffMs: 10 };
    await cluster.submit({ id: 'nobodys', command: ['true'], user: 'no-such-user', restart });
    const { statusReason } = await cluster.untilStatus('nobodys', 'failed');
    expect(statusReason).toMatch(/on node n[12]: that node has no user no-such-user \(ENOENT\)\. Create it there/);
    const tried = (await cluster.history('nobodys')).filter(({ type }) => type === 'instance.placed');
    expect(tried.map(({ node }) => node).sort()).toEqual(['n1', 'n2']);
  });

  it('that asks for what no node here offers waits with the reason, and runs once it asks no more', async () => {
    const spec = { kind: 'service', command: ['sleep', '1000'] };
    await cluster.submit({ id: 'asks', ...spec, limits: { memoryBytes: 2 ** 26, pids: 8 } });
    const lack = 'limits.memory (no cgroup v2 memory controller), limits.pids (no cgroup v2 pids controller)';
    const pending = await cluster.untilWorkload('asks', 'has a reason', ({ statusReason }) => statusReason !== null);
    expect(pending).toMatchObject({
      status: 'pending',
      statusReason: `no node fits (n1, n2: lacks ${lack})`,
      attempts: 0,
    });
    expect((await cluster.request('PUT', '/workloads/asks', spec)).status).toBe(200);
    await cluster.untilRunning('asks', 1);
    await cluster.request('DELETE', '/workloads/asks');
    await cluster.untilStatus('asks', 'stopped');
  });

  it('is replaced by other limits, not by a default that is spelt out', async () => {
    const spec = { kind: 'service', command: ['sleep', '1000'], limits: { openFiles: 64 } };
    await cluster.request('PUT', '/workloads/changed', spec);
    const first = await cluster.untilRunning('changed', 1);
    expect((await cluster.request('PUT', '/workloads/changed', { ...spec, nice: 0, umask: '022' })).body.version).toBe(
      1,
    );
    await cluster.request('PUT', '/workloads/changed', { ...spec, limits: { openFiles: 65 } });
    const second = await cluster.untilWorkload(
      'changed',
      'is replaced',
      (w) => w.instances[0]!.generation === 2 && w.status === 'running',
    );
    expect(second.instances[0]!.pid).not.toBe(first.instances[0]!.pid);
    await cluster.request('DELETE', '/workloads/changed');
    await cluster.untilStatus('changed', 'stopped');
  });
});

it('a node tells its features', async () => {
  const { body } = await cluster.request<{ features: string[] }>('GET', '/nodes/n1');
  expect(body.features).toEqual(isRoot ? ['user', 'secrets'] : ['secrets']);
});

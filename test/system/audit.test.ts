/** The audit log of a real scheduler: who did what from where, and with what result; on a full disk, and over kill -9. */
import { spawnSync } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { WebSocket } from 'ws';
import type { AuditEntry } from '../../contract/audit';
import { morch } from '../cli/morch';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

const SECONDS = 1_000;
const isRoot = process.geteuid?.() === 0;
const testAsRoot = isRoot ? test : test.skip;

let cluster: Cluster;
afterEach(() => cluster.close(), 60 * SECONDS);

async function entries(): Promise<AuditEntry[]> {
  const { status, body } = await cluster.request<{ lines: AuditEntry[] }>('GET', '/audit?limit=1000');
  expect(status).toBe(200);
  return body.lines.reverse();
}

async function tokenOf(role: string): Promise<{ id: string; token: string }> {
  const answer = await cluster.request<{ id: string; token: string }>('POST', '/tokens', { name: `for-${role}`, role });
  expect(answer.status).toBe(201);
  return answer.body;
}

const as = ({ token }: { token: string }) => ({ authorization: `Bearer ${token}` });
const short = ({ who, method, path: route, what, result }: AuditEntry) =>
  [who.name ?? who.kind, method, route, what, result?.status, result?.code].filter((part) => part !== undefined);

test(
  'every change is told with who, what, from where and its result; reads are not',
  async () => {
    cluster = await Cluster.start(1);
    const operator = await tokenOf('operator');
    const reader = await tokenOf('read');
    const before = (await entries()).at(-1)!.seq;

    const canary = 'canary-in-a-body';
    const spec = { command: ['sleep', '1000', canary], env: { X: canary }, kind: 'service' };
    await cluster.request('POST', '/workloads', { id: 'web', ...spec }, as(operator));
    await cluster.request('POST', '/workloads', { id: 'web', ...spec }, as(operator));
    await cluster.request('GET', '/workloads', undefined, as(operator));
    await cluster.request('POST', '/health/check', undefined, as(reader));
    await cluster.request('PUT', '/secrets/db', { value: canary }, as(operator));
    await cluster.request('POST', '/workloads/web/scale', { replicas: 2 }, as(reader));
    await cluster.request('GET', '/audit', undefined, as(operator));
    await cluster.request('DELETE', '/workloads/web?purge=true', undefined, as(operator));
    const socket = new WebSocket(`${cluster.url.replace('http', 'ws')}/events?token=${canary}`);
    await new Promise((resolve) => socket.once('error', resolve));
    // Alike, so counted.
    await fetch(`${cluster.url}/workloads?token=${canary}`, { method: 'POST' });

    await until(async () => (await entries()).length >= before + 11, { what: 'all are told' });
    const told = (await entries()).filter(({ seq }) => seq > before);
    expect(told.map(short)).toEqual([
      ['for-operator', 'POST', '/workloads', 'id=web kind=service command=sleep'],
      ['for-operator', 'POST', '/workloads', 'id=web', 201],
      ['for-operator', 'POST', '/workloads', 'id=web kind=service command=sleep'],
      ['for-operator', 'POST', '/workloads', null, 409, 'WORKLOAD_EXISTS'],
      ['for-operator', 'PUT', '/secrets/db', null],
      ['for-operator', 'PUT', '/secrets/db', null, 201],
      ['for-read', 'POST', '/workloads/web/scale', null, 403, 'FORBIDDEN'],
      ['for-operator', 'GET', '/audit', null, 403, 'FORBIDDEN'],
      ['for-operator', 'DELETE', '/workloads/web', 'purge=true'],
      ['for-operator', 'DELETE', '/workloads/web', 'id=web', 202],
      ['anonymous', 'GET', '/events', null, 401, 'UNAUTHENTICATED'],
    ]);
    for (const { from } of told) expect(from).toBe('127.0.0.1');
    expect(told[0]!.who).toEqual({ kind: 'token', id: operator.id, name: 'for-operator', role: 'operator' });
    expect(told[1]!.result).toEqual({ status: 201, of: told[0]!.seq });
    // Neither what was in bodies, nor any token.
    const text = await readFile(path.join(cluster.scheduler.dataDir, 'audit.log'), 'utf8');
    for (const secret of [canary, operator.token, reader.token, cluster.tokens.admin]) {
      expect(text).not.toContain(secret.slice(-40));
    }
    // The node came in with the join token.
    expect((await entries()).map(short)).toContainEqual([
      'join.token',
      'POST',
      '/nodes',
      expect.stringMatching(/^name=n1 host=127\.0\.0\.1 port=\d+$/),
    ]);

    const tail = await morch(['audit', 'tail', '-n', '3'], { env: cluster.env });
    expect(tail).toMatchObject({ exitCode: 0, stderr: '' });
    expect(tail.stdout.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/for-operator \(operator\) from 127\.0\.0\.1: DELETE \/workloads\/web purge=true$/),
      expect.stringMatching(/: DELETE \/workloads\/web id=web -> 202 \(of \d+\)$/),
      expect.stringMatching(/anonymous from 127\.0\.0\.1: GET \/events -> 401 UNAUTHENTICATED$/),
    ]);
    // While it runs.
    const verified = await morch(['audit', 'verify', '--data-dir', cluster.scheduler.dataDir]);
    expect(verified).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^unbroken: seq 1 to \d+/),
      stderr: '',
    });
  },
  60 * SECONDS,
);

test(
  'a thousand refused requests are two lines',
  async () => {
    cluster = await Cluster.start(0);
    const before = (await entries()).length;
    // More within a second than are taken of strangers are not looked at, nor told.
    let refused = 0;
    while (refused < 1_000) {
      const asked = Array.from({ length: 50 }, () => fetch(`${cluster.url}/workloads/w`, { method: 'DELETE' }));
      refused += (await Promise.all(asked)).filter(({ status }) => status === 401).length;
    }
    expect((await entries()).length).toBe(before + 1);
    await end(cluster.scheduler.child, 'SIGTERM');
    await cluster.startScheduler();
    expect((await entries()).map(({ what }) => what)).toContain(`the last of ${refused - 1} more like it within 60 s`);
  },
  60 * SECONDS,
);

test(
  'a scheduler that is killed in the middle leaves a chain that holds, and every change that it told of',
  async () => {
    cluster = await Cluster.start(0);
    const acknowledged: string[] = [];
    for (let round = 0; round < 5; round += 1) {
      let stop = false;
      const client = async (n: number): Promise<void> => {
        for (let i = 0; !stop; i += 1) {
          const name = `s${round}.c${n}.n${i}`;
          const status = await cluster.request('PUT', `/secrets/${name}`, { value: 'x' }).then(
            (answer) => answer.status,
            () => null,
          );
          if (status === 201) acknowledged.push(name);
        }
      };
      const clients = Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map(client));
      const reached = acknowledged.length + 40 + 13 * round;
      await until(() => acknowledged.length > reached, { what: 'it is busy', timeoutMs: 20 * SECONDS });
      await end(cluster.scheduler.child, 'SIGKILL');
      stop = true;
      await clients;
      const verified = await morch(['audit', 'verify', '--data-dir', cluster.scheduler.dataDir]);
      expect(verified).toMatchObject({ exitCode: 0, stderr: '', stdout: expect.stringContaining('unbroken') });
      await cluster.startScheduler();
    }
    const text = await readFile(path.join(cluster.scheduler.dataDir, 'audit.log'), 'utf8');
    const told = new Set([...text.matchAll(/"path":"\/secrets\/([^"]+)"/g)].map(([, name]) => name));
    expect(acknowledged.filter((name) => !told.has(name))).toEqual([]);
    // And what is in the store was told before, acknowledged or not.
    const stored: string[] = [];
    let cursor = '';
    do {
      const { body } = await cluster.request<{ secrets: { name: string }[]; nextCursor: string | null }>(
        'GET',
        `/secrets?limit=1000${cursor}`,
      );
      stored.push(...body.secrets.map(({ name }) => name));
      cursor = body.nextCursor === null ? '' : `&cursor=${body.nextCursor}`;
    } while (cursor !== '');
    expect(stored.length).toBeGreaterThanOrEqual(acknowledged.length);
    expect(stored.filter((name) => !told.has(name))).toEqual([]);
  },
  120 * SECONDS,
);

test(
  'one that was changed is told by the command, with file and line',
  async () => {
    cluster = await Cluster.start(0);
    await cluster.request('PUT', '/secrets/a', { value: 'x' });
    await end(cluster.scheduler.child, 'SIGTERM');
    const file = path.join(cluster.scheduler.dataDir, 'audit.log');
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('/secrets/a', '/secrets/b'));
    const line = text.slice(0, text.indexOf('/secrets/a')).split('\n').length;
    const { exitCode, stdout, stderr } = await morch(['audit', 'verify', '--data-dir', cluster.scheduler.dataDir]);
    expect([exitCode, stdout]).toEqual([1, '']);
    expect(stderr).toContain(`${file}: line ${line}: it was changed after it was written`);
    expect(await morch(['audit', 'verify', '--data-dir', path.join(cluster.directory, 'no')])).toMatchObject({
      exitCode: 4,
      stderr: expect.stringContaining('Cannot read'),
    });
  },
  60 * SECONDS,
);

test(
  'one that was removed under the scheduler is told by the command, until it is told from where to check',
  async () => {
    cluster = await Cluster.start(0);
    const { dataDir } = cluster.scheduler;
    await cluster.request('PUT', '/secrets/a', { value: 'x' });
    await rm(path.join(dataDir, 'audit.log'));
    await cluster.request('PUT', '/secrets/b', { value: 'x' });
    const verify = (...flags: string[]) => morch(['audit', 'verify', '--data-dir', dataDir, ...flags]);
    const { exitCode, stdout, stderr } = await verify();
    expect([exitCode, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(
      /audit\.log: line 1: by the scheduler's own word, .* had been written: it was cut or changed/,
    );
    const [, from] = /--from (\d+)/.exec(stderr)!;
    expect(await verify('--from', from!)).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(new RegExp(`^unbroken: seq ${from} to `)),
    });
  },
  60 * SECONDS,
);

testAsRoot(
  'a full disk refuses changes only, until there is room',
  async () => {
    const disk = path.join('/tmp', `morch-audit-disk-${process.pid}`);
    spawnSync('mkdir', [disk]);
    expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=128k,mode=0700', 'morch-audit', disk]).status).toBe(0);
    try {
      cluster = await Cluster.start(1, { schedulerArgs: { auditDir: disk } });
      await cluster.submit({ id: 'web', kind: 'service', command: ['sleep', '1000'] });
      const { instances } = await cluster.untilRunning('web', 1);
      const filling = path.join(disk, 'filling');
      await writeFile(filling, Buffer.alloc(128 * 1024)).catch(() => undefined);
      const refused = await until(
        async () => {
          const answer = await cluster.request('PUT', '/secrets/a', { value: 'x' });
          return answer.status === 507 ? answer : null;
        },
        { what: 'the disk is full' },
      );
      expect(refused.body).toMatchObject({ code: 'AUDIT_UNWRITABLE', detail: expect.stringContaining('ENOSPC') });
      for (const [method, route, body] of [
        ['POST', '/workloads', { command: ['true'] }],
        ['DELETE', '/workloads/web', undefined],
        ['POST', '/nodes/n1/cordon', undefined],
        ['POST', '/tokens', { name: 'x', role: 'read' }],
      ] as const) {
        expect((await cluster.request(method, route, body)).status).toBe(507);
      }
      expect((await cluster.request<{ schedulable: boolean }>('GET', '/nodes/n1')).body.schedulable).toBe(true);
      expect((await cluster.request('GET', '/audit')).status).toBe(200);
      expect((await cluster.request('GET', '/health')).body).toMatchObject({
        status: 'degraded',
        reasons: [expect.stringContaining('the audit log cannot be written')],
      });
      // What keeps workloads running goes on.
      process.kill(instances[0]!.pid!, 'SIGKILL');
      await cluster.untilWorkload('web', 'runs again', (w) => w.instances[0]?.run === 2 && w.status === 'running');

      await rm(filling);
      await until(async () => (await cluster.request('GET', '/health')).body.status === 'healthy', {
        what: 'it is written again',
      });
      expect((await cluster.request('POST', '/nodes/n1/cordon')).status).toBe(200);
      expect((await entries()).map(({ what }) => what)).toContainEqual(
        expect.stringMatching(/^could not be written from/),
      );
      expect(await morch(['audit', 'verify', '--data-dir', disk])).toMatchObject({ exitCode: 0 });
    } finally {
      await end(cluster.scheduler.child, 'SIGTERM');
      spawnSync('umount', [disk]);
      await rm(disk, { recursive: true });
    }
  },
  60 * SECONDS,
);

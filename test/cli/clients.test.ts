/**
 * The verbs that talk to a scheduler, run as real processes. Most of the answers come from fakeScheduler.ts, which
 * says why.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parse } from 'yaml';
import { MorchError } from '../../contract/errors';
import { until } from '../support/until';
import { FakeScheduler } from './fakeScheduler';
import { MAIN, morch as run, startMorch } from './morch';
import { aNode, anInstance, aWorkload } from './samples';

const scheduler = new FakeScheduler();
const folder = mkdtempSync(path.join(tmpdir(), 'morch-cli-'));
const env = () => ({ MORCH_ADDRESS: scheduler.address });
const morch = (...args: string[]) => run(args, { env: env(), cwd: folder });

beforeAll(() => scheduler.start());
beforeEach(() => scheduler.reset());
afterAll(async () => {
  await scheduler.stop();
  rmSync(folder, { recursive: true });
});

function script(name: string, mode = 0o755): string {
  const file = path.join(folder, name);
  writeFileSync(file, '#!/bin/sh\n');
  chmodSync(file, mode);
  return file;
}

/** Accepts any submission as a workload that runs. */
function acceptSubmissions(): void {
  scheduler.handlers.set('POST /workloads', ({ body }) => {
    const workload = aWorkload((body as { id?: string }).id ?? 'job', { node: 'n1', pid: 1, instances: [] });
    scheduler.workloads.set(workload.id, workload);
    return workload;
  });
}

test('a token is not sent in the clear to another machine', async () => {
  // No name of a machine, and never looked up.
  const address = { MORCH_ADDRESS: 'http://scheduler.invalid:5000' };
  for (const args of [['nodes'], ['token', 'list'], ['stop', 'web']]) {
    const refused = await run(args, { env: { ...address, MORCH_TOKEN: 'morch_admin_0_x' } });
    expect(refused).toMatchObject({ exitCode: 4, stdout: '', stderr: expect.stringContaining('in the clear') });
    expect(refused.stderr).toContain('https://');
    expect(refused.stderr).not.toContain('morch_admin_0_x');
  }
});

describe('usage', () => {
  test('is printed for no verb at all, and for --help', async () => {
    const [bare, help] = await Promise.all([run([]), run(['--help'])]);
    expect(bare).toMatchObject({ exitCode: 0, stderr: '' });
    expect(help).toMatchObject({ exitCode: 0, stdout: bare.stdout });
    expect(help.stdout).toContain('submit');
  });

  test('has an example for every verb, and a description for every flag', async () => {
    const { stdout } = await run(['--help']);
    const verbs = [...stdout.matchAll(/^ {2}([a-z]+) .*\S/gm)].map(([, verb = '']) => verb);
    const due =
      'scheduler agent dev status nodes workloads submit stop health recovery check describe logs events wait';
    expect(verbs.filter((verb) => verb !== 'help').sort()).toEqual(
      `${due} restart scale drain cordon uncordon history drill blackbox backup restore token context secret audit`
        .split(' ')
        .sort(),
    );
    for (const verb of verbs.filter((name) => name !== 'help')) {
      const help = await run([verb, '--help']);
      expect(help.exitCode).toBe(0);
      expect(help.stdout).toMatch(/Examples?:\n {2}\$ morch /);
      for (const [, flag, description] of help.stdout.matchAll(/^ {2}((?:-\w, )?--[\w-]+(?: <\S+>)?)(.*)/gm)) {
        expect(`${flag}${description}`).toMatch(/ {2}\S/);
      }
    }
  }, 60_000);

  test('names the variable of every flag of the parts', async () => {
    for (const part of ['scheduler', 'agent', 'dev']) {
      const { stdout } = await run([part, '--help']);
      const own = stdout.split('Global Options')[0]?.replace(/\n {10,}/g, ' ') ?? '';
      for (const [line, flag = ''] of own.matchAll(/^ +--([a-z-]+).*$/gm)) {
        expect(line).toContain(`MORCH_${flag.toUpperCase().replaceAll('-', '_')}`);
      }
    }
  });

  test('wrong is exit code 4 and names the nearest', async () => {
    const [verb, flag, value, missing] = await Promise.all([
      run(['statsu']),
      run(['nodes', '--qiet']),
      run(['dev', '--port', '70000']),
      run(['wait']),
    ]);
    expect(verb).toMatchObject({ exitCode: 4, stdout: '' });
    expect(verb.stderr).toContain('Did you mean status?');
    expect(flag).toMatchObject({ exitCode: 4, stdout: '' });
    expect(flag.stderr).toContain('--quiet');
    expect(value.stderr).toContain("'--port <port>'");
    expect([value.exitCode, missing.exitCode]).toEqual([4, 4]);
  });

  test('--version is that of the package', async () => {
    const { stdout } = await run(['--version']);
    expect(stdout.trim()).toBe((require('../../package.json') as { version: string }).version);
  });

  test.each(['scheduler', 'agent'])('%s refuses to listen where others could reach it and ask nobody', async (part) => {
    const { exitCode, stderr } = await run([part, '--host', '0.0.0.0', '--no-auth', '--data-dir', folder]);
    expect(exitCode).toBe(4);
    expect(stderr).toContain('--no-auth is for loopback addresses only');
  });
});

describe('reaching the scheduler', () => {
  test('nobody there is exit code 5, with the address and what to do', async () => {
    const { exitCode, stdout, stderr } = await run(['nodes', '--address', '127.0.0.1:1']);
    expect({ exitCode, stdout }).toEqual({ exitCode: 5, stdout: '' });
    expect(stderr).toContain('http://127.0.0.1:1: connection refused');
    expect(stderr).toContain('morch dev');
  });

  test('the address may come before or after the verb, and wins over the variable', async () => {
    const wrong = { MORCH_ADDRESS: '127.0.0.1:1' };
    const results = await Promise.all([
      run(['--address', scheduler.address, 'nodes'], { env: wrong }),
      run(['nodes', '--address', scheduler.address], { env: wrong }),
    ]);
    expect(results.map((result) => result.exitCode)).toEqual([0, 0]);
  });

  test('what is no scheduler is said to be none', async () => {
    scheduler.handlers.set('GET /nodes', (_, response) => void response.end('<html>'));
    const { exitCode, stderr } = await morch('nodes');
    expect(exitCode).toBe(1);
    expect(stderr).toContain('does not seem to be a morch scheduler');
  });

  test.each([
    ['INVALID_INPUT', 4],
    ['NOT_POSSIBLE', 1],
    ['SHUTTING_DOWN', 5],
    ['STORE_UNWRITABLE', 1],
  ] as const)('a problem answer %s is exit code %d with its detail', async (code, exitCode) => {
    scheduler.handlers.set('GET /nodes', () => {
      throw new MorchError(code, 'because of the test');
    });
    expect(await morch('nodes')).toMatchObject({ exitCode, stdout: '', stderr: 'morch: because of the test\n' });
  });
});

describe('lists', () => {
  beforeEach(() => {
    for (const id of ['a', 'b', 'c', 'd', 'e']) scheduler.workloads.set(id, aWorkload(id, { labels: { app: id } }));
    scheduler.nodes.set('n1', aNode('n1'));
    scheduler.nodes.set('n2', aNode('n2', { status: 'lost', statusReason: 'silent', lastContactAt: null }));
  });

  test('hold all pages', async () => {
    const { stdout, exitCode } = await morch('workloads', '-q');
    expect({ stdout, exitCode }).toEqual({ stdout: 'a\nb\nc\nd\ne\n', exitCode: 0 });
  });

  test('larger than a pipe holds arrive whole', async () => {
    for (let i = 0; i < 400; i += 1)
      scheduler.workloads.set(`w${i}`, aWorkload(`w${i}`, { labels: { text: 'x'.repeat(200) } }));
    // A pipe of the shell; the one that Node makes for a child is a socket.
    const piped = `"${process.execPath}" "${MAIN}" --address ${scheduler.address} workloads -o json | cat`;
    const child = spawn('/bin/sh', ['-c', piped], { stdio: ['ignore', 'pipe', 'inherit'] });
    const chunks: Buffer[] = [];
    for await (const chunk of child.stdout) chunks.push(chunk as Buffer);
    expect(JSON.parse(Buffer.concat(chunks).toString())).toHaveLength(405);
  });

  test('are printed in every format', async () => {
    const [table, wide, bare, json, yaml, name] = await Promise.all(
      [['-o', 'table'], ['-o', 'wide'], ['--no-headers'], ['-o', 'json'], ['-o', 'yaml'], ['-o', 'name']].map((args) =>
        morch('nodes', ...args),
      ),
    );
    expect(table?.stdout).toMatch(/^NODE +STATUS/);
    expect(table?.stdout).toMatch(/^n2 +lost .* silent$/m);
    expect(wide?.stdout).toContain('127.0.0.1:5001');
    expect(bare?.stdout).toMatch(/^n1 +healthy/);
    expect(JSON.parse(json?.stdout ?? '')).toEqual([...scheduler.nodes.values()]);
    expect(parse(yaml?.stdout ?? '')).toEqual([...scheduler.nodes.values()]);
    expect(name?.stdout).toBe('node/n1\nnode/n2\n');
  });

  test('pass their filters on', async () => {
    await morch('workloads', '--status', 'running', '--node', 'n1', '--label', 'app=a');
    expect(scheduler.seen[0]?.url).toBe('/workloads?limit=1000&status=running&node=n1&label=app%3Da');
  });

  test('that are empty say so on stderr and are no failure', async () => {
    scheduler.reset();
    expect(await morch('nodes')).toMatchObject({ exitCode: 0, stdout: '', stderr: 'no nodes\n' });
    expect(await morch('workloads', '-o', 'json')).toMatchObject({ exitCode: 0, stdout: '[]\n', stderr: '' });
  });

  test('are watched by appending what changes, until Ctrl-C', async () => {
    const { child, output, ended } = startMorch(['workloads', '-w'], { env: env() });
    await until(() => output.stdout.includes('\ne '), { what: 'the list is printed' });
    scheduler.workloads.set('c', aWorkload('c', { status: 'failed', counts: { failed: 1 } }));
    scheduler.workloads.delete('e');
    await until(() => output.stderr.includes('workload e is gone'), { what: 'the change is printed' });
    child.kill('SIGINT');
    const { exitCode, stdout } = await ended;
    expect(exitCode).toBe(0);
    expect(stdout.trimEnd().split('\n').slice(6)).toEqual([expect.stringMatching(/^c +batch +failed/)]);
  });
});

describe('ids', () => {
  beforeEach(() => {
    for (const id of ['web', 'web-2', 'worker']) scheduler.workloads.set(id, aWorkload(id, { instances: [] }));
    scheduler.nodes.set('n1', aNode('n1'));
  });
  const wait = async (id: string) => {
    const { exitCode, stderr } = await morch('wait', id, '--for', 'running');
    return { exitCode, stderr };
  };

  test('may be a unique beginning, and what -o name prints', async () => {
    expect(await wait('wo')).toMatchObject({ exitCode: 0, stderr: expect.stringContaining('worker: running') });
    expect(await wait('web')).toMatchObject({ exitCode: 0, stderr: expect.stringContaining('web: running') });
    expect(await wait('workload/web-2')).toMatchObject({ exitCode: 0 });
  });

  test('of several are exit code 4 with the candidates', async () => {
    expect(await wait('we')).toEqual({ exitCode: 4, stderr: expect.stringContaining('web, web-2') });
  });

  test('of none are exit code 3 with the nearest', async () => {
    expect(await wait('wroker')).toEqual({ exitCode: 3, stderr: expect.stringContaining('did you mean "worker"?') });
    const node = await morch('cordon', 'm1');
    expect(node).toMatchObject({ exitCode: 3, stderr: expect.stringContaining('did you mean "n1"?') });
    const any = await morch('describe', 'n2');
    expect(any).toMatchObject({ exitCode: 3, stderr: expect.stringContaining('did you mean "n1"?') });
  });

  test('with a slash in them reach no other route', async () => {
    expect(await wait('web/logs')).toMatchObject({ exitCode: 3 });
    expect(scheduler.seen[0]?.url).toBe('/workloads/web%2Flogs');
  });
});

describe('submit', () => {
  test('prints the id on stdout and where it went on stderr', async () => {
    acceptSubmissions();
    script('job.sh');
    const result = await morch('submit', 'job.sh', '--name', 'job', 'one', '--', '--two');
    expect(result).toMatchObject({ exitCode: 0, stdout: 'job\n', stderr: 'job: running (on n1)\n' });
    expect(scheduler.seen[0]?.body).toEqual({ id: 'job', script: path.join(folder, 'job.sh'), args: ['one', '--two'] });
  });

  test('says why it is pending, and is no failure', async () => {
    scheduler.handlers.set('POST /workloads', () => {
      const instances = [
        anInstance('job.0', { status: 'pending', statusReason: 'no node fits', node: null, pid: null }),
      ];
      const workload = aWorkload('job', { status: 'pending', counts: { pending: 1 }, instances });
      scheduler.workloads.set('job', workload);
      return workload;
    });
    const result = await morch('submit', '--command', '--', 'sleep', '60');
    expect(result).toMatchObject({ exitCode: 0, stdout: 'job\n', stderr: 'job: pending (no node fits)\n' });
    expect(scheduler.seen[0]?.body).toEqual({ command: ['sleep', '60'] });
  });

  test('repeats a submission whose answer was lost, under the same key', async () => {
    let lost = 0;
    acceptSubmissions();
    const accept = scheduler.handlers.get('POST /workloads');
    scheduler.handlers.set('POST /workloads', (seen, response) => {
      const body = accept?.(seen, response);
      if (lost === 2) return body;
      lost += 1;
      return void response.destroy();
    });
    const result = await morch('submit', '-q', '--command', 'true');
    expect(result).toMatchObject({ exitCode: 0, stdout: 'job\n' });
    expect(result.stderr).toContain('Trying again');
    const keys = scheduler.seen.map((seen) => seen.headers['idempotency-key']);
    expect(keys).toHaveLength(3);
    expect(new Set(keys).size).toBe(1);
    expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/);
  });

  test('of a missing file, a folder or one without a run bit is exit code 4 before anything is sent', async () => {
    script('plain.sh', 0o644);
    const [missing, directory, plain] = await Promise.all([
      morch('submit', 'missing.sh'),
      morch('submit', '.'),
      morch('submit', 'plain.sh'),
    ]);
    expect([missing?.exitCode, directory?.exitCode, plain?.exitCode]).toEqual([4, 4, 4]);
    expect(missing.stderr).toContain(`${path.join(folder, 'missing.sh')}: there is no such file`);
    expect(directory.stderr).toContain('is not a file');
    expect(plain.stderr).toContain('chmod +x plain.sh');
    expect(scheduler.seen).toEqual([]);
  });

  test('takes limits and a user as people write them, and refuses what cannot be', async () => {
    acceptSubmissions();
    const flags = ['--user', 'nobody', '--limit-cpu', '0.5', '--limit-memory', '512MiB', '--limit-pids', '64'];
    expect(await morch('submit', '-q', '--command', ...flags, '--nice', '-5', '--umask', '077', 'true')).toMatchObject({
      exitCode: 0,
    });
    const limits = { cpuMillis: 500, memoryBytes: 2 ** 29, pids: 64 };
    expect(scheduler.seen[0]?.body).toEqual({ command: ['true'], user: 'nobody', limits, nice: -5, umask: '077' });
    const refused = await morch('submit', '--command', '--user', 'No Body', 'true');
    expect(refused).toMatchObject({ exitCode: 4, stderr: expect.stringContaining('"No Body" must be a login name') });
  });

  test('shows each thing that is wrong with the input', async () => {
    const refuse = (...pointers: string[]) => {
      const errors = pointers.map((pointer) => ({ pointer, message: 'is wrong' }));
      scheduler.handlers.set('POST /workloads', () => {
        throw new MorchError('INVALID_INPUT', 'The body is not valid', { errors });
      });
      return morch('submit', '--command', 'true');
    };
    expect(await refuse('/replicas', '/id')).toMatchObject({
      exitCode: 4,
      stderr: 'morch: 2 flags are not valid:\n  --replicas: is wrong\n  --name: is wrong\n',
    });
    expect(await refuse('/limits/memoryBytes')).toMatchObject({ stderr: 'morch: --limit-memory: is wrong\n' });
    scheduler.handlers.set('GET /workloads', () => {
      const errors = [{ pointer: '/label', message: 'is wrong' }];
      throw new MorchError('INVALID_INPUT', 'The query is not valid', { errors });
    });
    expect(await morch('workloads', '--label', 'a b=c')).toMatchObject({ stderr: 'morch: --label: is wrong\n' });
    expect(await refuse('/later', '/id')).toMatchObject({
      stderr: 'morch: The body is not valid\n  /later: is wrong\n  /id: is wrong\n',
    });
  });

  test('with --wait ends with the exit code of the workload', async () => {
    acceptSubmissions();
    const { child: _, output, ended } = startMorch(['submit', '--wait', '--command', 'true'], { env: env() });
    await until(() => output.stderr.includes('job: running'), { what: 'progress is shown' });
    const exit = { code: null, signal: 'SIGSEGV', at: '2026-01-01T00:00:00.000Z', oomKilled: false };
    const instances = [anInstance('job.0', { status: 'failed', exit })];
    scheduler.workloads.set('job', aWorkload('job', { status: 'failed', counts: { failed: 1 }, instances }));
    expect(await ended).toMatchObject({ exitCode: 139, stdout: 'job\n' });
  });
});

describe('describe', () => {
  test('shows who a workload runs as, what bounds it, and what it died of', async () => {
    const exit = { code: null, signal: 'SIGKILL', at: '2026-01-01T00:00:00.000Z', oomKilled: true };
    const limits = { cpuMillis: 500, memoryBytes: 2 ** 29, pids: 64, fileBytes: 2 ** 30 };
    const instances = [anInstance('job.0', { shimPid: 815, exit }), anInstance('job.1', { shimPid: null })];
    const secrets = [
      { name: 'db.password', env: 'DB_PASSWORD' },
      { name: 'tls.key', file: 'server.key' },
    ];
    const spec = { user: 'www-data', limits, nice: 5, umask: '027', secrets };
    scheduler.workloads.set('job', aWorkload('job', { ...spec, instances }));
    const { stdout } = await morch('describe', 'job');
    expect(stdout).toMatch(/^user: +www-data$/m);
    expect(stdout).toMatch(/^limits: +0.5 cores, 512MiB memory, 64 processes, files of 1GiB$/m);
    expect(stdout).toMatch(/^secrets: +db\.password as DB_PASSWORD, tls\.key as file server\.key$/m);
    expect(stdout).toMatch(/^nice: +5$/m);
    expect(stdout).toMatch(/^umask: +027$/m);
    expect(stdout).toMatch(/^INSTANCE .* PID +SHIM +GENERATION/m);
    expect(stdout).toMatch(/^job\.0 .* 4711 +815 .* SIGKILL \(out of memory\)/m);
    expect(stdout).toMatch(/^job\.1 .* 4711 +- /m);
  });

  test('leaves out what a workload does not ask for, and shows what a node offers', async () => {
    scheduler.workloads.set('job', aWorkload('job', {}));
    expect((await morch('describe', 'job')).stdout).not.toMatch(/^(user|limits|nice|umask|secrets):/m);
    scheduler.nodes.set('n1', aNode('n1', { features: ['cgroup', 'limits.memory'] }));
    expect((await morch('nodes', '-o', 'wide')).stdout).toMatch(/FEATURES.*\n.* cgroup,limits\.memory/);
  });
});

describe('wait', () => {
  test.each([
    [{ pending: 1 }, 2],
    [{ backoff: 1 }, 1],
  ])('times out with %o as %d', async (counts, exitCode) => {
    scheduler.workloads.set('job', aWorkload('job', { status: 'pending', counts }));
    const result = await morch('wait', 'job', '--timeout', '150ms');
    expect(result).toMatchObject({ exitCode, stdout: '', stderr: expect.stringContaining('after 150ms') });
  });

  test('is 143 for a workload that is stopped and removed meanwhile', async () => {
    scheduler.workloads.set('job', aWorkload('job', {}));
    const { output, ended } = startMorch(['wait', 'job'], { env: env() });
    await until(() => output.stderr.includes('running'), { what: 'progress is shown' });
    scheduler.workloads.delete('job');
    expect(await ended).toMatchObject({ exitCode: 143 });
  });

  test('survives a scheduler that is away for a moment', async () => {
    scheduler.workloads.set('job', aWorkload('job', {}));
    const { output, ended } = startMorch(['wait', 'job'], { env: env() });
    await until(() => output.stderr.includes('running'), { what: 'progress is shown' });
    scheduler.handlers.set('GET /workloads/job', (_, response) => void response.destroy());
    await until(() => output.stderr.includes('does not answer'), { what: 'the outage is noticed' });
    scheduler.workloads.set('job', aWorkload('job', { status: 'completed', counts: { completed: 1 } }));
    scheduler.handlers.clear();
    expect(await ended).toMatchObject({ exitCode: 0 });
  });
});

describe('verbs that change something', () => {
  test('stop waits until the workload has stopped', async () => {
    scheduler.workloads.set('web', aWorkload('web', {}));
    scheduler.handlers.set('DELETE /workloads/web', () => {
      const stopping = aWorkload('web', { status: 'stopping', counts: { stopping: 1 } });
      scheduler.workloads.set('web', stopping);
      return stopping;
    });
    const { output, ended } = startMorch(['stop', 'web'], { env: env() });
    await until(() => output.stderr.includes('web: stopping'), { what: 'progress is shown' });
    scheduler.workloads.set('web', aWorkload('web', { status: 'stopped', counts: { stopped: 1 } }));
    expect(await ended).toMatchObject({ exitCode: 0, stdout: '', stderr: expect.stringContaining('web: stopped') });
  });

  test('stop --purge waits until the record is gone', async () => {
    scheduler.workloads.set('web', aWorkload('web', { status: 'stopped', counts: {} }));
    scheduler.handlers.set('DELETE /workloads/web', () => scheduler.workloads.get('web'));
    const { output, ended } = startMorch(['stop', '--purge', 'web'], { env: env() });
    await until(() => output.stderr.includes('web: stopped'), { what: 'progress is shown' });
    expect(scheduler.seen.at(1)?.url).toBe('/workloads/web?purge=true');
    scheduler.workloads.delete('web');
    expect(await ended).toMatchObject({ exitCode: 0 });
  });

  test('do not wait with --no-wait', async () => {
    const web = aWorkload('web', { instances: [anInstance('web.0', {})] });
    scheduler.workloads.set('web', web);
    scheduler.nodes.set('n1', aNode('n1'));
    for (const key of ['DELETE /workloads/web', 'POST /workloads/web/restart', 'POST /workloads/web/scale']) {
      scheduler.handlers.set(key, () => web);
    }
    scheduler.handlers.set('POST /nodes/n1/drain', () => aNode('n1', { drain: 'draining' }));
    const results = await Promise.all([
      morch('stop', 'web', '--no-wait'),
      morch('restart', 'web', '--no-wait'),
      morch('scale', 'web', '3', '--no-wait'),
      morch('drain', 'n1', '--no-wait', '--deadline', '10m'),
    ]);
    expect(results.map((result) => result.exitCode)).toEqual([0, 0, 0, 0]);
    const bodies = new Map(scheduler.seen.map(({ url, body }) => [url, body]));
    expect(bodies.get('/workloads/web/scale')).toEqual({ replicas: 3 });
    expect(bodies.get('/nodes/n1/drain')).toEqual({ deadlineMs: 600_000 });
  });

  test('drain waits until the node is empty, and fails when the drain is ended', async () => {
    for (const [drain, exitCode] of [
      ['drained', 0],
      ['none', 1],
    ] as const) {
      scheduler.nodes.set('n1', aNode('n1', { drain: 'draining', schedulable: false }));
      scheduler.handlers.set('POST /nodes/n1/drain', () => scheduler.nodes.get('n1'));
      const { output, ended } = startMorch(['drain', 'n1'], { env: env() });
      await until(() => output.stderr.includes('n1: draining, 1 left'), { what: 'progress is shown' });
      scheduler.nodes.set('n1', aNode('n1', { drain }));
      expect(await ended).toMatchObject({ exitCode });
    }
  });

  test('drain tells what it waits for: of what a daemon says only when nothing else says anything', async () => {
    const [daemon, batch] = ['logd.n1', 'job.0'].map((id) => anInstance(id, { statusReason: `kept: ${id}` }));
    let instances = [daemon, batch];
    const draining = aNode('n1', { drain: 'draining' });
    scheduler.handlers.set('POST /nodes/n1/drain', () => draining);
    scheduler.handlers.set('GET /nodes/n1', () => ({ ...draining, instances }));
    const { output, ended } = startMorch(['drain', 'n1'], { env: env() });
    await until(() => output.stderr.includes('(job.0: kept: job.0, and 1 more)'), { what: 'the batch is told of' });
    instances = [daemon];
    await until(() => output.stderr.includes('(logd.n1: kept: logd.n1)'), { what: 'the daemon is told of' });
    scheduler.handlers.set('GET /nodes/n1', () => ({ ...draining, drain: 'drained', instances: [] }));
    expect(await ended).toMatchObject({ exitCode: 0 });
  });
});

describe('logs', () => {
  beforeEach(() => scheduler.workloads.set('web', aWorkload('web', {})));

  test('come byte for byte, with a warning when some are missing', async () => {
    const bytes = Buffer.from([0, 255, 10, 27, 200]);
    scheduler.handlers.set('GET /workloads/web/logs', (_, response) => {
      response.writeHead(200, { 'content-type': 'text/plain', 'x-morch-incomplete': 'n2' }).end(bytes);
    });
    const child = spawn(process.execPath, [MAIN, 'logs', 'web.3', '-f', '--tail', '5', '--stream', 'stderr'], {
      env: { ...process.env, ...env() },
    });
    const [chunks, warnings]: [Buffer[], string[]] = [[], []];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => warnings.push(chunk.toString()));
    expect(await once(child, 'close')).toEqual([0, null]);
    expect(Buffer.concat(chunks)).toEqual(bytes);
    expect(warnings.join('')).toContain('no answer from n2; what was lost with a node: morch blackbox web.3');
    expect(scheduler.seen.at(-1)?.url).toBe('/workloads/web/logs?follow=true&stream=stderr&tail=5&instance=web.3');
  });

  test('tell what was dropped, and who broke off', async () => {
    scheduler.handlers.set('GET /workloads/web/logs', (_, response) => {
      response.writeHead(200, { 'x-morch-dropped-bytes': 12, trailer: 'x-morch-incomplete, x-morch-dropped-bytes' });
      response.write('line\n');
      response.addTrailers({ 'x-morch-incomplete': 'n3', 'x-morch-dropped-bytes': '345' });
      response.end();
    });
    const all = await run(['logs', 'web', '--since', '1h30m'], { env: env() });
    expect(all).toMatchObject({ exitCode: 0, stdout: 'line\n' });
    expect(all.stderr).toContain('no answer from n3');
    expect(all.stderr).toContain("345 bytes of output were dropped: the node's disk was full or not writable");
    expect(scheduler.seen.at(-1)?.url).toBe('/workloads/web/logs?since=1h30m');
  });

  test.each([
    ['--since', 'yesterday', 'such as 10m'],
    ['--tail', 'all', 'whole number'],
    ['--stream', 'both', 'Allowed choices'],
  ])('with a wrong %s name the flag and what it takes', async (flag, value, hint) => {
    const { exitCode, stderr } = await run(['logs', 'web', flag, value], { env: env() });
    expect(exitCode).toBe(4);
    expect(stderr).toContain(flag);
    expect(stderr).toContain(hint);
  });

  test('end quietly when nobody reads on', async () => {
    scheduler.handlers.set('GET /workloads/web/logs', (_, response) => {
      const more = () => {
        while (!response.destroyed && response.write('line\n'.repeat(1_000)));
        if (!response.destroyed) response.once('drain', more);
      };
      more();
    });
    const shell = `"${process.execPath}" "${MAIN}" logs web -f | head -n 1; echo "codes \${PIPESTATUS[*]}"`;
    const child = spawn('bash', ['-c', shell], { env: { ...process.env, ...env() } });
    const output: string[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => output.push(chunk.toString()));
    await once(child, 'close');
    expect(output.join('')).toBe('line\ncodes 0 0\n');
  });
});

test('events are told as lines and taken up again after a broken connection', async () => {
  const event = (seq: number, workload: string) => {
    const body = {
      seq,
      at: '2026-01-01T00:00:00.000Z',
      type: 'instance.started',
      workload,
      node: 'n1',
      data: { pid: 1 },
    };
    return `id: ${seq}\nevent: instance.started\ndata: ${JSON.stringify(body)}\n\n`;
  };
  scheduler.handlers.set('GET /events', (seen, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    if (seen.headers['last-event-id'] === '2') {
      response.write(`: hello\n\n${event(2, 'web')}${event(3, 'web')}`);
    } else {
      response.write(event(1, 'web') + event(2, 'web').slice(0, 20));
      response.write(event(2, 'web').slice(20));
      setImmediate(() => response.destroy());
    }
  });
  scheduler.workloads.set('web', aWorkload('web', {}));
  const { child, output, ended } = startMorch(['events', '--since', '0', '--workload', 'web'], { env: env() });
  await until(() => output.stdout.includes('#3'), { what: 'the third event is printed' });
  child.kill('SIGINT');
  const { exitCode, stdout } = await ended;
  expect(exitCode).toBe(0);
  expect(stdout.match(/#\d+/g)).toEqual(['#1', '#2', '#3']);
  expect(stdout.split('\n')[0]).toBe('2026-01-01T00:00:00.000Z  #1  instance.started  web  on n1  pid=1');
  expect(scheduler.seen.find((seen) => seen.url.startsWith('/events'))?.url).toBe('/events?since=0');
});

describe('health', () => {
  const health = {
    status: 'degraded',
    reasons: ['node n2 is lost'],
    version: '0.1.0',
    clusterId: 'c',
    epoch: 1,
    uptimeMs: 61_000,
    store: { kind: 'leveldb', writable: true },
    nodes: { total: 2, healthy: 1 },
    workloads: { total: 1, running: 1 },
  };

  test('is exit code 1 with the reasons when degraded', async () => {
    scheduler.handlers.set('GET /health', () => health);
    const degraded = await morch('health');
    expect(degraded.exitCode).toBe(1);
    expect(degraded.stdout).toContain('node n2 is lost');
    scheduler.handlers.set('GET /health', () => ({ ...health, status: 'healthy', reasons: [] }));
    expect(await morch('health', '-o', 'json')).toMatchObject({ exitCode: 0 });
  });

  test('check is exit code 1 when a node does not answer', async () => {
    const results = [
      { node: 'n1', ok: true, latencyMs: 2 },
      { node: 'n2', ok: false, latencyMs: 2_000, error: 'timed out' },
    ];
    scheduler.handlers.set('POST /health/check', () => ({ checkedAt: '2026-01-01T00:00:00.000Z', results }));
    const failed = await morch('check');
    expect(failed.exitCode).toBe(1);
    expect(failed.stdout).toMatch(/^n2 +failed +2s +timed out$/m);
    results.pop();
    expect(await morch('check', '-q')).toMatchObject({ exitCode: 0, stdout: 'n1\n' });
  });

  test('recovery tells the steps after the last contact', async () => {
    const spread = { last: 4_020, mean: 4_020, p50: 4_020, p95: 4_020, max: 4_020 };
    const timeline = {
      lastContactAt: '2026-01-01T00:00:00.000Z',
      suspectAt: '2026-01-01T00:00:01.000Z',
      verdictAt: '2026-01-01T00:00:04.020Z',
      placedAt: '2026-01-01T00:00:04.100Z',
      startedAt: '2026-01-01T00:00:04.110Z',
      runningAt: null,
    };
    scheduler.handlers.set('GET /recovery/metrics', () => ({
      verdicts: 1,
      falseVerdicts: 0,
      recoveries: { started: 1, succeeded: 0, failed: 0, inFlight: 1 },
      successRate: null,
      detectionMs: spread,
      recoveryMs: { last: null, mean: null, p50: null, p95: null, max: null },
      attemptsUsed: 1,
      recent: [{ instance: 'web.0', fromNode: 'n1', toNode: 'n2', outcome: 'inFlight', timeline }],
    }));
    const { stdout, exitCode } = await morch('recovery');
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^detection: +last 4.02s/m);
    expect(stdout).toMatch(/^web\.0 +n1 +n2 +inFlight .* \+1s +\+4.02s +\+4.1s +\+4.11s +-$/m);
  });
});

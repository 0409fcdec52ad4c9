/** Nasty programs as a user meets them: submitted to the scheduler, watched, read and stopped through it. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { zombiesOf } from '../support/agent';
import { Cluster } from '../support/cluster';
import { FIXTURES, fixture, Notes } from '../support/fixtures';
import { shimsOf } from '../support/shims';
import { until } from '../support/until';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(2);
}, 60_000);
afterAll(() => cluster.close(), 60_000);

const ONCE = { restart: { policy: 'never' } };
const notesOf = (id: string) => new Notes(join(cluster.directory, `${id}.notes`));

it.each<[string, string[], string, object]>([
  ['exit-255', ['exit_with', '255', '100'], 'failed', { code: 255, signal: null }],
  ['exit-0', ['exit_with', '0'], 'completed', { code: 0, signal: null }],
  ['sigbus', ['die_by', '7'], 'failed', { code: null, signal: 'SIGBUS' }],
  ['sigkill', ['die_by', '9'], 'failed', { code: null, signal: 'SIGKILL' }],
])('tells how it ended: %s', async (id, [program, ...args], status, exit) => {
  await cluster.submit({ ...ONCE, id, command: [fixture(program!), ...args] });
  expect((await cluster.untilStatus(id, status)).instances[0]).toMatchObject({ status, generation: 1, run: 1, exit });
});

it('tells the kernel’s refusal as the reason of the failure', async () => {
  const script = join(FIXTURES, 'no_run_bit.sh');
  await cluster.submit({ ...ONCE, id: 'no-run-bit', script });
  const { instances } = await cluster.untilStatus('no-run-bit', 'failed');
  expect(instances[0]).toMatchObject({ status: 'failed', pid: null, exit: null });
  expect(instances[0]!.statusReason).toMatch(/EACCES/);
});

it.each<[string, string[], number]>([
  ['deep-tree', ['3'], 3],
  ['daemon', ['-1'], 2],
  ['renamed', [], 3],
  ['fork-bomb', ['60'], 40],
])('leaves nothing of a tree that was asked to stop: %s', async (id, args, processes) => {
  const notes = notesOf(id);
  const command = [fixture(id.replace('-', '_')), notes.path, ...args];
  await cluster.submit({ id, kind: 'service', command, stop: { graceMs: 300 } });
  await cluster.untilRunning(id, 1);
  await notes.untilCount(processes);
  expect((await cluster.request('DELETE', `/workloads/${id}`)).status).toBe(202);
  const stopped = await cluster.untilStatus(id, 'stopped');
  expect(notes.left()).toEqual([]);
  expect(stopped.instances[0]).toMatchObject({ status: 'stopped', generation: 1, run: 1 });
});

it('hands out bytes that are no text, arguments and environment as they are', async () => {
  const read = async (id: string) => {
    await cluster.untilStatus(id, 'completed');
    const response = await cluster.fetch(`/workloads/${id}/logs`);
    expect(response.status).toBe(200);
    return Buffer.from(await response.arrayBuffer());
  };
  const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

  const bytes = [fixture('invalid_utf8')];
  await cluster.submit({ ...ONCE, id: 'bytes', command: bytes });
  expect(sha256(await read('bytes'))).toBe(sha256(execFileSync(bytes[0]!)));

  const args = [fixture('print_args'), '', 'a\nb', '🧨', '$(id)', 'x'.repeat(100_000)];
  await cluster.submit({ ...ONCE, id: 'args', command: args });
  expect((await read('args')).toString()).toBe(`${args.join('\0')}\0`);

  const env = { A: '=b=\n=', EMOJI: '🧨👩‍👩‍👧', EMPTY: '' };
  await cluster.submit({ ...ONCE, id: 'env', command: [fixture('print_env')], env });
  const variables = (await read('env')).toString().split('\0');
  for (const [name, value] of Object.entries(env)) expect(variables).toContain(`${name}=${value}`);
  expect(variables).toContain('MORCH_INSTANCE=env.0');
});

it('after all this no agent has a process, a shim or a zombie left', async () => {
  await until(async () => (await cluster.workloadPids()).length === 0, { what: 'no process is left' });
  for (const { dataDir, child } of cluster.agents.values()) {
    await until(() => shimsOf(dataDir).length === 0 && zombiesOf(child.pid!).length === 0, {
      what: 'neither shim nor zombie is left',
    });
    expect(child.exitCode).toBeNull();
  }
});

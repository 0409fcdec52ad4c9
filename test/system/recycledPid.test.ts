/** Pids of a dead shim and its workload that strangers have taken: none of them is ever signalled. */
import { join } from 'node:path';
import { Agents } from '../support/agent';
import { fixture, Notes } from '../support/fixtures';
import { PidNamespace, reasonToSkip } from '../support/pidNamespace';
import { until } from '../support/until';

const agents = new Agents();
const namespaces: PidNamespace[] = [];
afterAll(async () => {
  await agents.endAll();
  for (const namespace of namespaces) await namespace.end();
}, 60_000);

const reason = reasonToSkip();
const testIfPossible = reason === null ? test : test.skip;
const note = reason === null ? '' : ` (skipped: ${reason})`;

testIfPossible(
  `strangers under the pids of a lost run are not signalled, and the run is told as lost${note}`,
  async () => {
    const namespace = await PidNamespace.create();
    namespaces.push(namespace);
    const agent = await agents.start({}, (argv) => namespace.enter(argv));
    const workload = { command: ['sleep', '600'], stop: { graceMs: 300 } };
    await agent.start({ ...workload, instanceId: 'once.0', restart: { policy: 'never' } });
    await agent.start({ ...workload, instanceId: 'again.0', kind: 'service', restart: { backoffMs: 1 } });
    const before = await Promise.all(['once.0', 'again.0'].map((id) => agent.instance(id)));

    await agent.kill('SIGKILL');
    const pids = before.flatMap(({ shimPid, pid }) => [shimPid!, pid!]);
    for (const pid of pids) namespace.kill(pid, 'SIGKILL');
    await until(() => pids.every((pid) => namespace.outerPidOf(pid) === null), { what: 'the pids are free' });
    const logger = fixture('signal_logger');
    const strangers = new Map(pids.map((pid) => [pid, new Notes(join(agents.directory, `stranger-${pid}`))]));
    for (const [pid, { path }] of strangers) {
      // Of a session and a group of its own, as the workload's main process was.
      await namespace.startAs(pid, ['setsid', logger, path]);
      expect(await strangers.get(pid)!.untilCount(1)).toMatchObject([{ pid, role: 'ready' }]);
    }

    const next = await agents.restart(agent);
    expect(await next.untilStatus('once.0', 'failed')).toMatchObject({
      run: 1,
      pid: null,
      exit: { code: null, signal: null },
      statusReason: expect.stringContaining('shim-lost'),
    });
    const again = await until(
      async () => {
        const one = await next.instance('again.0');
        return one.run === 2 && one.status === 'running' && one;
      },
      { what: 'the second run', timeoutMs: 10_000 },
    );
    expect(again.exit).toMatchObject({ code: null, signal: null });
    expect(pids).not.toContain(again.pid);
    for (const pid of pids) expect([200, 404]).toContain((await next.stop({ pid, graceMs: 0 })).status);
    for (const instanceId of ['once.0', 'again.0']) expect((await next.stop({ instanceId })).status).toBe(200);
    await next.kill('SIGTERM');

    for (const [pid, notes] of strangers) {
      expect(notes.read().map(({ role }) => role)).toEqual(['ready']);
      // It would have noted a signal, and it lives.
      expect(namespace.kill(pid, 'SIGTERM')).toBe(true);
      expect((await notes.untilCount(2))[1]).toMatchObject({ pid, role: expect.stringContaining('signal 15') });
    }
  },
  60_000,
);

/**
 * What a developer's machine cannot bring about on demand, with a stand-in for it: processes that the kernel does not
 * let go of, and a reader that takes nothing while megabytes are told.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { WebSocket } from 'ws';
import { Connections } from '../../access/connections';
import { Guard } from '../../agent/access';
import { Events } from '../../agent/events';
import { LogFiles } from '../../agent/logs/files';
import { Membership } from '../../agent/membership';
import { loadNative } from '../../agent/native/index';
import { PathWork } from '../../agent/pathWork';
import type { HostedRun, MainExit, ProcessHost } from '../../agent/processHost';
import { Records } from '../../agent/records';
import { RunUsers } from '../../agent/runUsers';
import { Session } from '../../agent/session';
import { Supervisor } from '../../agent/supervisor';
import { deferred, Gate } from '../../agent/timers';
import { type InstanceReport, startInstanceSchema } from '../../contract/agentApi';
import { until } from '../support/until';

const log = pino({ level: 'silent' });
const paths = new PathWork(loadNative());
const directory = mkdtempSync(join(tmpdir(), 'morch-agent-hard-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('a stop of processes that do not die is answered STILL_ALIVE, and ends when they do', async () => {
  const exited = deferred<MainExit>();
  const gone = deferred<void>();
  const stops: number[] = [];
  const run: HostedRun = {
    identity: { pid: 4_000_000, startTicks: 1, shimPid: 3_999_999, shimStartTicks: 1 },
    startedAt: new Date().toISOString(),
    whenExited: (tell) => void exited.promise.then(tell),
    gone: gone.promise,
    isGone: false,
    left: gone.promise,
    stop: (graceMs) => stops.push(graceMs!),
    acknowledge: () => {},
  };
  const host = { start: async () => run } as unknown as ProcessHost;
  const reports: InstanceReport[] = [];
  const supervisor = new Supervisor(
    'n1',
    [],
    {
      users: new RunUsers(
        { allowUsers: [], allowRoot: false },
        null,
        { from: 1, to: 1 },
        { lookUpUser: async () => null },
      ),
      scriptDirs: [],
      scriptEnv: [],
      cgroups: null,
      secrets: null,
      orphanAfterMs: 0,
      allowNewPrivileges: false,
      host,
      session: { admission: { session: null, leaseTerm: 0 }, mayExecute: () => true, startUntilMs: 0 },
      records: await Records.open(directory, paths, log),
      logFiles: new LogFiles(directory, paths),
      bootId: 'boot',
      gate: new Gate(1),
      log,
      onChange: (report) => reports.push(report),
    },
    () => false,
  );
  const command = (generation: number) =>
    startInstanceSchema.parse({ command: ['x'], instanceId: 'web.0', uid: 'u', generation, stop: { graceMs: 1 } });
  await supervisor.start(command(1));
  await expect(supervisor.stop({ instanceId: 'web.0', graceMs: 10 })).rejects.toMatchObject({ code: 'STILL_ALIVE' });
  expect(reports.at(-1)).toMatchObject({ status: 'stopping', pid: 4_000_000 });
  // Nothing takes its place while it lives.
  await expect(supervisor.start(command(2))).rejects.toMatchObject({ code: 'STILL_ALIVE' });
  expect(stops).toEqual([10, 1]);
  const at = new Date().toISOString();
  exited.resolve({
    code: null,
    signal: 'SIGKILL',
    at,
    oomKilled: false,
    shimLost: false,
    fenced: false,
    recorded: true,
    droppedBytes: 0,
  });
  gone.resolve();
  await until(() => reports.at(-1)?.status === 'stopped', { what: 'it has ended' });
  await supervisor.closeAndStop();
}, 15_000);

test('a reader that does not read is cut off', async () => {
  const membership = await Membership.open(directory);
  const node = { name: 'n1', nodeKey: 'k', incarnation: 'i', bootId: 'b', version: '0', features: [], labels: {} };
  const amounts = { cpuMillis: 0, memoryBytes: 0 };
  const page = { read: () => ({ endsAtMs: 0, term: 0 }), refresh: () => {}, close: () => {} };
  const nowMs = () => performance.now();
  const events = new Events({
    guard: new Guard(null, new Set(), new Connections()),
    membership,
    session: new Session(page, nowMs, () => false),
    nowMs,
    log,
    hello: () => ({ type: 'hello', ...node, capacity: amounts, mark: 0, furthest: null, leaseMs: 0, instances: [] }),
    heartbeat: (n) => ({ type: 'heartbeat', n }) as never,
    forget: async () => {},
    noteWorkloads: async () => {},
  });
  const server = createServer();
  events.attach(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/events`;
  const [slow, quick] = [new WebSocket(url), new WebSocket(url)];
  await Promise.all([once(slow, 'open'), once(quick, 'open')]);
  const closed = once(slow, 'close');
  slow.pause();
  const report = { instanceId: 'web.0', statusReason: 'x'.repeat(1024 ** 2) } as InstanceReport;
  let told = 0;
  quick.on('message', () => {
    told += 1;
  });
  for (let i = 0; i < 40; i += 1) {
    events.tellInstance(report, null, false);
    await new Promise((resolve) => setImmediate(resolve));
  }
  slow.resume();
  const [code] = await closed;
  expect(code).toBe(1006);
  await until(() => told >= 40, { what: 'the other reader has everything' });
  expect(quick.readyState).toBe(WebSocket.OPEN);
  await events.close();
  server.close();
});

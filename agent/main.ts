/** The agent of one node: wires its parts, in the order in which they need each other, and ends them in reverse. */
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, realpath } from 'node:fs/promises';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Logger, pino } from 'pino';
import { Connections } from '../access/connections';
import type { AgentStatus, HeartbeatMessage, HelloMessage } from '../contract/agentApi';
import { MorchError } from '../contract/errors';
import { VERSION } from '../contract/version';
import { Guard, provideAgentToken } from './access';
import { AfterBurst } from './afterBurst';
import { capacityOf } from './capacity';
import { Cgroups } from './cgroups';
import { Drill } from './drill';
import { Events } from './events';
import { makeHandlers } from './http/handlers';
import { createAgentServer } from './http/server';
import { LogFiles } from './logs/files';
import { startLogUpkeep } from './logs/upkeep';
import { Membership } from './membership';
import { AgentMetrics } from './metrics';
import { loadNative, type Native, shimPath } from './native/index';
import { type AgentOptions, parseAgentOptions } from './options';
import { Origins } from './origins';
import { CLAIMS_DIRECTORY, OwnUsers } from './ownUsers';
import { openPassage } from './passage';
import { PathWork } from './pathWork';
import { keyOf, Records } from './records';
import { recover } from './recovery';
import { joinTokenIn, startRegistration } from './registration';
import { settleRunAs } from './rights';
import { allowsAny, RunUsers } from './runUsers';
import { Sampler } from './sampler';
import { SecretFiles } from './secrets';
import { Session } from './session';
import { ShimHost } from './shim/host';
import { Supervisor } from './supervisor';
import { Tails } from './tails';
import { Gate } from './timers';
import type { MemberTls } from './tls/member';
import { openTls } from './tls/open';

/** Starts recorded and executed at a time; those recorded together cost one sync of the disk. */
const STARTS_AT_ONCE = 128;
/** Well below what a shim takes for absence. */
const REFRESH_LEASE_EVERY_MS = 1_000;

/**
 * How much bytecode a function runs before V8 thinks of optimizing it, about fifteen times what V8 does by itself: an agent works
 * in bursts of some hundred starts or stops, and what is compiled during one, on cores that the workloads want, is hardly
 * run again. What stays busy for longer than that is optimized all the same.
 */
const INTERRUPT_BUDGET = 1_000_000;
/**
 * The young generation grows at once from its least to its largest size: what a burst leaves behind while it lasts would else be
 * copied some sixty times for a thousand starts or stops. It is given back afterwards.
 */
const SEMI_SPACE_GROWTH_FACTOR = 16;
/** Not given back yet, beyond this. */
const QUIET_YOUNG_BYTES = 4 * 1024 ** 2;

/**
 * Runs an agent until SIGTERM or SIGINT, then exits the process with 0; with `onExit: stop`, once everything it ran is gone.
 *
 * @param options see options.ts
 * @throws Error whose message names the flag to change: a bad option, a busy port, a locked data directory
 */
export async function runAgent(options: unknown): Promise<void> {
  setFlagsFromString(`--interrupt-budget=${INTERRUPT_BUDGET}`);
  setFlagsFromString(`--semi-space-growth-factor=${SEMI_SPACE_GROWTH_FACTOR}`);
  const checked = parseAgentOptions(options);
  const log = pino(
    { level: process.env.MORCH_LOG_LEVEL ?? 'info', base: { part: 'agent', node: checked.name } },
    logDestination(),
  );
  const agent = await startAgent(checked, log);
  const told = untilTold(log);
  // Whoever reads this may end it at once.
  process.stdout.write(`morch agent ${checked.name} is ready on ${agent.address}\n`);
  await told;
  await agent.stop();
  process.exit(0);
}

/** A log that cannot be written, its disk being full, is no reason to end. */
function logDestination(): ReturnType<typeof pino.destination> {
  return pino.destination({ dest: 2, sync: true }).on('error', () => {});
}

interface RunningAgent {
  address: string;
  stop(): Promise<void>;
}

async function startAgent(options: AgentOptions, log: Logger): Promise<RunningAgent> {
  const native = loadNative();
  const runAs = await settleRunAs(options);
  const dataDir = await provideDataDir(resolve(options.dataDir), native);
  const token = options.auth ? await provideAgentToken(dataDir) : null;
  if (token === null) log.warn('--no-auth: whoever reaches this port can run programs here');
  const allowedHosts = [options.host, options.advertise?.host ?? 'localhost', ...options.allowedHosts];
  const connections = new Connections();
  const guard = new Guard(token, new Set(allowedHosts.map((name) => name.toLowerCase())), connections);
  const joinToken = () => joinTokenOf(options);
  const { port: tls, member } = await openTls(options, { dataDir, agentToken: token, joinToken, log });
  const membership = await Membership.open(dataDir);
  // It may come later, and is looked for whenever it is needed; a wrong name is only seen here.
  if (options.scheduler !== undefined && membership.clusterId === null)
    await joinToken().catch((error: Error) =>
      log.warn({ file: options.joinTokenFile }, `${error.message}: this agent joins once there is a token in it`),
    );
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const startedAt = new Date().toISOString();
  const incarnation = randomUUID();

  const paths = new PathWork(native);
  const cgroups = await Cgroups.open({ option: options.cgroup, dataDir, paths, log });
  const secrets = await SecretFiles.open(dataDir, log);
  const features = [
    ...(cgroups?.features() ?? []),
    ...(allowsAny(options) ? ['user'] : []),
    ...(runAs === 'own' ? ['user.own'] : []),
    ...(secrets === null ? [] : ['secrets']),
  ];
  const leasePath = join(dataDir, 'lease');
  const lease = native.openLease(leasePath);
  const nowMs = () => native.bootTimeMs();
  const session = new Session(lease, nowMs, () => membership.clusterId !== null);
  const refreshing = setInterval(() => session.refresh(), REFRESH_LEASE_EVERY_MS);
  const host = new ShimHost({ native, cgroups, shimPath: shimPath(), dataDir, leasePath, log });
  const records = await Records.open(dataDir, paths, log);
  const { userRange } = options;
  if (runAs === 'own') await openPassage(dataDir, log);
  const place = { dataDir, claims: CLAIMS_DIRECTORY, range: userRange };
  const ownUsers = runAs === 'own' ? await OwnUsers.open(place, () => records.ownersOfWork(), log) : null;
  const users = new RunUsers(options, ownUsers, userRange, native);
  const logFiles = new LogFiles(dataDir, paths);
  const cgroupOf = (key: string) => cgroups?.directoryOf(key) ?? null;
  const recovered = await recover({ records, host, cgroupOf, bootId, nowMs: Date.now(), log });
  const resumedKeys = recovered.resumed.map(({ intent }) => keyOf(intent.spec));
  await cgroups?.removeUnknown(resumedKeys);
  await secrets?.removeUnknown(resumedKeys);
  const sampler = await Sampler.open(host, log);
  const agentMetrics = new AgentMetrics();
  const afterBurst = new AfterBurst(() => {
    collectGarbage();
    // What that has emptied goes back with the second.
    setTimeout(() => {
      collectGarbage();
      native.giveBackMemory();
    }, 1_000).unref();
    return youngBytes() <= QUIET_YOUNG_BYTES;
  });
  const gate = new Gate(STARTS_AT_ONCE);
  const { orphanAfterMs, allowNewPrivileges, scriptDirs, scriptEnv } = options;
  const supervisor = new Supervisor(
    options.name,
    features,
    {
      users,
      host,
      session,
      cgroups,
      records,
      secrets,
      logFiles,
      bootId,
      orphanAfterMs,
      allowNewPrivileges,
      scriptDirs,
      scriptEnv,
      gate,
      log,
      onChange: (report, clusterId, isAnswered) => {
        agentMetrics.noteChange(report);
        afterBurst.note();
        events.tellInstance(report, clusterId, isAnswered);
        if (clusterId !== null && clusterId === membership.clusterId) tails.changed(report);
      },
    },
    () => membership.clusterId !== null,
  );

  const origins = await Origins.open(dataDir, () => supervisor.liveUids(), log);

  const { name, labels } = options;
  const capacity = capacityOf(sampler.system, options);
  const self = { name, version: VERSION, nodeKey: membership.nodeKey, incarnation, bootId, features, labels };
  const hello = (): HelloMessage => ({
    type: 'hello',
    ...self,
    capacity,
    mark: membership.mark,
    furthest: membership.furthest,
    leaseMs: membership.leaseMs,
    instances: supervisor.reportsOf(membership.clusterId),
  });
  const heartbeat = (n: number, withUsage: boolean): HeartbeatMessage => ({
    type: 'heartbeat',
    n,
    incarnation,
    bootId,
    system: sampler.system,
    digest: { instances: supervisor.knownCount, live: supervisor.liveCount },
    ...(withUsage ? { usage: usageOfAll(supervisor, sampler) } : {}),
  });
  const status = (withProcesses: boolean): AgentStatus => ({
    ...self,
    capacity,
    startedAt,
    clusterId: membership.clusterIdTold,
    epoch: membership.epoch,
    term: membership.term,
    hasSession: session.hasBegun,
    standing: membership.standing,
    system: sampler.system,
    ...(withProcesses
      ? {
          processes: supervisor
            .reportsWithNonce()
            .map(({ report, nonce }) => ({ ...report, ...sampler.usageOf(report.pid === null ? null : nonce) })),
        }
      : {}),
  });

  const events = new Events({
    guard,
    membership,
    session,
    nowMs,
    hello,
    heartbeat,
    forget: (ids) => supervisor.forget(ids),
    noteWorkloads: (workloads) => origins.note(workloads),
    log,
  });
  const tails = new Tails({
    sessionName: () => session.name,
    subjects: () => supervisor.tailSubjects(membership.clusterId),
    subjectsOf: (nonces) => supervisor.tailSubjects(membership.clusterId, nonces),
    isKnown: (key) => supervisor.isKnown(key),
    busyNonces: () => sampler.busyNonces(),
    directoryOf: (owner) => logFiles.directoryOf(owner),
    lookAt: (path) => paths.lookAt(path),
    send: (text) => events.tellSession(text),
    log,
  });
  supervisor.adopt(recovered);
  await ownUsers?.releaseUnknown(supervisor.knownOwners());
  const drill = new Drill(log);
  const metrics = () =>
    agentMetrics.text({
      system: () => sampler.system,
      processes: () => status(true).processes ?? [],
      withoutSchedulerMs: () => events.withoutSchedulerMs,
      hasSession: () => session.hasBegun,
    });
  const handlers = makeHandlers({ supervisor, membership, session, logFiles, origins, status, drill, metrics });
  const server = createAgentServer({ handlers, guard, connections, tls, log });
  drill.attach(server);
  events.attach(server);
  const { port } = await listen(server, options);
  sampler.start();
  tails.start();
  const endRegistration = register(options, token, joinToken, member, port, membership, events, supervisor, log);
  const { maxLogBytes } = options;
  const endUpkeep = startLogUpkeep({ logFiles, known: () => supervisor.knownOwners(), maxLogBytes, log });

  return {
    address: `${tls === null ? 'http' : 'https'}://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`,
    async stop() {
      const stopsAll = options.onExit === 'stop';
      drill.end();
      if (stopsAll) events.tellLeaving();
      endRegistration();
      tls?.close();
      endUpkeep();
      await (stopsAll ? supervisor.closeAndStop() : supervisor.closeAndKeep());
      sampler.stop();
      tails.stop();
      await events.close();
      server.close();
      server.closeAllConnections();
      host.close();
      clearInterval(refreshing);
      lease.close();
      if (supervisor.keysInUse().size === 0) await secrets?.close();
      await cgroups?.close(supervisor.keysInUse());
    },
  };
}

/**
 * V8 by itself looks for what a burst has left only at some time in the minute after. Its collector is to be had in contexts that
 * are made while the flag is set; this one goes with the next collection.
 */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  collect();
}

/** Of the young generation's room. V8 makes it smaller in a collection at a time of few allocations only. */
function youngBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_size ?? 0;
}

/** Resolves at the first signal; later ones change nothing. */
function untilTold(log: Logger): Promise<void> {
  return new Promise((resolveTold) => {
    let told = false;
    const tell = (signal: NodeJS.Signals) => {
      log.info({ signal }, told ? 'already ending' : 'ending');
      told = true;
      resolveTold();
    };
    process.on('SIGTERM', tell);
    process.on('SIGINT', tell);
  });
}

/** @returns the directory with symbolic links resolved: shims carry its name */
async function provideDataDir(dataDir: string, native: Native): Promise<string> {
  try {
    await mkdir(dirname(dataDir), { recursive: true });
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    if (native.lockFile(join(dataDir, 'lock'))) return await realpath(dataDir);
  } catch (cause) {
    throw new MorchError('INVALID_INPUT', `Cannot use --data-dir ${dataDir}: ${(cause as Error).message}`, { cause });
  }
  const detail = `Another agent runs on --data-dir ${dataDir}. Stop it, or give this one a directory of its own.`;
  throw new MorchError('INVALID_INPUT', detail);
}

async function listen(server: Server, { host, port }: AgentOptions): Promise<AddressInfo> {
  try {
    await new Promise<void>((resolveListening, reject) => {
      server.once('error', reject);
      server.listen(port, host, () => {
        server.off('error', reject);
        resolveListening();
      });
    });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why =
      code === 'EADDRINUSE'
        ? `--port ${port} is in use on ${host}. Stop what listens there, or give another --port.`
        : `Cannot listen on --host ${host} --port ${port}: ${code}.`;
    throw new MorchError('INVALID_INPUT', why, { cause });
  }
  return server.address() as AddressInfo;
}

function usageOfAll(supervisor: Supervisor, sampler: Sampler): HeartbeatMessage['usage'] {
  const usage: HeartbeatMessage['usage'] = [];
  supervisor.eachLive((instanceId, generation, nonce) => {
    const { cpuPercent, memoryBytes } = sampler.usageOf(nonce);
    usage.push([instanceId, generation, cpuPercent, memoryBytes]);
  });
  return usage;
}

/** Undefined: there is none. */
async function joinTokenOf({ joinToken, joinTokenFile }: AgentOptions): Promise<string | undefined> {
  return joinToken ?? (joinTokenFile === undefined ? undefined : joinTokenIn(joinTokenFile));
}

function register(
  { scheduler, advertise, host, name, labels }: AgentOptions,
  token: string | null,
  joinToken: () => Promise<string | undefined>,
  tls: MemberTls | null,
  port: number,
  membership: Membership,
  events: Events,
  supervisor: Supervisor,
  log: Logger,
): () => void {
  if (scheduler === undefined) return () => {};
  return startRegistration({
    scheduler,
    node: {
      ...(advertise ?? { host, port }),
      name,
      labels,
      ...(token === null ? {} : { agentToken: token }),
      ...(tls === null ? {} : { tls: true }),
    },
    joinToken,
    tls,
    membership,
    withoutSchedulerMs: () => events.withoutSchedulerMs,
    hasLiveOfOthers: (clusterId) => supervisor.hasLiveOfOthers(clusterId),
    log,
  });
}

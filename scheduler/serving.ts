/**
 * Wires the scheduler: store → state → journal → nodes and control loop → HTTP. The only file that knows everyone; main.ts calls it.
 */
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import pino, { type Logger } from 'pino';
import { Connections } from '../access/connections';
import { VERSION } from '../contract/version';
import { hostsOf } from '../pki/hosts';
import { Guard } from './access/guard';
import { NodeTokens } from './access/nodeTokens';
import { provideTokenFiles } from './access/tokenFiles';
import { TokenService } from './access/tokenService';
import { Tokens } from './access/tokens';
import { undici } from './agentClient';
import { AuditLog } from './audit/log';
import { AuditTrail } from './audit/trail';
import { BlackBox } from './blackBox/blackBox';
import { ControlLoop } from './controlLoop';
import { EventLog } from './events/feed';
import { createEventSockets } from './events/webSocket';
import { startHousekeeping } from './housekeeping';
import { createApp } from './http/app';
import { messagesOf } from './http/messages';
import { startHttpServer } from './http/server';
import { Journal } from './journal';
import { SchedulerMetrics } from './metrics';
import { NodeRegistry } from './nodeRegistry';
import type { SchedulerOptions } from './options';
import { Proofs } from './proofs';
import { Secrets } from './secrets/secrets';
import { Vault } from './secrets/vault';
import { Service } from './service';
import { State } from './state';
import type { StateRecords } from './stateRecords';
import type { OpenedStore } from './store/open';
import type { ClusterTls } from './tls/clusterTls';
import { NodeCertificates } from './tls/nodeCertificates';
import { WireThread } from './wires/thread';

/** What commands to agents go by is loaded when those who have waited for the start are answered, and before the first command. */
const UNDICI_LOADED_AFTER_MS = 500;
/** How soon at most what an expired token has opened ends. */
const TOKENS_LOOKED_AT_MS = 1_000;

/** A log that cannot be written, its disk being full, is no reason to end. */
function logDestination(): ReturnType<typeof pino.destination> {
  return pino.destination(2).on('error', () => {});
}

/**
 * Serves until SIGTERM or SIGINT. Agents and workloads go on without it.
 *
 * @throws Error naming the flag when the port cannot be had
 */
export async function serve(
  options: SchedulerOptions,
  { store, damage, notes, records }: OpenedStore<StateRecords>,
  startedAtMs: number,
): Promise<void> {
  const log = pino({ level: process.env.MORCH_LOG_LEVEL ?? 'info', name: 'scheduler' }, logDestination());
  if (damage !== null) log.error(damage, 'the store was damaged; what could be read of it is used');
  const vault = await Vault.open(options.dataDir);
  const state = await State.load(store, randomUUID(), new Proofs(vault), records);
  const nodeTokens = new NodeTokens(vault);
  const closed = nodeTokens.load(state.nodes.values());
  const tokens = await Tokens.load(store, state, notes);
  for (const note of [...notes, ...state.notes]) log.warn(note);
  if (closed.length > 0) log.warn({ nodes: closed }, 'secret.key is another one: these agents have to register anew');
  const tls = await openTls(options, log);
  const certificates = await NodeCertificates.load(store, state, tls, notes);
  await provideTokenFiles(options.dataDir, tokens, Date.now(), tls?.bundleHash);

  const secrets = await Secrets.load(store, state, vault);
  if (secrets.unreadableCount > 0) {
    log.error(
      { unreadable: secrets.unreadableCount, file: path.join(options.dataDir, 'secret.key') },
      'secrets cannot be opened: they were sealed under another key file',
    );
  }

  state.meta.epoch += 1;
  state.saveMeta();
  const events = new EventLog(store, { firstSeq: state.meta.firstEventSeq, lastSeq: state.lastEventSeq });
  state.emit(
    { type: 'scheduler.started', data: { epoch: state.meta.epoch, version: VERSION } },
    new Date().toISOString(),
  );
  if (damage !== null) {
    state.emit({ type: 'scheduler.rebuilding', data: { reason: 'damaged' } }, new Date().toISOString());
  }
  const { policy } = options;
  const leaseMs = Math.max(policy.leaseMs, state.meta.leaseMs ?? 0);
  state.meta.leaseMs = leaseMs;
  const journal = new Journal(
    store,
    state,
    (published) => {
      events.publish(published);
      blackBox.heardEvents(published);
      metrics.heardEvents(published);
    },
    log,
    () => loop.wake(),
    (records, ms) => metrics.committed(records, ms),
  );
  const metrics = new SchedulerMetrics(state, () => service.readyChecks());
  const blackBox = await BlackBox.load(store, state, journal, log);
  const access = { tokens, nodeTokens, certificates };
  const registry = new NodeRegistry(state, policy, leaseMs, blackBox, access, new WireThread(), log);
  const loop = new ControlLoop(state, journal, registry, leaseMs, blackBox, secrets, log);
  // The epoch is durable before any agent hears of it.
  await journal.commit();
  state.publishTerm();

  const auditLog = await AuditLog.open(options.auditDir ?? options.dataDir, log);
  const audit = new AuditTrail(auditLog);
  const service = new Service(state, journal, loop, registry, blackBox, secrets, auditLog, store, startedAtMs);
  const { host, auth, rateLimit } = options;
  const allowedHosts = new Set([host, ...options.allowedHosts].map((name) => name.toLowerCase()));
  const connections = new Connections();
  const guard = new Guard({ tokens, nodeTokens, certificates, allowedHosts, auth, rateLimit, connections });
  const tokenService = new TokenService(
    tokens,
    journal,
    options.dataDir,
    () => guard.endGone(Date.now()),
    tls?.bundleHash,
  );
  if (!auth) log.warn('--no-auth: whoever reaches this port, pages in a browser aside, can run programs on every node');
  const sockets = createEventSockets({ events, guard, audit, log });
  const app = createApp({ api: service, events, guard, tokens: tokenService, trust: tls, audit, metrics, log });
  const messages = messagesOf(app);
  const { upgrade } = sockets;
  const server = await startHttpServer({ host, port: options.port, app, messages, upgrade, connections, tls });
  const ending = setInterval(() => guard.endGone(Date.now()), TOKENS_LOOKED_AT_MS);
  registry.start(loop, journal);
  loop.wake();
  const housekeeping = startHousekeeping(store, state, journal, events, () => loop.wake(), log);
  log.info(
    {
      url: `${tls === null ? 'http' : 'https'}://${host}:${server.port}`,
      dataDir: options.dataDir,
      clusterId: state.meta.clusterId,
      epoch: state.meta.epoch,
      workloads: state.workloads.size,
      nodes: state.nodes.size,
      loadedInMs: Date.now() - startedAtMs,
    },
    'scheduler ready',
  );

  const loading = setTimeout(undici, UNDICI_LOADED_AFTER_MS);

  await untilSignal();
  clearTimeout(loading);
  log.info('scheduler stopping; agents and workloads go on');
  clearInterval(ending);
  loop.close();
  housekeeping.stop();
  sockets.close();
  tls?.close();
  await Promise.all([server.close(), registry.close()]);
  await audit.close();
  await blackBox.close();
  await journal.close();
  await store.close();
}

/** @returns null for a scheduler that speaks plain HTTP: making certificates takes a while to load */
async function openTls(options: SchedulerOptions, log: Logger): Promise<ClusterTls | null> {
  const { tls, dataDir, host, allowedHosts, tlsCert, tlsKey, tlsCa: authorities, tlsValidityMs: validityMs } = options;
  if (!tls) return null;
  const module = require('./tls/clusterTls') as typeof import('./tls/clusterTls');
  const own = tlsCert === undefined || tlsKey === undefined ? undefined : { certificate: tlsCert, key: tlsKey };
  return module.ClusterTls.open(dataDir, { own, authorities, hosts: hostsOf(host, allowedHosts), validityMs }, log);
}

function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    process.on('SIGTERM', () => resolve());
    process.on('SIGINT', () => resolve());
  });
}

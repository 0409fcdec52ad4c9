/** Wires the scheduler: store → state → journal → nodes and control loop → HTTP. The only file that knows everyone. */
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import pino from 'pino';
import { MorchError } from '../contract/errors';
import { VERSION } from '../contract/version';
import { BlackBox } from './blackBox/blackBox';
import { ControlLoop } from './controlLoop';
import { EventLog } from './events/feed';
import { createEventSockets } from './events/webSocket';
import { startHousekeeping } from './housekeeping';
import { createApp } from './http/app';
import { startHttpServer } from './http/server';
import { Journal } from './journal';
import { NodeRegistry } from './nodeRegistry';
import { parseSchedulerOptions } from './options';
import { Service } from './service';
import { State } from './state';
import { type OpenedStore, openLevelStore } from './store/open';

/** A log that cannot be written, its disk being full, is no reason to end. */
function logDestination(): ReturnType<typeof pino.destination> {
  return pino.destination(2).on('error', () => {});
}

/**
 * Serves until SIGTERM or SIGINT. Agents and workloads go on without it.
 *
 * @param input see options.ts
 * @throws Error naming the flag when the port or the data directory cannot be had
 */
export async function runScheduler(input: unknown): Promise<void> {
  const options = parseSchedulerOptions(input);
  const log = pino({ level: process.env.MORCH_LOG_LEVEL ?? 'info', name: 'scheduler' }, logDestination());
  const startedAtMs = Date.now();
  const { store, damage, notes } = await openStore(options.dataDir);
  if (damage !== null) log.error(damage, 'the store was damaged; what could be read of it is used');
  const state = await State.load(store, randomUUID());
  for (const note of [...notes, ...state.notes]) log.warn(note);

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
    },
    log,
    () => loop.wake(),
  );
  const blackBox = await BlackBox.load(store, state, journal, log);
  const registry = new NodeRegistry(state, policy, leaseMs, blackBox, log);
  const loop = new ControlLoop(state, journal, registry, leaseMs, blackBox, log);
  // The epoch is durable before any agent hears of it.
  await journal.commit();
  state.publishTerm();

  const service = new Service(state, journal, loop, registry, blackBox, store, startedAtMs);
  const sockets = createEventSockets({ events, log });
  const app = createApp({ api: service, events, log });
  const server = await startHttpServer({ host: options.host, port: options.port, app, upgrade: sockets.upgrade });
  registry.start(loop, journal);
  loop.wake();
  const housekeeping = startHousekeeping(store, state, journal, events, () => loop.wake(), log);
  log.info(
    {
      url: `http://${options.host}:${server.port}`,
      dataDir: options.dataDir,
      clusterId: state.meta.clusterId,
      epoch: state.meta.epoch,
      workloads: state.workloads.size,
      nodes: state.nodes.size,
      loadedInMs: Date.now() - startedAtMs,
    },
    'scheduler ready',
  );

  await untilSignal();
  log.info('scheduler stopping; agents and workloads go on');
  loop.close();
  housekeeping.stop();
  sockets.close();
  await Promise.all([server.close(), registry.close()]);
  await blackBox.close();
  await journal.close();
  await store.close();
}

/** @throws MorchError INVALID_INPUT naming --data-dir */
async function openStore(dataDir: string): Promise<OpenedStore> {
  try {
    // What lies above is not ours alone: an agent's workloads may have to pass there.
    await mkdir(path.dirname(dataDir), { recursive: true });
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new MorchError('INVALID_INPUT', `Cannot use --data-dir ${dataDir}: ${(cause as Error).message}`, { cause });
  }
  try {
    return await openLevelStore(path.join(dataDir, 'store'));
  } catch (cause) {
    throw new MorchError('INVALID_INPUT', (cause as Error).message, { cause });
  }
}

function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    process.on('SIGTERM', () => resolve());
    process.on('SIGINT', () => resolve());
  });
}

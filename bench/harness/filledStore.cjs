'use strict';
/**
 * A scheduler's data directory as a large cluster leaves it, written by the product's own code (dist/): nodes, workloads with running
 * or ended instances, the events that tell of them, as many as are kept. No agent is needed to make it.
 */
const { randomUUID } = require('node:crypto');
const { mkdirSync } = require('node:fs');
const path = require('node:path');

const DIST = path.resolve(__dirname, '../../dist');
const AT_ONCE = 5_000;

/**
 * @param dataDir there is none yet
 * @param nodes      how many
 * @param nodePort   where they are to be found on this machine
 * @param workloads  how many
 * @param replicas   instances of each
 * @param status     of all: running, pending (on no node) or completed
 * @returns { records }: how many there are in the store
 */
async function fillDataDir(dataDir, { nodes, nodePort = 1, workloads, replicas, status = 'running' }) {
  const { openLevelStore } = require(path.join(DIST, 'scheduler/store/open.js'));
  const { State } = require(path.join(DIST, 'scheduler/state.js'));
  const { Proofs } = require(path.join(DIST, 'scheduler/proofs.js'));
  const { Vault } = require(path.join(DIST, 'scheduler/secrets/vault.js'));
  const { EVENTS_KEPT } = require(path.join(DIST, 'contract/events.js'));
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const { store } = await openLevelStore(path.join(dataDir, 'store'));
  const state = await State.load(store, randomUUID(), new Proofs(await Vault.open(dataDir)));
  const at = new Date().toISOString();
  const nodeIds = Array.from({ length: nodes }, (_, n) => `node-${String(n).padStart(4, '0')}`);
  for (const id of nodeIds) state.addNode(nodeOf(id, nodePort));
  let records = nodes;
  let told = 0;
  const commit = async () => {
    const { ops } = state.takeChanges();
    await store.write(ops);
    state.workloadsToVisit.clear();
    state.instancesToVisit.clear();
  };
  const eventsInAll = workloads * (1 + 2 * replicas);
  const emit = (event) => {
    told += 1;
    // Those that would have been pruned since are not written at all.
    if (eventsInAll - told < EVENTS_KEPT) state.emit(event, at);
  };
  let waiting = 0;
  for (let n = 0; n < workloads; n += 1) {
    const workload = workloadOf(n, replicas, status, at);
    state.addWorkload(workload);
    emit({ type: 'workload.submitted', workload: workload.spec.id, data: { uid: workload.uid, version: 1 } });
    for (let index = 0; index < replicas; index += 1) {
      const node = nodeIds[(n * replicas + index) % nodes];
      const instance = instanceOf(workload, String(index), node, status, at);
      state.addInstance(instance);
      const about = { workload: workload.spec.id, instance: instance.id, generation: 1, node };
      emit({ type: 'instance.placed', ...about, data: { uid: workload.uid, reason: `placed on ${node}` } });
      emit({ type: 'instance.started', ...about, data: { uid: workload.uid, reason: null } });
      waiting += 1;
      if (waiting % AT_ONCE === 0) await commit();
    }
  }
  await commit();
  records += workloads * (1 + replicas) + Math.min(eventsInAll, EVENTS_KEPT);
  await store.close();
  return { records };
}

function nodeOf(id, port) {
  return {
    id,
    host: '127.0.0.1',
    port,
    nodeKey: `key-of-${id}`,
    agentLabels: { zone: `z${id.slice(-1)}` },
    givenLabels: {},
    capacity: { cpuMillis: 64_000, memoryBytes: 256 * 2 ** 30 },
    features: [],
    version: '0.1.0',
    incarnation: `incarnation-of-${id}`,
    cordoned: false,
    drain: null,
    status: 'healthy',
    statusReason: null,
    lastContactAt: new Date().toISOString(),
  };
}

function workloadOf(n, replicas, status, at) {
  return {
    uid: randomUUID(),
    spec: {
      id: `job-${String(n).padStart(6, '0')}`,
      kind: status === 'completed' ? 'batch' : 'service',
      command: ['sleep', '600'],
      env: { PORT: '8080', STAGE: 'production' },
      restart: { policy: 'always', attempts: 0, backoffMs: 1_000, maxBackoffMs: 60_000, resetAfterMs: 60_000 },
      stop: { signal: 'SIGTERM', graceMs: 10_000 },
      labels: { team: `t${n % 100}` },
      replicas,
      resources: { cpuMillis: 100, memoryBytes: 64 * 2 ** 20 },
      placement: { strategy: 'spread', constraints: [] },
    },
    version: 1,
    revision: 1,
    generationFloor: 0,
    goal: 'run',
    purge: false,
    status,
    createdAt: at,
    updatedAt: at,
  };
}

function instanceOf({ uid, spec }, slot, node, status, at) {
  const ended = status === 'completed';
  const placed = status !== 'pending';
  return {
    uid,
    slot,
    id: `${spec.id}.${slot}`,
    generation: placed ? 1 : 0,
    run: placed ? 1 : 0,
    rev: ended ? 12 : placed ? 9 : -1,
    revision: 1,
    status,
    statusReason: null,
    node: placed ? node : null,
    lingersOn: null,
    onDisconnect: 'replace',
    fenced: false,
    pid: status === 'running' ? 12_345 : null,
    shimPid: status === 'running' ? 12_344 : null,
    startedAt: placed ? at : null,
    exit: ended ? { code: 0, signal: null, at, oomKilled: false } : null,
    attempts: placed ? 1 : 0,
    reserved: placed ? spec.resources : { cpuMillis: 0, memoryBytes: 0 },
    replacing: null,
    surplus: false,
    retryAtMs: 0,
    triedNodes: [],
    preferredNode: null,
    placements: placed ? [{ generation: 1, node }] : [],
  };
}

module.exports = { fillDataDir };

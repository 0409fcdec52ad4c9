'use strict';
/**
 * One simulated agent: it listens at an address of its own, answers what docs/protocol.md says an agent answers, and can be
 * made to fail. What it runs is in instances.cjs. All agents of a process share one wheel of timers.
 */
const { randomUUID } = require('node:crypto');
const { createServer } = require('node:net');
const { performance } = require('node:perf_hooks');
const { makeToken, tokenText } = require('../../dist/access/tokenText.js');
const { CLOSE_STALE_EPOCH, CLOSE_WRONG_CLUSTER } = require('../../dist/contract/agentApi.js');
const { MorchError, problemOf } = require('../../dist/contract/errors.js');
const { hasEnded } = require('../../dist/agent/instanceStatus.js');
const { Session } = require('../../dist/agent/session.js');
const { VERSION } = require('../../dist/contract/version.js');
const { Connection } = require('./connection.cjs');
const { Instances } = require('./instances.cjs');
const { Member } = require('./member.cjs');

const HEARTBEAT_MS = 1_000;
const USAGE_EVERY_MS = 5_000;
/** A scheduler that answers no ping for so long is gone. */
const SILENT_MS = 15_000;
/** Without a scheduler for so long it registers again. */
const UNHEARD_MS = 5_000;
const BACKLOG = 64;
/** Heartbeats that may be waiting for their acknowledgement; older ones are not remembered. */
const UNACKNOWLEDGED_AT_MOST = 256;

/**
 * hang: the agent stands still, what comes waits; cut: nothing comes in or leaves, the agent goes on; crash: the agent is gone,
 * its instances live on; die: the machine is gone, and refuses connections.
 */
const FAULTS = ['hang', 'cut', 'crash', 'die'];

class SimulatedAgent {
  nodeKey = randomUUID();
  token = tokenText(makeToken('agent'));
  bootId = randomUUID();
  member = new Member();
  fault = null;
  #server = null;
  #connections = new Set();
  /** The WebSockets among them. */
  #listeners = new Set();
  #admitted = 0;
  /** What was to be done while it stood still. */
  #putOff = [];
  #unsaid = [];
  #withoutSchedulerSinceMs = performance.now();
  #usage = { version: -1, text: '' };
  #session = null;
  #lease = null;

  /**
   * @param means.wheel, .programs, .tally, .checks  of the process
   * @param means.systemText   JSON of what every node measures
   * @param means.behaviour    { startMs, stopMs, capacity }
   */
  constructor({ name, host, port, labels }, means) {
    this.name = name;
    this.host = host;
    this.port = port;
    this.labels = labels;
    this.means = means;
    this.#begin({ endsAtMs: 0, term: 0 });
    this.instances = new Instances({
      ...means,
      session: () => this.#session,
      whenAwake: (act) => this.#whenAwake(act),
      report: (instance) => this.#report(instance),
    });
  }

  /** A start of the agent. @param lease what stands on the page that outlives it */
  #begin(lease) {
    this.incarnation = randomUUID();
    this.startedAt = new Date().toISOString();
    this.#lease = lease;
    const page = { read: () => ({ ...lease }), refresh: (said) => Object.assign(lease, said) };
    this.#session = new Session(
      page,
      () => performance.now(),
      () => true,
    );
    this.#withoutSchedulerSinceMs = performance.now();
  }

  listen() {
    this.#server = createServer((socket) => {
      const connection = new Connection(socket, this);
      this.#connections.add(connection);
      if (this.fault !== null) connection.hold();
    });
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host: this.host, port: this.port, backlog: BACKLOG }, resolve);
    });
  }

  get hasScheduler() {
    for (const { scheduler } of this.#listeners) if (scheduler !== null) return true;
    return false;
  }

  /** What it tells its scheduler of itself. */
  get registration() {
    const { host, port, name, labels, token } = this;
    return { host, port, name, labels, agentToken: token };
  }

  /** Regularly: what an agent looks after beside heartbeats. @returns whether it wants to register */
  look(nowMs) {
    if (this.#lease.endsAtMs !== 0 && nowMs >= this.#lease.endsAtMs && this.fault !== 'die') {
      this.instances.endFenced();
    }
    return this.fault === null && !this.hasScheduler && nowMs - this.#withoutSchedulerSinceMs >= UNHEARD_MS;
  }

  // ---- faults

  fail(fault) {
    if (!FAULTS.includes(fault)) throw new Error(`no such fault: ${fault}`);
    if (this.fault !== null) return;
    this.fault = fault;
    if (fault === 'hang' || fault === 'cut') {
      for (const connection of this.#connections) connection.hold();
      return;
    }
    this.#server.close();
    for (const connection of this.#connections) connection.destroy();
    if (fault === 'die') this.instances.die();
  }

  /** @returns when it listens; whether it has started anew, and registers */
  async heal() {
    const { fault } = this;
    if (fault === null) return false;
    this.fault = null;
    if (fault === 'hang' || fault === 'cut') {
      // What stood still comes first: then it reads what has come meanwhile.
      for (const act of this.#putOff.splice(0)) act();
      for (const connection of this.#connections) connection.release();
      return false;
    }
    if (fault === 'die') this.bootId = randomUUID();
    this.#begin(fault === 'die' ? { endsAtMs: 0, term: 0 } : this.#lease);
    await this.listen();
    for (const act of this.#putOff.splice(0)) act();
    return true;
  }

  #whenAwake(act) {
    if (this.fault === 'hang' || this.fault === 'crash') this.#putOff.push(act);
    else act();
  }

  close() {
    this.#server.close();
    for (const connection of this.#connections) connection.socket.destroy();
  }

  // ---- connections

  closed(connection) {
    this.#connections.delete(connection);
    if (connection.listener !== undefined) this.#part(connection.listener);
  }

  misunderstood(error) {
    this.means.tally.misunderstood += 1;
    process.stderr.write(`${this.name}: ${error.stack}\n`);
  }

  serve(request, connection) {
    const { method, path } = request;
    try {
      if (method === 'GET' && (path === '/livez' || path === '/readyz'))
        return connection.answer(200, 'ok\n', 'text/plain');
      if (request.headers.get('authorization') !== `Bearer ${this.token}`)
        throw new MorchError('UNAUTHENTICATED', 'The token is not that of this agent.');
      const handler = HANDLERS[`${method} ${path}`] ?? (/^\/instances\/[^/]+\/logs$/.test(path) ? 'logs' : null);
      if (handler === null) throw new MorchError('NOT_FOUND', `There is no ${method} ${path}.`);
      this[handler](request, connection);
    } catch (error) {
      this.#refuse(connection, error);
    }
  }

  #refuse(connection, error) {
    if (!(error instanceof MorchError)) this.misunderstood(error);
    const problem = problemOf(error);
    connection.answer(problem.status, JSON.stringify(problem), 'application/problem+json; charset=utf-8');
  }

  status({ query }, connection) {
    this.means.tally.probes += 1;
    const withProcesses = !query.includes('processes=false');
    const usage = { cpuPercent: 0, memoryBytes: 2 ** 20 };
    const processes = withProcesses
      ? `,"processes":${JSON.stringify([...this.instances.all()].map((one) => ({ ...this.instances.reportOf(one), ...usage })))}`
      : '';
    const { clusterId, epoch, term } = this.member;
    const told = { clusterId, epoch, term, hasSession: this.#session.hasBegun, startedAt: this.startedAt };
    const text = `{${this.#selfText()},${JSON.stringify(told).slice(1, -1)},"system":${this.means.systemText}${processes}}`;
    this.means.checks.status(text);
    connection.answer(200, text);
  }

  /** Of status and hello alike. */
  #selfText() {
    const { name, nodeKey, incarnation, bootId, labels } = this;
    const self = { name, version: VERSION, nodeKey, incarnation, bootId, features: [], labels };
    return JSON.stringify({ ...self, capacity: this.means.behaviour.capacity }).slice(1, -1);
  }

  kept({ query }, connection) {
    const { clusterId, epoch } = Object.fromEntries(new URLSearchParams(query));
    this.member.check({ clusterId, epoch: epoch === undefined ? undefined : Number(epoch) });
    connection.answer(200, JSON.stringify({ instances: [...this.instances.kept()] }));
  }

  logs(_request, connection) {
    connection.answer(200, '', 'text/plain; charset=utf-8');
  }

  drill({ body }, connection) {
    const command = JSON.parse(body);
    this.member.check(command);
    const refusal = this.#session.refusalOfStart(command);
    if (refusal !== null) throw refusal;
    const durationMs = command.kind === 'kill' ? null : (command.durationMs ?? 20_000);
    connection.answer(202, JSON.stringify({ kind: command.kind, durationMs }));
    this.means.wheel.after(0, () => this.fail(command.kind === 'kill' ? 'crash' : 'cut'));
    if (durationMs !== null) this.means.wheel.after(durationMs, () => void this.heal());
  }

  // ---- commands

  start({ body }, connection) {
    const value = JSON.parse(body);
    const isBatch = value.instances !== undefined;
    this.means.checks.start(value, isBatch);
    const commands = isBatch ? value.instances : [value];
    this.means.tally.startCalls += 1;
    this.means.tally.starts += commands.length;
    const admitted = commands.map((command) => this.#admit(command));
    const { incarnation } = this;
    const answer = () => {
      if (this.incarnation !== incarnation) return;
      for (const one of admitted) if (!(one instanceof Error)) this.instances.settle(one);
      const results = admitted.map((one) =>
        this.#settled(() => (one instanceof Error ? one : this.instances.answerOf(one))),
      );
      this.means.checks.started(results);
      if (isBatch) connection.answer(200, JSON.stringify({ results }));
      else connection.answer(results[0].status ?? 201, JSON.stringify(results[0]));
    };
    const { startMs } = this.means.behaviour;
    if (startMs === 0) answer();
    else this.means.wheel.after(startMs, () => this.#whenAwake(answer));
  }

  /** @returns the instance, or why it is not started */
  #admit(command) {
    try {
      this.member.check(command);
      const refusal = this.#session.refusalOfStart(command);
      if (refusal !== null) throw refusal;
      return this.instances.admit(command);
    } catch (error) {
      return error;
    }
  }

  /** An answer, or a problem. */
  #settled(act) {
    try {
      const result = act();
      if (result instanceof Error) throw result;
      return result;
    } catch (error) {
      this.means.tally.refused += 1;
      return problemOf(error);
    }
  }

  stop({ body }, connection) {
    const value = JSON.parse(body);
    if (value.instances === undefined)
      throw new MorchError('INVALID_INPUT', 'A simulated agent takes stops from its scheduler only: in batches.');
    this.means.checks.stop(value);
    this.means.tally.stops += value.instances.length;
    const results = value.instances.map((target) => this.#settled(() => this.#stopOne(target)));
    connection.answer(200, JSON.stringify({ results }));
  }

  #stopOne(target) {
    this.member.admit(target);
    const refusal = this.#session.refusalOfStop(target);
    if (refusal !== null) throw refusal;
    const { instanceId, generation, run, status, exit } = this.instances.reportOf(this.instances.stop(target));
    return { instanceId, generation, run, status, exit };
  }

  // ---- events

  events({ headers, query }, connection) {
    const key = headers.get('sec-websocket-key');
    if (key === undefined) throw new MorchError('INVALID_INPUT', 'GET /events speaks WebSocket only.');
    const { clusterId, epoch, term } = Object.fromEntries(new URLSearchParams(query));
    connection.upgrade(key);
    try {
      if (clusterId !== undefined) this.member.admit({ clusterId, epoch: epoch && Number(epoch), term });
    } catch (error) {
      if (!(error instanceof MorchError)) throw error;
      connection.close(error.code === 'WRONG_CLUSTER' ? CLOSE_WRONG_CLUSTER : CLOSE_STALE_EPOCH, error.message);
      return;
    }
    this.#greet(connection, clusterId === undefined ? null : { clusterId, epoch: this.member.epoch });
  }

  #greet(connection, scheduler) {
    if (scheduler !== null) this.#dismissEarlier(scheduler);
    const nowMs = performance.now();
    this.#admitted += 1;
    const listener = {
      connection,
      scheduler,
      order: this.#admitted,
      beats: 0,
      sentAtMs: new Map([[0, nowMs]]),
      heartbeatMs: HEARTBEAT_MS,
      heardAtMs: nowMs,
      usageDueMs: nowMs + USAGE_EVERY_MS,
      together: false,
      isOver: false,
    };
    connection.listener = listener;
    const reports = [...this.instances.all()].map((instance) => this.instances.reportOf(instance));
    const { mark, leaseMs } = this.member;
    const hello = `{"type":"hello",${this.#selfText()},"mark":${mark},"leaseMs":${leaseMs},"instances":${JSON.stringify(reports)}}`;
    this.means.checks.message(hello);
    // What changed in this turn is in the inventory: it is not for this one.
    this.#say();
    this.#listeners.add(listener);
    connection.tell([hello]);
    this.#beat(listener, nowMs);
  }

  #dismissEarlier({ clusterId, epoch }) {
    for (const { connection, scheduler } of this.#listeners) {
      if (scheduler === null) continue;
      if (scheduler.clusterId !== clusterId)
        connection.close(CLOSE_WRONG_CLUSTER, 'the agent has joined another cluster');
      else if (scheduler.epoch < epoch) connection.close(CLOSE_STALE_EPOCH, 'a later scheduler term has connected');
    }
  }

  #part(listener) {
    if (listener.isOver) return;
    listener.isOver = true;
    this.#listeners.delete(listener);
    this.#session.end(listener);
    if (!this.hasScheduler) this.#withoutSchedulerSinceMs = performance.now();
  }

  /** Its process's wheel calls it again as long as the connection is there. @param dueMs when it was to be */
  #beat(listener, dueMs) {
    if (listener.isOver) return;
    const nowMs = performance.now();
    const nextMs = Math.max(dueMs + listener.heartbeatMs, nowMs);
    this.means.wheel.at(nextMs, () => this.#beat(listener, nextMs));
    if (this.fault === 'hang') return;
    if (nowMs - listener.heardAtMs > SILENT_MS) {
      listener.connection.destroy();
      this.#part(listener);
      return;
    }
    const withUsage = nowMs >= listener.usageDueMs;
    if (withUsage) listener.usageDueMs = nowMs + USAGE_EVERY_MS;
    listener.beats += 1;
    listener.sentAtMs.set(listener.beats, nowMs);
    if (listener.sentAtMs.size > UNACKNOWLEDGED_AT_MOST)
      listener.sentAtMs.delete(listener.sentAtMs.keys().next().value);
    const { knownCount, liveCount } = this.instances;
    const text = `{"type":"heartbeat","n":${listener.beats},"incarnation":"${this.incarnation}","bootId":"${this.bootId}","system":${this.means.systemText},"digest":{"instances":${knownCount},"live":${liveCount}}${withUsage ? this.#usageText() : ''}}`;
    this.means.checks.message(text);
    this.means.tally.heartbeats += 1;
    listener.connection.tell([text]);
    if (withUsage) listener.connection.ping();
  }

  /** Made anew only when what lives has changed. */
  #usageText() {
    const { version } = this.instances;
    if (this.#usage.version !== version) {
      const usage = [];
      for (const { program, slot, generation } of this.instances.live())
        usage.push(`["${program.workloadId}.${slot}",${generation},0.1,1048576]`);
      this.#usage = { version, text: `,"usage":[${usage.join(',')}]` };
    }
    return this.#usage.text;
  }

  heardPong({ listener }) {
    if (listener !== undefined) listener.heardAtMs = performance.now();
  }

  hear(text, { listener }) {
    if (listener === undefined || listener.scheduler === null || listener.isOver) return;
    listener.heardAtMs = performance.now();
    const message = JSON.parse(text);
    this.means.checks.heard(message);
    switch (message.type) {
      case 'session':
        return this.#beginSession(listener, message);
      case 'ack': {
        this.means.tally.acks += 1;
        const sentAtMs = takeSent(listener, message.n);
        if (sentAtMs !== undefined) this.#session.acknowledge(sentAtMs, listener);
        if (message.mark > this.member.mark) this.member.mark = message.mark;
        return;
      }
      case 'forget':
        for (const generation of message.instances) this.instances.forget(generation);
        return;
      case 'workloads':
        if (this.#session.isOn(listener)) this.means.programs.note(message.workloads);
        return;
      default:
        throw new Error(`a message of an unknown type: ${text.slice(0, 100)}`);
    }
  }

  #beginSession(listener, message) {
    const sentAtMs = takeSent(listener, 0);
    if (sentAtMs === undefined) return;
    this.#session.begin(message, listener.scheduler.epoch, sentAtMs, listener);
    this.member.leaseMs = message.leaseMs;
    listener.heartbeatMs = message.heartbeatMs;
    listener.together = message.together === true;
    this.means.tally.sessions += 1;
  }

  /** Everything of one turn in one write. */
  #report(instance) {
    const { tally } = this.means;
    tally.reports += 1;
    tally.lastReportAtMs = Date.now();
    if (this.#listeners.size === 0) return;
    this.#unsaid.push(JSON.stringify(this.instances.reportOf(instance)));
    if (this.#unsaid.length === 1) queueMicrotask(() => this.#say());
  }

  #say() {
    const reports = this.#unsaid;
    this.#unsaid = [];
    if (reports.length === 0) return;
    const each = reports.map((report) => `{"type":"instance","instance":${report}}`);
    const together = [`{"type":"instances","instances":[${reports.join(',')}]}`];
    for (const text of [...each, ...together]) this.means.checks.message(text);
    for (const listener of this.#listeners) listener.connection.tell(listener.together ? together : each);
  }

  /** Ids and tokens of what lives here: [instanceId, generation, run] */
  liveOnes() {
    return [...this.instances.live()].map(({ program, slot, generation, run }) => [
      `${program.workloadId}.${slot}`,
      generation,
      run,
    ]);
  }

  /** @returns whether it was there and running */
  endRun(instanceId, code) {
    for (const instance of this.instances.live()) {
      if (hasEnded(instance.status) || `${instance.program.workloadId}.${instance.slot}` !== instanceId) continue;
      this.#whenAwake(() => this.instances.exit(instance, code));
      return true;
    }
    return false;
  }
}

const HANDLERS = {
  'GET /status': 'status',
  'POST /start': 'start',
  'POST /stop': 'stop',
  'POST /drill': 'drill',
  'GET /instances': 'kept',
  'GET /events': 'events',
};

/** When the heartbeat was sent; what was sent before it needs no acknowledgement any more. */
function takeSent({ sentAtMs }, n) {
  const at = sentAtMs.get(n);
  if (at !== undefined) for (const earlier of sentAtMs.keys()) if (earlier <= n) sentAtMs.delete(earlier);
  return at;
}

module.exports = { SimulatedAgent };

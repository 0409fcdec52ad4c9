'use strict';
/**
 * A real cluster on loopback: a scheduler and agents as `morch scheduler` and `morch agent` of the built tree, child
 * processes of this one, each with a data directory and a port of its own. They end with this process, however it
 * ends: `close` asks them to, `destroy` and a kill of this process make them.
 */
const { spawn } = require('node:child_process');
const { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } = require('node:fs');
const { createServer } = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { HttpClient } = require('./http.cjs');
const { findMarked, killMarked } = require('./processes.cjs');
const { until } = require('./until.cjs');

const ROOT = path.resolve(__dirname, '../..');
const MORCH = path.join(ROOT, 'dist/cli/main.js');
const STOP_WITHIN_MS = 15_000;

/** All that were started, for the end of the program. */
const clusters = new Set();

class Cluster {
  /** [{ name, port, child }], the scheduler first */
  parts = [];
  /** In the environment of every workload, by which its processes are found. */
  mark = `bench-${process.pid}-${Math.random().toString(36).slice(2)}`;
  directory = mkdtempSync(path.join(os.tmpdir(), 'morch-bench-'));
  client = null;
  #destroyed = false;

  /** @returns a cluster whose agents are all healthy */
  static async start({ agents = 3 } = {}) {
    if (!existsSync(MORCH)) throw new Error(`${MORCH} is missing; run \`npm run setup\` first`);
    const cluster = new Cluster();
    clusters.add(cluster);
    await cluster.startScheduler();
    const names = Array.from({ length: agents }, (_, at) => `n${at + 1}`);
    for (const name of names) await cluster.startAgent(name);
    await cluster.untilHealthy(agents);
    return cluster;
  }

  get scheduler() {
    return this.parts[0];
  }

  get agents() {
    return this.parts.slice(1);
  }

  get address() {
    return `http://127.0.0.1:${this.scheduler.port}`;
  }

  partOf(name) {
    return this.parts.find((part) => part.name === name);
  }

  /** Resolves when it serves, which is looked for every 5 ms. */
  async startScheduler() {
    const part = await this.#launch('scheduler', ['scheduler']);
    this.client?.close();
    this.client = new HttpClient(part.port);
    await until(() => this.#isServing(part), { what: 'the scheduler serves', everyMs: 5 });
  }

  /** Does not wait for it to be healthy. */
  async startAgent(name) {
    await this.#launch(name, ['agent', '--name', name, '--scheduler', this.address]);
  }

  async #launch(name, args) {
    if (this.#destroyed) throw new Error(`${name} is not started: the program is ending`);
    const known = this.partOf(name);
    const port = known?.port ?? (await freePort());
    const log = openSync(path.join(this.directory, `${name}.log`), 'a');
    const options = ['--host', '127.0.0.1', '--port', String(port), '--data-dir', path.join(this.directory, name)];
    const child = spawn(process.execPath, [MORCH, ...args, ...options], {
      env: environmentOfParts(),
      stdio: ['ignore', log, log, 'ipc'],
      // A group of its own: Ctrl-C in the terminal reaches the bench program alone, which ends the parts in order.
      detached: true,
    });
    closeSync(log);
    child.on('error', () => {}); // its exit code stays null and whoever waits for it runs into the time limit
    if (known === undefined) this.parts.push({ name, port, child });
    else known.child = child;
    return this.partOf(name);
  }

  async #isServing({ name, child }) {
    if (hasEnded(child)) throw new Error(`${name} ended: ${this.lastWordsOf(name)}`);
    const answer = await this.client.request('GET', '/livez', undefined, { timeoutMs: 1_000 }).catch(() => null);
    return answer?.status === 200;
  }

  lastWordsOf(name) {
    return readFileSync(path.join(this.directory, `${name}.log`), 'utf8')
      .trimEnd()
      .split('\n')
      .slice(-5)
      .join('\n');
  }

  /** @throws Error unless the answer is of the 200s */
  async request(method, route, body, options) {
    const answer = await this.client.request(method, route, body, options);
    if (answer.status >= 300) {
      const text = JSON.stringify(answer.body).slice(0, 500);
      throw Object.assign(new Error(`${method} ${route} answered ${answer.status}: ${text}`), {
        status: answer.status,
      });
    }
    return answer.body;
  }

  /** @returns the workload as answered */
  submit(spec, options) {
    return this.request('POST', '/workloads', { ...spec, env: { ...spec.env, BENCH_MARK: this.mark } }, options);
  }

  async workloads() {
    return this.#all('/workloads', 'workloads');
  }

  instancesOf(id) {
    return this.#all(`/workloads/${id}/instances`, 'instances');
  }

  async #all(route, field) {
    const items = [];
    let cursor = null;
    do {
      const at = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
      const page = await this.request('GET', `${route}?limit=1000${at}`);
      items.push(...page[field]);
      cursor = page.nextCursor;
    } while (cursor !== null);
    return items;
  }

  /** Instances by id, as the nodes that hold them have them. */
  async instancesOnNodes() {
    const { nodes } = await this.request('GET', '/nodes?limit=1000');
    const details = await Promise.all(nodes.map(({ id }) => this.request('GET', `/nodes/${id}`)));
    return new Map(details.flatMap(({ instances }) => instances.map((instance) => [instance.id, instance])));
  }

  async untilHealthy(count) {
    await until(async () => (await this.request('GET', '/health')).nodes.healthy >= count, {
      what: `${count} nodes are healthy`,
      describe: () => this.agents.map(({ name }) => this.lastWordsOf(name)).join('\n'),
    });
  }

  /** Stops and removes all workloads; resolves when no process is left. */
  async purge() {
    const ids = (await this.workloads()).map(({ id }) => id);
    await inLanes(ids, 20, (id) => this.request('DELETE', `/workloads/${id}?purge=true`));
    await until(async () => (await this.workloads()).length === 0, { what: 'all workloads are purged' });
    await until(() => this.processes().length === 0, { what: 'no process of a workload is left' });
  }

  /** Live processes of all workloads: [{ pid, env }] */
  processes() {
    return findMarked(this.mark);
  }

  /** `kill -9`; resolves when it is reaped. */
  async kill(name) {
    await end(this.partOf(name).child, 'SIGKILL');
  }

  /** Ends the scheduler, then the agents, which stop their workloads. @returns how many processes were left, all killed since */
  async close() {
    await end(this.scheduler.child, 'SIGTERM');
    await Promise.all(this.agents.map(({ child }) => end(child, 'SIGTERM')));
    const left = this.processes().length;
    await this.destroy();
    return left;
  }

  /** Kills everything at once. The directory stays until the end of the program. */
  async destroy() {
    this.#destroyed = true;
    this.client?.close();
    await Promise.all(this.parts.map(({ child }) => end(child, 'SIGKILL')));
    await until(() => killMarked(this.mark) === 0, { what: 'all processes of workloads are gone', timeoutMs: 10_000 });
  }
}

/** @param keep leave the directories with the logs; @returns those that were left */
async function destroyAll({ keep }) {
  const kept = [];
  for (const cluster of clusters) {
    await cluster.destroy();
    if (keep) kept.push(cluster.directory);
    else rmSync(cluster.directory, { recursive: true, force: true, maxRetries: 3 });
    clusters.delete(cluster);
  }
  return kept;
}

/** `one` for each item, at most `width` at a time. */
async function inLanes(items, width, one) {
  const queue = [...items];
  const lane = async () => {
    while (queue.length > 0) await one(queue.shift());
  };
  await Promise.all(Array.from({ length: width }, lane));
}

function hasEnded(child) {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

/** Sends the signal and waits until the process is reaped; SIGKILL after 15 s. */
async function end(child, signal) {
  if (hasEnded(child)) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS);
  await gone;
  clearTimeout(timer);
}

/** Ours, less the variables that stand for flags; with the one that makes a part end when the channel to us closes. */
function environmentOfParts() {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('MORCH_'));
  return { ...Object.fromEntries(own), MORCH_PARENT_WATCH: '1' };
}

/** Below the range for outgoing connections, one of which could take it while a part is down. */
async function freePort() {
  for (let tries = 0; tries < 100; tries += 1) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if (await canListen(port)) return port;
  }
  throw new Error('no free port between 20000 and 32000');
}

function canListen(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

module.exports = { Cluster, destroyAll, freePort, inLanes, MORCH, ROOT };

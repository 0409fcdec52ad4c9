'use strict';
/**
 * A real cluster on loopback: a scheduler and agents as processes of their own. They end with this process, however it
 * ends: `close` asks them to, `destroy` and a kill of this process make them. Agents stop their workloads when told to end.
 */
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { enlist } = require('./ending.cjs');
const { HttpClient } = require('./http.cjs');
const { inLanes } = require('./lanes.cjs');
const { makeDirectory, makeMark, Part } = require('./part.cjs');
const { findMarked, findShims, killMarked, killPid, killShims } = require('./processes.cjs');
const { until } = require('./until.cjs');

class Cluster {
  /** The scheduler first. */
  parts = [];
  /** In the environment of every workload, by which its processes are found. */
  mark = makeMark();
  directory = makeDirectory();
  client = null;
  schedulerFlags = [];
  schedulerPreload = null;
  #destroyed = false;

  /** @returns a cluster whose agents are all healthy */
  static async start({ agents = 3, schedulerFlags = [], schedulerPreload = null } = {}) {
    const cluster = new Cluster();
    cluster.schedulerFlags = schedulerFlags;
    cluster.schedulerPreload = schedulerPreload;
    enlist(cluster);
    await cluster.startScheduler();
    const names = Array.from({ length: agents }, (_, at) => `n${at + 1}`);
    for (const name of names) await cluster.startAgent(name);
    await cluster.untilHealthy(agents);
    return cluster;
  }

  get isTls() {
    return this.schedulerFlags.includes('--tls');
  }

  get scheduler() {
    return this.parts[0];
  }

  get agents() {
    return this.parts.slice(1);
  }

  get address() {
    return `${this.isTls ? 'https' : 'http'}://127.0.0.1:${this.scheduler.port}`;
  }

  partOf(name) {
    return this.parts.find((part) => part.name === name);
  }

  /** Resolves when it serves: `route` is answered with 200. */
  async startScheduler({ route = '/livez' } = {}) {
    const part = await this.#launch('scheduler', ['scheduler', ...this.schedulerFlags], this.schedulerPreload);
    this.client?.close();
    this.client = new HttpClient(part.port, this.isTls ? path.join(part.dataDir, 'pki/ca.crt') : null);
    await part.untilServing(this.client, route);
  }

  /** Does not wait for it to be healthy. */
  async startAgent(name) {
    await this.#launch(name, [
      ...['agent', '--name', name, '--scheduler', this.address, '--on-exit', 'stop', '--run-as', 'agent'],
      ...['--join-token-file', this.joinTokenFile],
    ]);
  }

  get joinTokenFile() {
    return path.join(this.scheduler.dataDir, 'join.token');
  }

  async #launch(name, args, preload = null) {
    const part = this.partOf(name) ?? (await Part.make({ name, args, directory: this.directory, preload }));
    if (this.#destroyed) throw new Error(`${name} is not started: the program is ending`);
    if (!this.parts.includes(part)) this.parts.push(part);
    part.launch();
    return part;
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
      describe: () => this.agents.map((part) => part.lastWords()).join('\n'),
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

  /** All there are of one node, or of all: [{ pid, key, nonce }] */
  shims(name) {
    return findShims(name === undefined ? this.directory : this.partOf(name).dataDir);
  }

  /** `kill -9`; resolves when it is reaped. What an agent has started goes on in its shims. */
  async kill(name) {
    await this.partOf(name).end('SIGKILL');
  }

  /**
   * The death of a node: agent, shims and workloads by `kill -9`, at once. Resolves when the agent is reaped.
   * @returns when it was, by the clock and by performance.now()
   */
  async killNode(name) {
    const processes = this.processes().filter(({ env }) => env.MORCH_NODE === name);
    const death = { killedAtMs: Date.now(), killedAt: performance.now() };
    const reaped = this.kill(name);
    // The shims first: one that sees its workload end would still record that.
    for (const { pid } of [...this.shims(name), ...processes]) killPid(pid);
    await reaped;
    return death;
  }

  /**
   * Ends the scheduler, then the agents, which stop their workloads.
   * @returns how many processes, shims among them, were left, all killed since
   */
  async close() {
    await this.scheduler.end('SIGTERM');
    await Promise.all(this.agents.map((part) => part.end('SIGTERM')));
    const left = this.processes().length + this.shims().length;
    await this.destroy();
    return left;
  }

  /** Kills everything at once. The directory stays until the end of the program. */
  async destroy() {
    this.#destroyed = true;
    this.client?.close();
    await Promise.all(this.parts.map((part) => part.end('SIGKILL')));
    const killLeft = () => killShims(this.directory) + killMarked(this.mark) === 0;
    await until(killLeft, { what: 'all shims and workloads are gone', timeoutMs: 10_000 });
  }
}

module.exports = { Cluster };

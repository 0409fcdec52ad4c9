'use strict';
/**
 * One real agent without a scheduler, used by HTTP alone: it can be killed and launched again on its port and data directory.
 * Workloads outlive it in their shims, until `destroy`.
 */
const { enlist } = require('./ending.cjs');
const { HttpClient, openMessages } = require('./http.cjs');
const { makeDirectory, makeMark, Part } = require('./part.cjs');
const { findMarked, findShims, killMarked, killShims } = require('./processes.cjs');
const { until } = require('./until.cjs');

class Agent {
  mark = makeMark();
  client = null;
  #destroyed = false;

  /**
   * @param parent where its directory is made; default: that of temporary files
   * @param flags  of `morch agent`, beside the usual
   * @returns one that serves
   */
  static async start({ parent, flags = [] } = {}) {
    const agent = new Agent();
    agent.directory = makeDirectory(parent);
    enlist(agent);
    const args = ['agent', '--name', 'alone', '--on-exit', 'stop', '--run-as', 'agent', ...flags];
    agent.part = await Part.make({ name: 'alone', args, directory: agent.directory });
    await agent.launch();
    return agent;
  }

  get pid() {
    return this.part.pid;
  }

  get dataDir() {
    return this.part.dataDir;
  }

  /** Resolves when it serves. @param onSpawn called when the process is there */
  async launch(onSpawn = () => {}) {
    if (this.#destroyed) throw new Error('the agent is not started: the program is ending');
    this.client?.close();
    this.client = new HttpClient(this.part.port);
    this.part.launch();
    onSpawn();
    await this.part.untilServing(this.client);
  }

  /** `kill -9`; resolves when it is reaped. Workloads go on. */
  async kill() {
    await this.part.end('SIGKILL');
  }

  /** @throws Error with `status` unless the answer is of the 200s; the system's, when there is none */
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

  /** @returns as answered */
  start(spec, options) {
    return this.request('POST', '/start', this.#marked(spec), options);
  }

  /** As one request. @throws Error when one of them is a problem; @returns the answers, in order */
  async startAll(specs, options) {
    const { results } = await this.request(
      'POST',
      '/start',
      { instances: specs.map((spec) => this.#marked(spec)) },
      options,
    );
    const problem = results.find(({ pid }) => pid === undefined);
    if (problem !== undefined) throw new Error(`a start was refused: ${JSON.stringify(problem)}`);
    return results;
  }

  #marked(spec) {
    return { ...spec, env: { ...spec.env, BENCH_MARK: this.mark } };
  }

  async instances() {
    return (await this.request('GET', '/status')).processes;
  }

  /** Its messages from now on, to `take`, until closed. @returns what closes it */
  listen(take) {
    return openMessages(this.part, take);
  }

  /** Live processes of all workloads: [{ pid, env }] */
  processes() {
    return findMarked(this.mark);
  }

  shims() {
    return findShims(this.directory);
  }

  /** Ends it, and with it its workloads. @returns how many processes, shims among them, were left, all killed since */
  async close() {
    await this.part.end('SIGTERM');
    const left = this.processes().length + this.shims().length;
    await this.destroy();
    return left;
  }

  async destroy() {
    this.#destroyed = true;
    this.client?.close();
    await this.part?.end('SIGKILL');
    const killLeft = () => killShims(this.directory) + killMarked(this.mark) === 0;
    await until(killLeft, { what: 'all shims and workloads are gone', timeoutMs: 10_000 });
  }
}

module.exports = { Agent };

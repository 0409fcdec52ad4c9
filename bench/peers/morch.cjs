'use strict';
/** Ours, as the peers are: a scheduler and one agent, asked over a connection that is kept. All is on that is by default. */
const { Cluster } = require('../harness/cluster.cjs');
const { until } = require('../harness/until.cjs');

const POLL_MS = 20;
const WITHIN_MS = 120_000;

class Morch {
  static label = 'morch';

  static version() {
    return 'this';
  }

  /** @param groups what can be started: { name, command, count } */
  static async open(groups) {
    const cluster = await Cluster.start({ agents: 1 });
    for (const { name, command } of groups) await cluster.submit({ id: name, kind: 'service', command, replicas: 0 });
    return new Morch(cluster, groups);
  }

  constructor(cluster, groups) {
    this.cluster = cluster;
    this.groups = groups;
  }

  /** Resolves once all are reported running. @returns how many are */
  async start(name) {
    const replicas = this.groups.find((group) => group.name === name).count;
    await this.cluster.request('POST', `/workloads/${name}/scale`, { replicas });
    await this.#untilIs(name, ({ counts }) => counts.running === replicas);
    return replicas;
  }

  /** Resolves once it is reported stopped: no process is left. */
  async stop(name) {
    await this.cluster.request('DELETE', `/workloads/${name}`);
    await this.#untilIs(name, ({ status }) => status === 'stopped');
  }

  async #untilIs(name, isSo) {
    let workload;
    const look = async () => {
      // The list has no instances, which are not needed here, and is small.
      workload = (await this.cluster.workloads()).find(({ id }) => id === name);
      return isSo(workload);
    };
    const describe = () => JSON.stringify(workload.counts);
    await until(look, { what: `${name} is as it was asked`, everyMs: POLL_MS, timeoutMs: WITHIN_MS, describe });
  }

  processes() {
    return this.cluster.processes();
  }

  /** The pids of what it takes to keep them running, by what they are; there is a shim for each. */
  parts() {
    const { scheduler, agents } = this.cluster;
    const pidsOf = (list) => list.map(({ pid }) => pid);
    return { scheduler: [scheduler.pid], agent: pidsOf(agents), shims: pidsOf(this.cluster.shims()) };
  }

  async destroy() {
    await this.cluster.destroy();
  }
}

module.exports = { Morch };

'use strict';
/**
 * A fleet of simulated agents against a real scheduler, which does not know the difference: real HTTP and WebSocket servers on
 * addresses of their own in 127.100.0.0/16, in a few processes of many agents each. They start, report, restart and stop
 * instances that are only numbers, and can be made to fail. Everything ends with this process, however it ends.
 *
 *   const fleet = await Fleet.start({ nodes: 100 });
 *   await fleet.join({ port, joinToken });
 *   await fleet.fail('die', [0, 1, 2]);      // hang, cut, crash, die: see agent.cjs
 *   await fleet.counts();                    // { running, starts, lastReportAtMs, ... }
 *   await fleet.heal([0, 1, 2]);
 *   await fleet.close();
 */
const { fork } = require('node:child_process');
const { closeSync, openSync, readFileSync } = require('node:fs');
const path = require('node:path');
const { enlist } = require('../harness/ending.cjs');
const { freePort, makeDirectory } = require('../harness/part.cjs');

const ZONES = 10;

const BEHAVIOUR = {
  /** From the command to the running process, and from the stop to its end. */
  startMs: 5,
  stopMs: 5,
  /** Share of the running instances that end by themselves in each second, with code 1. */
  exitRate: 0,
  /** What every node says it has and uses. */
  capacity: { cpuMillis: 64_000, memoryBytes: 256 * 2 ** 30 },
  cpuPercent: 5,
};

class Fleet {
  #hosts = [];
  #asked = 0;
  /** How a process of agents ended that was not told to. */
  failure = null;
  #isOver = false;
  directory = makeDirectory();

  /**
   * Resolves when all listen.
   *
   * @param processes  2,500 agents in one have 15,000 files open: listener, WebSocket, up to four connections for commands
   * @param behaviour  what differs from BEHAVIOUR
   * @param checked    everything said and heard is checked against the contract
   */
  static async start({ nodes, processes = 1, behaviour, checked = false }) {
    const fleet = new Fleet();
    enlist(fleet);
    fleet.nodes = nodes;
    const port = await freePort();
    const agents = Array.from({ length: nodes }, (_, number) => ({
      number,
      name: nameOf(number),
      host: `127.100.${number >> 8}.${number & 255}`,
      port,
      labels: { zone: `z${number % ZONES}` },
    }));
    fleet.#hosts = Array.from({ length: processes }, (_, at) => fleet.#fork(at));
    const given = { behaviour: { ...BEHAVIOUR, ...behaviour }, checked };
    await fleet.#askAll('start', (at) => ({
      agents: agents.filter(({ number }) => number % processes === at),
      ...given,
    }));
    return fleet;
  }

  /** They make themselves known by and by, and again whenever they hear no scheduler. @param scheduler { port, joinToken }, on loopback */
  async join(scheduler) {
    await this.#askAll('join', () => ({ scheduler }));
  }

  /** @param behaviour what is to be different from now on: of `startMs`, `stopMs`, `exitRate` */
  async behave(behaviour) {
    await this.#askAll('behave', () => ({ behaviour }));
  }

  /** Of each agent: { host, port, token } */
  async addresses() {
    return (await this.#askAll('addresses')).flat();
  }

  /** @param numbers of agents, from 0 */
  async fail(fault, numbers) {
    await this.#askAll('fail', () => ({ fault, numbers }));
  }

  async heal(numbers) {
    await this.#askAll('heal', () => ({ numbers }));
  }

  /** Of all together; `lastReportAtMs` by Date.now() is when the last change of an instance was told. */
  async counts() {
    const all = await this.#askAll('counts');
    const names = Object.keys(all[0]);
    const of = (name) => (name === 'lastReportAtMs' ? Math.max : sum)(...all.map((one) => one[name]));
    return Object.fromEntries(names.map((name) => [name, of(name)]));
  }

  /** What lives where: node → [{ instanceId, generation, run }] */
  async live() {
    const all = (await this.#askAll('live')).flat();
    return new Map(
      all.map(([name, ones]) => [name, ones.map(([instanceId, generation, run]) => ({ instanceId, generation, run }))]),
    );
  }

  /** Ends the present run of an instance by itself. @returns whether one was there */
  async endRun(instanceId, code) {
    return (await this.#askAll('endRun', () => ({ instanceId, code }))).includes(true);
  }

  get pids() {
    return this.#hosts.map(({ child }) => child.pid);
  }

  #fork(at) {
    const log = path.join(this.directory, `host-${at}.log`);
    const file = openSync(log, 'a');
    const child = fork(path.join(__dirname, 'host.cjs'), { stdio: ['ignore', file, file, 'ipc'], detached: true });
    closeSync(file);
    const host = { child, waiting: new Map() };
    child.on('message', ({ id, result, error }) => {
      const { resolve, reject } = host.waiting.get(id);
      host.waiting.delete(id);
      if (error === undefined) resolve(result);
      else reject(new Error(`a process of simulated agents failed: ${error}`));
    });
    child.once('exit', (code, signal) => {
      if (this.#isOver) return;
      this.failure = new Error(
        `a process of simulated agents ended (${signal ?? code}): ${readFileSync(log, 'utf8').slice(-2_000)}`,
      );
      for (const { reject } of host.waiting.values()) reject(this.failure);
    });
    return host;
  }

  #askAll(act, of = () => ({})) {
    if (this.failure !== null) throw this.failure;
    return Promise.all(
      this.#hosts.map(
        ({ child, waiting }, at) =>
          new Promise((resolve, reject) => {
            this.#asked += 1;
            waiting.set(this.#asked, { resolve, reject });
            child.send({ id: this.#asked, act, ...of(at) });
          }),
      ),
    );
  }

  /** Ends the processes; resolves when they are gone. */
  async destroy() {
    this.#isOver = true;
    await Promise.all(
      this.#hosts.map(({ child }) => {
        if (child.exitCode !== null || child.signalCode !== null) return undefined;
        const gone = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        return gone;
      }),
    );
  }

  /** @returns what the processes said that they should not have: nothing, when all was understood */
  async close() {
    await this.destroy();
    return this.#hosts.map((_, at) => readFileSync(path.join(this.directory, `host-${at}.log`), 'utf8')).join('');
  }
}

function nameOf(number) {
  return `n${number + 1}`;
}

function sum(...numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}

module.exports = { Fleet, nameOf };

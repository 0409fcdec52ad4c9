'use strict';
/** PM2 as a peer: its daemon with a home of its own, asked by a client that is connected already. */
const { fork } = require('node:child_process');
const { existsSync, mkdirSync, readFileSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { enlist } = require('../harness/ending.cjs');
const { makeDirectory, makeMark } = require('../harness/part.cjs');
const { environmentOf, findMarked, killMarked, killPid } = require('../harness/processes.cjs');
const { until } = require('../harness/until.cjs');

const CACHE = path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'morch-bench');
/** Where install.cjs puts it: never among what the project depends on. */
const PREFIX = path.join(CACHE, 'pm2');
const MODULE = path.join(PREFIX, 'node_modules/pm2');

class Pm2 {
  static label = 'PM2';
  mark = makeMark();
  directory = makeDirectory();
  #waiting = new Map();
  #calls = 0;

  /** @returns its version; null when it is not installed */
  static version() {
    const file = path.join(MODULE, 'package.json');
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).version : null;
  }

  /** @param groups what can be started: { name, command, count } */
  static async open(groups) {
    const pm2 = new Pm2();
    pm2.groups = groups;
    enlist(pm2);
    await pm2.#launch();
    return pm2;
  }

  async #launch() {
    this.home = path.join(this.directory, 'home');
    mkdirSync(this.home);
    const { FORCE_COLOR: _, ...own } = process.env;
    this.client = fork(path.join(__dirname, 'pm2Client.cjs'), [MODULE], {
      env: { ...own, PM2_HOME: this.home, PM2_DISABLE_VERSION_CHECK: 'true' },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.client.on('message', ({ id, error, result }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) resolve(result);
      else reject(new Error(`PM2: ${error}`));
    });
    this.client.once('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the client of PM2 has ended'));
    });
    await this.#ask('connect');
  }

  #ask(verb, ...args) {
    const id = ++this.#calls;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.client.send({ id, verb, args });
    });
  }

  /**
   * Resolves once all are online, by its own account. What is not needed is off: it looks for no repositories, loads nothing into what
   * it starts, and stops the process alone, not the tree below it, which takes a multiple of the time.
   * @returns how many are
   */
  async start(name) {
    const { command, count } = this.groups.find((group) => group.name === name);
    const [file, ...args] = command;
    await this.#ask('start', {
      name,
      script: file,
      args,
      interpreter: 'none',
      exec_mode: 'fork',
      instances: count,
      vizion: false,
      pmx: false,
      treekill: false,
      env: { BENCH_MARK: this.mark },
    });
    return this.#ask('online', name);
  }

  async stop(name) {
    await this.#ask('stop', name);
  }

  processes() {
    return findMarked(this.mark);
  }

  /** The pids of what it takes to keep them running, by what they are. */
  parts() {
    return { daemon: [this.#daemonPid()] };
  }

  #daemonPid() {
    const pid = Number(readFileSync(path.join(this.home, 'pm2.pid'), 'utf8'));
    if (environmentOf(pid).PM2_HOME !== this.home) throw new Error('the daemon of PM2 is gone');
    return pid;
  }

  async destroy() {
    this.client?.kill('SIGKILL');
    try {
      killPid(this.#daemonPid());
    } catch {
      // It is gone, or was never there.
    }
    const killLeft = () => killMarked(this.mark) === 0;
    await until(killLeft, { what: 'all that PM2 has started is gone', timeoutMs: 10_000 });
  }
}

module.exports = { Pm2, PREFIX };

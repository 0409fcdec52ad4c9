'use strict';
/**
 * One part of the product, `morch scheduler` or `morch agent` of the built tree, as a child process with a port and a data
 * directory that stay when it is launched again. It is told to end when this process is gone, however that ended.
 */
const { spawn } = require('node:child_process');
const { closeSync, existsSync, mkdtempSync, openSync, readFileSync, realpathSync } = require('node:fs');
const { createServer } = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { until } = require('./until.cjs');

const ROOT = path.resolve(__dirname, '../..');
const MORCH = path.join(ROOT, 'dist/cli/main.js');
const STOP_WITHIN_MS = 15_000;
const SERVING_WITHIN_MS = 120_000;

class Part {
  child = null;

  /** @param args its verb and flags; port and directory are added; `preload` is loaded into it first, see inside.cjs */
  static async make({ name, args, directory, preload = null }) {
    if (!existsSync(MORCH)) throw new Error(`${MORCH} is missing; run \`npm run setup\` first`);
    return new Part(name, args, directory, await freePort(), preload);
  }

  constructor(name, args, directory, port, preload) {
    this.name = name;
    this.args = args;
    this.port = port;
    this.nodeFlags = preload === null ? [] : ['--require', preload];
    this.dataDir = path.join(directory, name);
    this.log = path.join(directory, `${name}.log`);
  }

  get pid() {
    return this.child.pid;
  }

  /** What opens all of it; there once it serves. */
  get token() {
    const file = this.args[0] === 'agent' ? 'agent.token' : 'admin.token';
    return readFileSync(path.join(this.dataDir, file), 'utf8').trim();
  }

  /** Does not wait until it serves. */
  launch() {
    const log = openSync(this.log, 'a');
    const own = ['--host', '127.0.0.1', '--port', String(this.port), '--data-dir', this.dataDir];
    this.child = spawn(process.execPath, [...this.nodeFlags, MORCH, ...this.args, ...own], {
      env: environmentOfParts(),
      stdio: ['ignore', log, log, 'ipc'],
      // A group of its own: Ctrl-C in the terminal reaches the bench program alone, which ends the parts in order.
      detached: true,
    });
    closeSync(log);
    this.child.on('error', () => {}); // its exit code stays null and whoever waits for it runs into the time limit
  }

  /** Resolves when it answers, which is looked for every 5 ms. @throws Error with its last words when it has ended */
  async untilServing(client, route = '/livez') {
    const asks = async () => {
      if (hasEnded(this.child)) throw new Error(`${this.name} ended: ${this.lastWords()}`);
      const answer = await client.request('GET', route, undefined, { timeoutMs: 1_000 }).catch(() => null);
      return answer?.status === 200;
    };
    await until(asks, {
      what: `${this.name} serves`,
      timeoutMs: SERVING_WITHIN_MS,
      everyMs: 5,
      describe: () => this.lastWords(),
    });
    client.token = this.token;
  }

  lastWords() {
    return readFileSync(this.log, 'utf8').trimEnd().split('\n').slice(-5).join('\n');
  }

  /** Sends the signal and waits until the process is reaped; SIGKILL after 15 s. */
  async end(signal) {
    const { child } = this;
    if (child === null || hasEnded(child)) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS);
    await gone;
    clearTimeout(timer);
  }
}

function hasEnded(child) {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

/** Ours, less the variables that stand for flags; with the one that makes a part end when the channel to us closes. */
function environmentOfParts() {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('MORCH_'));
  return { ...Object.fromEntries(own), MORCH_PARENT_WATCH: '1' };
}

/** Symbolic links resolved, as shims are named after their agent's directory. @param parent on the file system to be used */
function makeDirectory(parent = os.tmpdir()) {
  return realpathSync(mkdtempSync(path.join(parent, 'morch-bench-')));
}

/** In the environment of every workload, by which its processes are found. */
function makeMark() {
  return `bench-${process.pid}-${Math.random().toString(36).slice(2)}`;
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

module.exports = { freePort, makeDirectory, makeMark, MORCH, Part, ROOT };

/** An agent of the checkout in a process of its own, a client for it, and what /proc says of what it has started. */
'use strict';

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const { note, until } = require('./tap.cjs');

const CLI = '/morch/dist/cli/main.js';

class Agent {
  #child = null;
  #log;

  constructor(dataDir, { port = 8080, flags = [] } = {}) {
    this.dataDir = dataDir;
    this.port = port;
    this.flags = flags;
    this.#log = `/tmp/agent-${port}.log`;
  }

  /** Again after a kill: the same agent, restarted. */
  async run() {
    const log = fs.openSync(this.#log, 'a');
    const flags = ['--port', String(this.port), '--data-dir', this.dataDir, ...this.flags];
    this.#child = spawn(process.execPath, [CLI, 'agent', '--name', 'vm', ...flags], { stdio: ['ignore', log, log] });
    fs.closeSync(log);
    await until(
      'the agent is ready',
      async () => {
        if (this.#child.exitCode !== null) throw new Error(`the agent ended with exit code ${this.#child.exitCode}`);
        return fetch(`http://127.0.0.1:${this.port}/readyz`).then(
          ({ status }) => status === 200,
          () => false,
        );
      },
      240_000,
    );
  }

  /** As a crash would end it. */
  async kill() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  tellLog() {
    const lines = fs.readFileSync(this.#log, 'utf8').trimEnd().split('\n');
    note(`the last of ${lines.length} lines that the agent logged:\n${lines.slice(-25).join('\n')}`);
  }

  get #token() {
    return fs.readFileSync(`${this.dataDir}/agent.token`, 'utf8').trim();
  }

  async request(method, path, body) {
    const response = await fetch(`http://127.0.0.1:${this.port}${path}`, {
      method,
      headers: {
        Authorization: `Bearer ${this.#token}`,
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json') ?? false;
    return { status: response.status, body: isJson ? JSON.parse(text) : text };
  }

  async status() {
    return (await this.request('GET', '/status')).body;
  }

  /** A shell script as an instance that is not started again, unless `more` says otherwise. */
  async start(instanceId, script, more = {}) {
    const command = { instanceId, command: ['/bin/sh', '-c', script], restart: { policy: 'never' }, ...more };
    const { status, body } = await this.request('POST', '/start', command);
    assert.equal(status, 201, `start of ${instanceId}: ${JSON.stringify(body)}`);
    return this.instance(instanceId);
  }

  async stop(instanceId, graceMs = 0) {
    const { status, body } = await this.request('POST', '/stop', { instanceId, graceMs });
    assert.equal(status, 200, `stop of ${instanceId}: ${JSON.stringify(body)}`);
    return body;
  }

  async instance(instanceId) {
    const { processes } = await this.status();
    const found = processes.filter((one) => one.instanceId === instanceId);
    return found.sort((a, b) => b.generation - a.generation)[0];
  }

  untilStatus(instanceId, status) {
    return until(`${instanceId} is ${status}`, async () => {
      const instance = await this.instance(instanceId);
      return instance?.status === status && instance;
    });
  }

  /** @returns {Promise<RegExpExecArray>} the first match in its output, once there is one */
  untilSaid(instanceId, pattern) {
    return until(`${instanceId} says ${pattern}`, async () =>
      pattern.exec((await this.request('GET', `/instances/${instanceId}/logs`)).body),
    );
  }
}

function* pids() {
  for (const name of fs.readdirSync('/proc')) if (/^\d+$/.test(name)) yield Number(name);
}

/** Empty when the process is gone. */
function readProc(pid, file) {
  try {
    return fs.readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return '';
  }
}

function isAlive(pid) {
  return /^State:\s+[^ZX]/m.test(readProc(pid, 'status'));
}

/** What with the pid names a process for good. */
function startTicksOf(pid) {
  return readProc(pid, 'stat')
    .replace(/^.*\) /s, '')
    .split(' ')[19];
}

/** Live processes that were started in an instance, unless they have cleared their environment. */
function processesOf(instanceId) {
  return [...pids()].filter(
    (pid) => readProc(pid, 'environ').split('\0').includes(`MORCH_INSTANCE=${instanceId}`) && isAlive(pid),
  );
}

function shims() {
  return [...pids()].filter((pid) => readProc(pid, 'cmdline').startsWith('morch-shim\0') && isAlive(pid));
}

/** @returns {string} the directory of its cgroup */
function groupOf(pid) {
  return `/sys/fs/cgroup${/^0::(.*)$/m.exec(readProc(pid, 'cgroup'))?.[1]}`;
}

/** Starts a program that has this pid, which must be free. */
async function startStranger(pid) {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    fs.writeFileSync('/proc/sys/kernel/ns_last_pid', String(pid - 1));
    // A session and group of its own: it would be met by a signal to the group, too.
    const child = spawn('/bin/sleep', ['100000'], { detached: true, stdio: 'ignore' });
    if (child.pid === pid) return child;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  throw new Error(`pid ${pid} could not be had again`);
}

module.exports = { Agent, groupOf, isAlive, processesOf, readProc, shims, startStranger, startTicksOf };

'use strict';
/** supervisord as a peer: a daemon with a configuration of its own, asked by XML-RPC over its socket. */
const { execFileSync, spawn } = require('node:child_process');
const { closeSync, existsSync, openSync, writeFileSync } = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { enlist } = require('../harness/ending.cjs');
const { makeDirectory, makeMark } = require('../harness/part.cjs');
const { findMarked, killMarked } = require('../harness/processes.cjs');
const { until } = require('../harness/until.cjs');

const PROGRAM = '/usr/bin/supervisord';
const CALL_WITHIN_MS = 300_000;

class Supervisord {
  static label = 'supervisord';
  mark = makeMark();
  directory = makeDirectory();
  #agent = new http.Agent({ keepAlive: true });

  /** @returns its version; null when it is not installed */
  static version() {
    return existsSync(PROGRAM) ? execFileSync(PROGRAM, ['--version'], { encoding: 'utf8' }).trim() : null;
  }

  /** @param groups what can be started: { name, command, count }, as its configuration has them before it begins */
  static async open(groups) {
    const daemon = new Supervisord();
    enlist(daemon);
    await daemon.#launch(groups);
    return daemon;
  }

  async #launch(groups) {
    const file = path.join(this.directory, 'supervisord.conf');
    this.socket = path.join(this.directory, 'socket');
    writeFileSync(file, configurationOf({ groups, directory: this.directory, socket: this.socket, mark: this.mark }));
    const log = openSync(path.join(this.directory, 'out'), 'a');
    this.child = spawn(PROGRAM, ['--nodaemon', '--configuration', file], {
      stdio: ['ignore', log, log],
      detached: true,
    });
    closeSync(log);
    this.gone = new Promise((resolve) => this.child.once('exit', resolve));
    const answers = () =>
      this.#call('getState').then(
        () => true,
        () => false,
      );
    await until(answers, { what: 'supervisord answers', everyMs: 50 });
  }

  /** @returns the answer, as XML */
  #call(method, ...parameters) {
    const text = `<?xml version="1.0"?><methodCall><methodName>supervisor.${method}</methodName><params>${parameters
      .map(
        (value) =>
          `<param><value>${typeof value === 'boolean' ? `<boolean>${Number(value)}</boolean>` : `<string>${value}</string>`}</value></param>`,
      )
      .join('')}</params></methodCall>`;
    const headers = { 'content-type': 'text/xml', 'content-length': Buffer.byteLength(text) };
    return new Promise((resolve, reject) => {
      const request = http.request(
        { socketPath: this.socket, path: '/RPC2', method: 'POST', headers, agent: this.#agent },
        (response) => {
          const chunks = [];
          response.on('data', (chunk) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const answer = Buffer.concat(chunks).toString();
            if (response.statusCode === 200 && !answer.includes('<fault>')) resolve(answer);
            else reject(new Error(`supervisord answered ${response.statusCode} to ${method}: ${answer.slice(0, 500)}`));
          });
        },
      );
      request.on('error', reject);
      request.setTimeout(CALL_WITHIN_MS, () => request.destroy(new Error(`supervisord does not answer to ${method}`)));
      request.end(text);
    });
  }

  /** Resolves once all run, by its own account. @returns how many do */
  async start(name) {
    await this.#call('startProcessGroup', name, true);
    const all = await this.#call('getAllProcessInfo');
    return all
      .split('<struct>')
      .filter((one) => one.includes(`<string>${name}</string>`) && one.includes('<string>RUNNING</string>')).length;
  }

  async stop(name) {
    await this.#call('stopProcessGroup', name, true);
  }

  processes() {
    return findMarked(this.mark);
  }

  /** The pids of what it takes to keep them running, by what they are. */
  parts() {
    return { daemon: [this.child.pid] };
  }

  async destroy() {
    this.#agent.destroy();
    this.child?.kill('SIGKILL');
    await this.gone;
    const killLeft = () => killMarked(this.mark) === 0;
    await until(killLeft, { what: 'all that supervisord has started is gone', timeoutMs: 10_000 });
  }
}

/** Running means executed, as it does for the others, not lived for a second (startsecs). */
function configurationOf({ groups, directory, socket, mark }) {
  const programs = groups.map(
    ({ name, command, count }) => `[program:${name}]
command=${command.join(' ')}
process_name=%(process_num)d
numprocs=${count}
autostart=false
autorestart=true
startsecs=0
environment=BENCH_MARK="${mark}"
`,
  );
  return `[supervisord]
logfile=${path.join(directory, 'log')}
pidfile=${path.join(directory, 'pid')}
childlogdir=${directory}
minfds=${groups.reduce((sum, { count }) => sum + 4 * count, 1_024)}

[unix_http_server]
file=${socket}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

${programs.join('\n')}`;
}

module.exports = { Supervisord };

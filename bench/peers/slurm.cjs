'use strict';
/**
 * Slurm as a peer: munged, slurmctld and slurmd of one node on loopback, children of this process with a configuration of their own.
 * It is set up as its guide to high throughput has it: jobs are looked for at once, nothing is accounted, watched or kept for long.
 */
const { execFile, execFileSync, spawn } = require('node:child_process');
const { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } = require('node:fs');
const { randomBytes } = require('node:crypto');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');
const { enlist } = require('../harness/ending.cjs');
const { inLanes } = require('../harness/lanes.cjs');
const { freePort, makeDirectory } = require('../harness/part.cjs');
const { childrenOf, killPid } = require('../harness/processes.cjs');
const { until } = require('../harness/until.cjs');

const MUNGED = '/usr/sbin/munged';
const CONTROLLER = '/usr/sbin/slurmctld';
const NODE = '/usr/sbin/slurmd';
const STOP_WITHIN_MS = 10_000;
const JOBS_WITHIN_MS = 600_000;
const LOOK_EVERY_MS = 20;
/** Jobs that may run at once, far more than there are cores: a job of `/bin/true` mostly waits for others. */
const SLOTS = 64;

class Slurm {
  static label = 'Slurm';
  directory = makeDirectory();
  #daemons = [];

  /** @returns its version; null when it is not installed */
  static version() {
    if (![MUNGED, CONTROLLER, NODE].every(existsSync)) return null;
    return execFileSync(CONTROLLER, ['-V'], { encoding: 'utf8' })
      .trim()
      .replace(/^slurm-wlm /, '');
  }

  /** As root only, as slurmd wants it. */
  static async open() {
    const slurm = new Slurm();
    enlist(slurm);
    await slurm.#launch();
    return slurm;
  }

  async #launch() {
    const at = (name) => path.join(this.directory, name);
    this.file = at('slurm.conf');
    this.done = at('jobs');
    for (const name of ['state', 'spool']) mkdirSync(at(name));
    // Who submits and what executes are others than the owner of this directory as far as munge is concerned.
    chmodSync(this.directory, 0o755);
    writeFileSync(at('munge.key'), randomBytes(128), { mode: 0o400 });
    writeFileSync(this.done, '');
    const ports = [await freePort(), await freePort()];
    writeFileSync(this.file, configurationOf({ at, host: os.hostname(), ports }));
    this.env = { ...process.env, SLURM_CONF: this.file };

    await this.#start(MUNGED, [
      ...['--foreground', '--force', '--key-file', at('munge.key'), '--socket', at('munge.socket')],
      ...['--pid-file', at('munge.pid'), '--log-file', at('munge.log'), '--seed-file', at('munge.seed')],
    ]);
    await until(() => existsSync(at('munge.socket')), { what: 'munged listens', describe: () => this.#lastWords() });
    await this.#start(CONTROLLER, ['-D', '-f', this.file]);
    await this.#start(NODE, ['-D', '-N', 'bench', '-f', this.file]);
    const isIdle = async () => (await this.#run('sinfo', ['-h', '-o', '%T']).catch(() => '')).trim() === 'idle';
    await until(isIdle, { what: 'the node of Slurm is idle', everyMs: 100, describe: () => this.#lastWords() });
  }

  async #start(program, args) {
    const log = openSync(path.join(this.directory, `${path.basename(program)}.out`), 'a');
    const child = spawn(program, args, { env: this.env, stdio: ['ignore', log, log], detached: true });
    closeSync(log);
    const daemon = { child, gone: new Promise((resolve) => child.once('exit', resolve)) };
    child.on('error', () => {}); // whoever waits for it runs into the time limit
    this.#daemons.push(daemon);
  }

  async #run(program, args) {
    return (await promisify(execFile)(program, args, { env: this.env })).stdout;
  }

  #lastWords() {
    return this.#daemons
      .map(({ child }) => path.join(this.directory, `${path.basename(child.spawnfile)}.out`))
      .map((file) => readFileSync(file, 'utf8').trimEnd().split('\n').slice(-4).join('\n'))
      .join('\n');
  }

  /** `count` jobs by as many calls of sbatch, `lanes` at a time; resolves when all are recorded as completed. */
  async submitOneByOne(count, lanes) {
    const from = this.#recorded().length;
    await inLanes(Array(count).fill(null), lanes, () => this.#sbatch([]));
    await this.#untilRecorded(from, count);
  }

  /** As one job array. */
  async submitAsOne(count) {
    const from = this.#recorded().length;
    await this.#sbatch([`--array=1-${count}`]);
    await this.#untilRecorded(from, count);
  }

  #sbatch(flags) {
    return this.#run('sbatch', [...flags, '--parsable', '--output=/dev/null', '--chdir=/', '--wrap=exec /bin/true']);
  }

  /** Of the plugin that writes a line for each job that has ended. */
  #recorded() {
    return readFileSync(this.done, 'utf8').split('\n').slice(0, -1);
  }

  async #untilRecorded(from, count) {
    const there = () => this.#recorded().length - from;
    await until(() => there() >= count, {
      what: `Slurm has recorded ${count} jobs`,
      everyMs: LOOK_EVERY_MS,
      timeoutMs: JOBS_WITHIN_MS,
      describe: () => `there are ${there()}\n${this.#lastWords()}`,
    });
    const wrong = this.#recorded()
      .slice(from)
      .filter((line) => !line.includes('JobState=COMPLETED'));
    if (wrong.length > 0) throw new Error(`${wrong.length} jobs of Slurm did not complete: ${wrong[0]}`);
  }

  async close() {
    await this.#end('SIGTERM');
  }

  async destroy() {
    await this.#end('SIGKILL');
  }

  /** The last that was started first. What slurmd has started, one process a job, ends with the job. */
  async #end(signal) {
    for (const { child, gone } of this.#daemons.toReversed()) {
      if (child.pid === undefined) continue;
      const below = childrenOf(child.pid);
      child.kill(signal);
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS);
      await gone;
      clearTimeout(timer);
      if (signal === 'SIGKILL') for (const pid of below) killPid(pid);
    }
    this.#daemons = [];
  }
}

function configurationOf({ at, host, ports: [controllerPort, nodePort] }) {
  return `ClusterName=bench
SlurmctldHost=${host}(127.0.0.1)
SlurmctldPort=${controllerPort}
SlurmdPort=${nodePort}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=${at('munge.socket')}
CredType=cred/munge
StateSaveLocation=${at('state')}
SlurmdSpoolDir=${at('spool')}
SlurmctldPidFile=${at('slurmctld.pid')}
SlurmdPidFile=${at('slurmd.pid')}
SlurmctldDebug=error
SlurmdDebug=error
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=${at('jobs')}
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,default_queue_depth=1000,max_array_tasks=100000
PriorityType=priority/basic
MaxJobCount=200000
MaxArraySize=100001
MinJobAge=2
MessageTimeout=60
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
NodeName=bench NodeHostname=${host} NodeAddr=127.0.0.1 CPUs=${SLOTS} RealMemory=100 State=UNKNOWN
SlurmdParameters=config_overrides
PartitionName=all Nodes=bench Default=YES MaxTime=INFINITE State=UP
`;
}

module.exports = { Slurm };

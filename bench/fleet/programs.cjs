'use strict';
/**
 * What simulated agents run. A few programs behave as the real ones do, so that one job serves for a simulated fleet and for a
 * real one; every other one runs until it is stopped.
 *
 *   sleep SECONDS         ends with 0 after that time      sh -c 'exit 3'           ends with 3, soon
 *   true, false           end with 0 and 1, soon           sh -c 'sleep 2; exit 3'  ends with 3 after that time
 *   /missing/...          cannot be started: ENOENT
 */
const { restartWithDefaults, stopWithDefaults } = require('../../dist/contract/workload.js');

/** A program that does nothing takes so long. */
const SOON_MS = 2;
const LONGEST_MS = 2 ** 31;

const ENOENT = { syscall: 'execve', errno: 2, errnoCode: 'ENOENT' };

/** What a start command says of all instances of a workload alike, kept once in a process. */
class Program {
  constructor({ uid, instanceId, kind = 'batch', restart, stop, workload, ...rest }) {
    this.uid = uid;
    this.workloadId = instanceId.slice(0, instanceId.indexOf('.'));
    this.kind = kind;
    this.restart = restartWithDefaults(kind, restart);
    this.stop = stopWithDefaults(stop);
    this.workload = workload;
    this.onDisconnect = rest.onDisconnect ?? 'replace';
    const {
      slot: _1,
      generation: _2,
      attemptsUsed: _3,
      node: _4,
      clusterId: _5,
      epoch: _6,
      session: _7,
      ...own
    } = rest;
    const { secretValues: _8, ...process } = own;
    this.process = process;
    const { command, script, args = [] } = process;
    Object.assign(this, behaviourOf(command ?? [script, ...args]));
  }
}

/** @returns how long a run takes, null: until it is stopped; what code it ends with; why it cannot be started */
function behaviourOf(argv) {
  const [file] = argv;
  const name = file.slice(file.lastIndexOf('/') + 1);
  const startError = file.startsWith('/missing/') ? ENOENT : null;
  if (name === 'true' || name === 'false') return { runMs: SOON_MS, exitCode: name === 'true' ? 0 : 1, startError };
  const text = name === 'sh' && argv[1] === '-c' ? argv[2] : argv.slice(0, 2).join(' ');
  const [isKnown, seconds, code] = /^(?:(?:\S*\/)?sleep ([\d.]+))?(?:(?:^|; )exit (\d+))?$/.exec(text) ?? [];
  const runMs = seconds === undefined ? SOON_MS : Number(seconds) * 1_000;
  const ends = isKnown !== undefined && isKnown !== '' && runMs < LONGEST_MS;
  return ends ? { runMs, exitCode: Number(code ?? 0), startError } : { runMs: null, exitCode: 0, startError };
}

/** Programs by workload and its version, and short names for workloads. */
class Programs {
  #known = new Map();
  #numbers = new Map();

  of(command) {
    const key = `${command.uid}/${command.workload?.version ?? ''}`;
    let program = this.#known.get(key);
    if (program === undefined) {
      program = new Program(command);
      this.#known.set(key, program);
    }
    return program;
  }

  /** What has changed of workloads without a restart. */
  note(workloads) {
    for (const { uid, workload } of workloads) {
      for (const program of this.#known.values()) if (program.uid === uid) program.workload = workload;
    }
  }

  /** Names an instance; a uid in each of a million keys would be 40 MB. */
  keyOf(uid, slot) {
    let number = this.#numbers.get(uid);
    if (number === undefined) {
      number = this.#numbers.size;
      this.#numbers.set(uid, number);
    }
    return `${number}/${slot}`;
  }
}

module.exports = { Programs };

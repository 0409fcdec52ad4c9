'use strict';
/**
 * What one simulated agent runs and has run: the life of its generations by the rules of docs/protocol.md, with processes
 * that are only numbers. The decisions are the product's own (agent/runEnd, agent/instanceStatus, contract/restartPolicy).
 *
 * A million of them must fit in memory: an object of small numbers and shared texts for each, no timer for one that waits for
 * nothing, no report that is kept.
 */
const { MorchError } = require('../../dist/contract/errors.js');
const { attemptsAfterRun } = require('../../dist/contract/restartPolicy.js');
const { hasEnded, revOf } = require('../../dist/agent/instanceStatus.js');
const { decideNextStep, stopReason } = require('../../dist/agent/runEnd.js');

/** Times are kept as milliseconds since then, which fit in a small integer. */
const EPOCH_MS = Date.now();

const FIRST_PID = 1_000;

class Instance {
  run = 0;
  status = 'starting';
  statusReason = null;
  pid = 0;
  startedMs = 0;
  /** Of the first run: what its start was answered. */
  firstPid = 0;
  firstStartedMs = 0;
  exit = null;
  lost = false;
  hasFailedToStart = false;
  stopCause = null;
  /** The generation before, which has ended and is not forgotten; null: there is none. */
  before = null;

  constructor(program, slot, generation, attempts, admission) {
    this.program = program;
    this.slot = slot;
    this.generation = generation;
    this.attempts = attempts;
    this.admission = admission;
  }
}

class Instances {
  /** Of each (workload, slot) the latest generation. */
  #latest = new Map();
  #nextPid = FIRST_PID;
  #version = 0;
  #liveCount = 0;
  #knownCount = 0;

  /**
   * @param means.session    returns the product's agent/session
   * @param means.programs   of the process
   * @param means.wheel      of the process
   * @param means.behaviour  { startMs, stopMs }
   * @param means.tally      counts of the process, `running` among them
   * @param means.report     called with each change of an instance
   */
  constructor(means) {
    this.means = means;
  }

  get knownCount() {
    return this.#knownCount;
  }

  get liveCount() {
    return this.#liveCount;
  }

  /** Rises with every change of what lives. */
  get version() {
    return this.#version;
  }

  /** Ended ones that are not forgotten included. */
  *all() {
    for (const latest of this.#latest.values()) {
      for (let instance = latest; instance !== null; instance = instance.before) yield instance;
    }
  }

  *live() {
    for (const instance of this.#latest.values()) if (!hasEnded(instance.status)) yield instance;
  }

  // ---- commands

  /**
   * Lets a start in. @returns the instance: `answerOf` tells what has come of it, once `settle` has been called
   * @throws MorchError like agent/supervisor
   */
  admit(command) {
    const program = this.means.programs.of(command);
    const slot = command.instanceId.slice(command.instanceId.indexOf('.') + 1);
    const key = this.means.programs.keyOf(command.uid, slot);
    const latest = this.#latest.get(key) ?? null;
    for (let same = latest; same !== null; same = same.before) if (same.generation === command.generation) return same;
    if (latest !== null && latest.generation > command.generation)
      throw staleGeneration(command.instanceId, command.generation, latest.generation);
    if (latest !== null && !hasEnded(latest.status)) this.#endStopped(latest, 'replaced');
    const { admission } = this.means.session();
    const instance = new Instance(program, slot, command.generation, command.attemptsUsed ?? 0, admission);
    this.#enter(key, instance, latest);
    this.#beginRun(instance);
    return instance;
  }

  /** The time that a start takes is over. */
  settle(instance) {
    if (instance.status !== 'starting') return;
    const { program } = instance;
    const isFirst = instance.run === 1;
    const isFenced = program.onDisconnect === 'stop';
    if (!this.means.session().mayExecute({ isFirst, isFenced }, instance.admission)) {
      this.#end(instance, { kind: 'refused', why: 'tooLate' });
    } else if (program.startError !== null) {
      instance.hasFailedToStart = true;
      this.#end(instance, {
        kind: 'startFailed',
        what: `${program.startError.syscall}: ${program.startError.errnoCode}`,
      });
    } else {
      instance.pid = this.#nextPid;
      this.#nextPid += 2;
      instance.startedMs = Date.now() - EPOCH_MS;
      if (isFirst) {
        instance.firstPid = instance.pid;
        instance.firstStartedMs = instance.startedMs;
      }
      if (!isFenced) instance.admission = null;
      this.#change(instance, 'running', null);
      if (program.runMs !== null)
        this.#later(instance, program.runMs, 'running', () => this.exit(instance, program.exitCode));
    }
  }

  /** What the start of that generation is answered, now or again. @throws MorchError */
  answerOf(instance) {
    const { program, generation, firstPid: pid } = instance;
    const instanceId = idOf(instance);
    if (pid !== 0) {
      const startedAt = timeOf(instance.firstStartedMs);
      return { instanceId, generation, run: 1, pid, shimPid: pid + 1, startedAt };
    }
    if (instance.hasFailedToStart)
      throw new MorchError('START_FAILED', detailOf(program), { system: program.startError });
    const code = instance.statusReason?.startsWith('not started') ? 'STALE_SESSION' : 'STALE_GENERATION';
    throw new MorchError(
      code,
      `${instanceId} generation ${generation} is not started here any more: ${instance.statusReason}.`,
    );
  }

  /** Begins a stop. @returns the instance; @throws MorchError like agent/supervisor */
  stop({ instanceId, uid, generation }) {
    const slot = instanceId.slice(instanceId.indexOf('.') + 1);
    const key = this.means.programs.keyOf(uid, slot);
    const latest = this.#latest.get(key) ?? null;
    if (latest !== null && latest.generation > generation)
      throw staleGeneration(instanceId, generation, latest.generation);
    if (latest === null || latest.generation < generation) {
      this.#bury(key, latest, { instanceId, uid, slot, generation });
      throw new MorchError(
        'INSTANCE_NOT_FOUND',
        `This agent knows no instance ${instanceId} of generation ${generation}.`,
      );
    }
    this.#beginStop(latest);
    return latest;
  }

  forget({ uid, slot, generation }) {
    const key = this.means.programs.keyOf(uid, slot);
    const latest = this.#latest.get(key);
    if (latest === undefined) return;
    for (let later = null, at = latest; at !== null; later = at, at = at.before) {
      if (at.generation !== generation) continue;
      if (!hasEnded(at.status)) return;
      if (later !== null) later.before = at.before;
      else if (at.before !== null) this.#latest.set(key, at.before);
      else this.#latest.delete(key);
      this.#knownCount -= 1;
      return;
    }
  }

  // ---- what happens by itself

  /** Its process ends by itself. */
  exit(instance, code) {
    if (instance.status !== 'running') return;
    const exit = { code, signal: null, at: new Date().toISOString(), oomKilled: false };
    const ranMs = Date.now() - EPOCH_MS - instance.startedMs;
    this.#end(instance, { kind: 'exited', exit, ranMs, overranMs: null, shimLost: false, fenced: false });
  }

  /** Nobody renewed the lease: what is fenced is ended, as its shims would. */
  endFenced() {
    for (const instance of [...this.live()]) {
      if (instance.program.onDisconnect !== 'stop' || instance.status === 'starting') continue;
      const exit = killed();
      this.#end(instance, { kind: 'exited', exit, ranMs: 0, overranMs: null, shimLost: false, fenced: true });
    }
  }

  /** The machine has lost its power: nothing lives, which nobody is told before it is up again. */
  die() {
    for (const instance of [...this.live()]) {
      instance.exit = instance.pid === 0 ? null : { ...killed(), signal: null };
      instance.lost = true;
      this.#change(instance, 'failed', 'node rebooted', true);
    }
  }

  // ----

  reportOf(instance) {
    const { program, generation, run, status, exit, lost } = instance;
    const isAlive = status === 'running' || status === 'stopping';
    return {
      uid: program.uid,
      slot: instance.slot,
      instanceId: idOf(instance),
      generation,
      run,
      rev: revOf(run, status),
      status,
      statusReason: instance.statusReason,
      pid: isAlive ? instance.pid : null,
      shimPid: isAlive ? instance.pid + 1 : null,
      startedAt: instance.startedMs === 0 ? null : timeOf(instance.startedMs),
      exit,
      attempts: instance.attempts,
      lost,
      startError: instance.hasFailedToStart ? { detail: detailOf(program), ...program.startError } : null,
    };
  }

  /** As a scheduler without records learns them again. */
  *kept() {
    for (const { program, slot, generation } of this.live()) {
      const { uid, workloadId, kind, process, restart, stop, workload } = program;
      yield { uid, slot, instanceId: `${workloadId}.${slot}`, generation, kind, ...process, restart, stop, workload };
    }
  }

  #enter(key, instance, before) {
    instance.before = before;
    this.#latest.set(key, instance);
    this.#knownCount += 1;
    if (!hasEnded(instance.status)) this.#liveCount += 1;
    this.#version += 1;
  }

  #bury(key, latest, { instanceId, uid, slot, generation }) {
    if (latest !== null && !hasEnded(latest.status)) this.#endStopped(latest, 'request');
    const program = { uid, workloadId: instanceId.slice(0, instanceId.indexOf('.')) };
    const tombstone = new Instance(program, slot, generation, 0, null);
    tombstone.status = 'stopped';
    tombstone.statusReason = 'stopped by request before it was started';
    this.#enter(key, tombstone, latest);
    this.means.report(tombstone);
  }

  #beginRun(instance) {
    instance.run += 1;
    instance.attempts += 1;
    instance.hasFailedToStart = false;
    instance.status = 'starting';
    instance.statusReason = null;
    if (instance.generation > 1 || instance.run > 1) this.means.report(instance);
  }

  #runAgain(instance, ranMs) {
    instance.attempts = attemptsAfterRun(instance.program.restart, { attempts: instance.attempts, ranMs });
    this.#beginRun(instance);
    this.#later(instance, this.means.behaviour.startMs, 'starting', () => this.settle(instance));
  }

  #beginStop(instance) {
    if (instance.status === 'starting' || instance.status === 'backoff') this.#endStopped(instance, 'request');
    if (instance.status !== 'running') return;
    instance.stopCause = 'request';
    this.#change(instance, 'stopping', stopReason('request'), true);
    this.#later(instance, this.means.behaviour.stopMs, 'stopping', () => this.#endStopped(instance, 'request'));
  }

  #endStopped(instance, cause) {
    if (instance.pid !== 0) instance.exit = { ...killed(), signal: instance.program.stop.signal };
    this.#change(instance, 'stopped', stopReason(cause));
  }

  #end(instance, end) {
    const { program, attempts } = instance;
    if (end.kind === 'exited') instance.exit = end.exit;
    const context = { restart: program.restart, attempts, endsOnFailedStart: true, stop: null };
    const step = decideNextStep(end, context, Math.random());
    if (step.kind === 'end') {
      instance.lost = step.lost;
      this.#change(instance, step.status, step.reason);
      return;
    }
    this.#change(instance, 'backoff', step.reason);
    this.#later(instance, step.delayMs, 'backoff', () => this.#runAgain(instance, end.ranMs ?? 0));
  }

  /** Only if it is still the same run, in the same status. */
  #later(instance, ms, status, act) {
    const { run } = instance;
    this.means.wheel.after(ms, () => {
      const isDue = () => instance.run === run && instance.status === status;
      if (isDue()) this.means.whenAwake(() => isDue() && act());
    });
  }

  #change(instance, status, reason, isUntold = false) {
    const { tally } = this.means;
    if (instance.status === 'running') tally.running -= 1;
    if (status === 'running') tally.running += 1;
    if (hasEnded(status) && !hasEnded(instance.status)) this.#liveCount -= 1;
    instance.status = status;
    instance.statusReason = reason;
    this.#version += 1;
    if (!isUntold) this.means.report(instance);
  }
}

function idOf({ program, slot }) {
  return `${program.workloadId}.${slot}`;
}

function timeOf(ms) {
  return new Date(EPOCH_MS + ms).toISOString();
}

function killed() {
  return { code: null, signal: 'SIGKILL', at: new Date().toISOString(), oomKilled: false };
}

function detailOf({ process: { command, script } }) {
  return `${command?.[0] ?? script} could not be started: there is no such file.`;
}

function staleGeneration(instanceId, generation, latest) {
  return new MorchError(
    'STALE_GENERATION',
    `${instanceId} generation ${generation} is past: generation ${latest} is known here.`,
  );
}

module.exports = { Instances };

/**
 * The life of one instance generation: run, wait for the end of its tree, back off, run again, until the policy or
 * a stop ends it. Made and kept by the supervisor; processes are the ProcessHost's, records are written before
 * anything is done or told that depends on them.
 */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { InstanceReport, Started } from '../contract/agentApi';
import { MorchError } from '../contract/errors';
import { attemptsAfterRun } from '../contract/restartPolicy';
import type { Exit } from '../contract/workload';
import { type AgentInstanceStatus, changeStatus, revOf } from './instanceStatus';
import { argvOf, cwdOf, environmentOf, fileOf, startFailed } from './launch';
import type { LogFiles } from './logFiles';
import { type HostedRun, type ProcessHost, StartFailure } from './processHost';
import type { EndRecord, Records, ResolvedStart } from './records';
import { decideNextStep, describeEnd, type NextStep, type RunEnd, type StopCause, stopReason } from './runEnd';
import { type Deferred, deferred, type Gate, isDoneWithin, startTimer } from './timers';

/** So long an exit waits for the rest of its tree before it is recorded by itself. */
const TREE_USUALLY_GONE_MS = 50;

export interface GenerationMeans {
  host: ProcessHost;
  records: Records;
  logFiles: LogFiles;
  bootId: string;
  /** Bounds how many starts are being recorded and executed at a time. */
  gate: Gate;
  log: Logger;
  /** @param clusterId whose instance it is; null: nobody's but its starter's */
  onChange(report: InstanceReport, clusterId: string | null): void;
}

export class Generation {
  /** The first run's start; rejects with the problem to answer. */
  readonly started: Promise<Started>;
  /** Null when nothing was started and nothing recorded: it is as if it had never been asked for. */
  readonly ended: Promise<EndRecord | null>;

  readonly #started: Deferred<Started> = deferred();
  readonly #ended: Deferred<EndRecord | null> = deferred();
  #status: AgentInstanceStatus = 'starting';
  #statusReason: string | null = null;
  /** Rises when a run's intent is durable. */
  #run = 0;
  #attempts: number;
  #hosted: HostedRun | null = null;
  #nonce = '';
  #pid: number | null = null;
  #lastPid: number | null = null;
  #startedAt: string | null = null;
  #startedAnswer: Started | null = null;
  #startError: InstanceReport['startError'] = null;
  #exit: Exit | null = null;
  #ranMs = 0;
  #overranMs: number | null = null;
  #lost = false;
  #stop: { cause: StopCause; beforeEnd: boolean; graceMs: number } | null = null;
  #wake = () => {};

  constructor(
    readonly spec: ResolvedStart,
    private readonly means: GenerationMeans,
  ) {
    this.#attempts = spec.attemptsUsed;
    this.started = this.#started.promise;
    this.ended = this.#ended.promise;
    // Whoever asked for the start looks at it; a generation replaced meanwhile may have nobody left who does.
    this.started.catch(() => {});
  }

  /** @param ready resolves when the tree of the generation before is gone */
  begin(ready: Promise<void>): void {
    this.#live(ready).catch((error) => {
      this.means.log.error({ err: error, instance: this.spec.instanceId }, 'an instance could not be led to its end');
      this.#started.reject(error);
      this.#ended.resolve(null);
    });
  }

  /** Asks for the end; `ended` tells when it is reached. Repeating it can only shorten the grace. */
  stop(cause: StopCause, graceMs = this.spec.stop.graceMs): void {
    if (this.#stop === null) {
      this.#stop = { cause, beforeEnd: this.#hosted !== null && this.#pid !== null, graceMs };
    } else {
      this.#stop.graceMs = Math.min(this.#stop.graceMs, graceMs);
      // The agent's own end takes nothing back from a user's stop, but a user's stop settles what is to come of it.
      if (cause !== 'agent' && this.#stop.cause === 'agent') this.#stop.cause = cause;
    }
    if (this.#hosted !== null) {
      this.#hosted.stop({ signal: this.spec.stop.signal, graceMs });
      if (this.#status === 'running') {
        this.#change('stopping', stopReason(cause));
        this.#publish();
      }
    }
    this.#wake();
  }

  /** The main process now, or the last there was. */
  get lastPid(): number | null {
    return this.#pid ?? this.#lastPid;
  }

  /** Names the present run in the sampler's figures. */
  get nonce(): string {
    return this.#nonce;
  }

  report(): InstanceReport {
    const { uid, slot, instanceId, generation } = this.spec;
    return {
      uid,
      slot,
      instanceId,
      generation,
      run: this.#run,
      rev: revOf(this.#run, this.#status),
      status: this.#status,
      statusReason: this.#statusReason,
      pid: this.#pid,
      startedAt: this.#startedAt,
      exit: this.#exit,
      attempts: this.#attempts,
      lost: this.#lost,
      startError: this.#startError,
    };
  }

  async #live(ready: Promise<void>): Promise<void> {
    try {
      await ready;
    } catch (error) {
      this.#started.reject(error);
      this.#ended.resolve(null);
      return;
    }
    for (;;) {
      const outcome = await this.#runOnce();
      if (outcome.kind === 'unwritable') {
        if (this.#run === 0) {
          await this.means.records.remove(this.spec).catch(() => {}); // it is empty at most
          this.#started.reject(outcome.error);
          this.#ended.resolve(null);
          return;
        }
        this.#statusReason = outcome.error.message;
        this.#publish();
        await this.#pause(this.spec.restart.backoffMs);
        continue;
      }
      const next = this.#decide(outcome.end);
      if (next.kind === 'end') {
        await this.#finish(next);
        if (outcome.kind === 'notRunning') this.#started.reject(outcome.error);
        return;
      }
      await this.#backOff(next);
    }
  }

  #decide(end: RunEnd): NextStep {
    const { restart, clusterId } = this.spec;
    const endsOnFailedStart = clusterId !== null || this.#startedAnswer === null;
    const context = { restart, attempts: this.#attempts, endsOnFailedStart, stop: this.#stop };
    return decideNextStep(end, context, Math.random());
  }

  /** One run from its intent to the end of its tree. */
  async #runOnce(): Promise<
    | { kind: 'ran'; end: RunEnd }
    | { kind: 'notRunning'; end: RunEnd; error: MorchError }
    | { kind: 'unwritable'; error: MorchError }
  > {
    const stopped = () => ({
      kind: 'notRunning' as const,
      end: { kind: 'notStarted' as const },
      error: this.#stoppedEarly(),
    });
    if (this.#stop !== null) return stopped();
    const program = this.spec;
    const { workDirectory, names, hosted, beganMs } = await this.means.gate.run(async () => {
      const workDirectory = this.means.records.workDirectoryOf(program);
      const names = await this.#recordIntent();
      if (this.#stop !== null || names instanceof MorchError) return { workDirectory, names, hosted: null, beganMs: 0 };
      const hosted = await this.#execute(workDirectory, names);
      return { workDirectory, names, hosted, beganMs: performance.now() };
    });
    if (names instanceof MorchError) return { kind: 'unwritable', error: names };
    if (hosted === null) return stopped();
    if (hosted instanceof StartFailure) {
      const error = await startFailed(hosted, program, cwdOf(program, workDirectory), program.node);
      this.#startError = { detail: error.message, ...error.system! };
      this.#ranMs = 0;
      return {
        kind: 'notRunning',
        end: { kind: 'startFailed', what: `${error.system!.syscall}: ${error.system!.errnoCode}` },
        error,
      };
    }
    await this.#enterRun(hosted);
    return { kind: 'ran', end: await this.#outlive(hosted, beganMs) };
  }

  #stoppedEarly(): MorchError {
    const { instanceId, generation } = this.spec;
    return new MorchError('NOT_POSSIBLE', `${instanceId} generation ${generation} was stopped before it was started`);
  }

  /** Makes the next run's intent durable, and the run the present one; the error if it cannot be. */
  async #recordIntent(): Promise<{ run: number; nonce: string; stdoutPath: string; stderrPath: string } | MorchError> {
    const { records, logFiles, bootId } = this.means;
    const run = this.#run + 1;
    const attempts = this.#attemptsBefore() + 1;
    const nonce = randomUUID();
    try {
      const paths = await logFiles.provide(this.spec, this.spec.generation, run);
      await records.saveIntent({ spec: this.spec, run, attempts, nonce, bootId, started: this.#startedAnswer });
      this.#run = run;
      this.#attempts = attempts;
      this.#nonce = nonce;
      this.#startError = null;
      this.#overranMs = null;
      this.#change('starting', null);
      this.#publish();
      return { run, nonce, ...paths };
    } catch (error) {
      if (error instanceof MorchError && error.code === 'STORE_UNWRITABLE') return error;
      throw error;
    }
  }

  #attemptsBefore(): number {
    if (this.#run === 0) return this.spec.attemptsUsed;
    return attemptsAfterRun(this.spec.restart, { attempts: this.#attempts, ranMs: this.#ranMs });
  }

  async #execute(
    workDirectory: string,
    { run, nonce, stdoutPath, stderrPath }: { run: number; nonce: string; stdoutPath: string; stderrPath: string },
  ): Promise<HostedRun | StartFailure> {
    const { spec } = this;
    const { instanceId, generation, node } = spec;
    try {
      return await this.means.host.start({
        file: fileOf(spec),
        argv: argvOf(spec),
        env: environmentOf(spec, { instanceId, generation, run, node, nonce }),
        cwd: cwdOf(spec, workDirectory),
        stdoutPath,
        stderrPath,
        nonce,
        stop: spec.stop,
      });
    } catch (error) {
      if (error instanceof StartFailure) return error;
      throw error;
    }
  }

  async #enterRun(hosted: HostedRun): Promise<void> {
    const { instanceId, generation } = this.spec;
    const { pid, startTicks } = hosted.identity;
    const startedAt = new Date().toISOString();
    this.#hosted = hosted;
    this.#pid = pid;
    this.#lastPid = pid;
    this.#startedAt = startedAt;
    this.#startedAnswer ??= { instanceId, generation, run: this.#run, pid, startedAt };
    if (this.#stop === null) {
      this.#change('running', null);
    } else {
      this.#stop.beforeEnd = true;
      hosted.stop({ signal: this.spec.stop.signal, graceMs: this.#stop.graceMs });
      this.#change('stopping', stopReason(this.#stop.cause));
    }
    this.#publish();
    try {
      await this.means.records.saveRun(this.spec, { run: this.#run, pid, startTicks, startedAt });
    } catch (error) {
      // Its nonce is in the intent, which is enough to find it.
      this.means.log.error({ err: error, instance: instanceId }, 'cannot record the process of a run');
    }
    this.#started.resolve(this.#startedAnswer);
  }

  /** From running to the end of the tree. */
  async #outlive(hosted: HostedRun, beganMs: number): Promise<RunEnd> {
    const { maxRunMs } = this.spec;
    const cancel = maxRunMs === undefined ? () => {} : startTimer(maxRunMs, () => this.#overrun(hosted, maxRunMs));
    const { treeLeft, ...exit } = await hosted.exited;
    cancel();
    this.#ranMs = Math.round(performance.now() - beganMs);
    this.#exit = exit;
    this.#pid = null;
    const end: RunEnd = { kind: 'exited', exit, ranMs: this.#ranMs, overranMs: this.#overranMs };
    if (treeLeft || !(await isDoneWithin(hosted.gone, TREE_USUALLY_GONE_MS))) {
      await this.#enterEnd('stopping', `${describeEnd(end)}; stopping what it left`);
      await hosted.gone;
    }
    this.#hosted = null;
    return end;
  }

  #overrun(hosted: HostedRun, maxRunMs: number): void {
    if (this.#stop !== null) return;
    this.#overranMs = maxRunMs;
    hosted.stop(this.spec.stop);
    this.#change('stopping', `ran longer than ${maxRunMs} ms`);
    this.#publish();
  }

  async #backOff({ delayMs, reason }: { delayMs: number; reason: string }): Promise<void> {
    await this.#enterEnd('backoff', reason);
    await this.#pause(delayMs);
  }

  /** Ends early when a stop is asked for. */
  async #pause(delayMs: number): Promise<void> {
    if (this.#stop !== null) return;
    const woken = deferred<void>();
    const cancel = startTimer(delayMs, woken.resolve);
    this.#wake = woken.resolve;
    await woken.promise;
    cancel();
    this.#wake = () => {};
  }

  async #finish({ status, reason, lost }: Extract<NextStep, { kind: 'end' }>): Promise<void> {
    this.#ended.resolve(await this.#enterEnd(status, reason, lost));
  }

  /**
   * Records how the run, or the generation, has ended; only then is it so, and told. An end that cannot be
   * recorded is still told; after a restart of the agent its exit would be unknown.
   */
  async #enterEnd(status: AgentInstanceStatus, statusReason: string, lost = false): Promise<EndRecord> {
    const { rev: _, ...report } = this.report();
    const record: EndRecord = {
      ...report,
      clusterId: this.spec.clusterId,
      status,
      statusReason,
      lost,
      pid: this.lastPid,
      ranMs: this.#ranMs,
      overranMs: this.#overranMs,
      started: this.#startedAnswer,
    };
    try {
      await this.means.records.saveEnd(record);
    } catch (error) {
      this.means.log.error({ err: error, instance: record.instanceId }, 'cannot record the end of a run');
    }
    this.#lost = lost;
    this.#change(status, statusReason);
    this.#publish();
    return record;
  }

  #change(status: AgentInstanceStatus, reason: string | null): void {
    changeStatus(this.#status, status, this.spec.instanceId);
    this.#status = status;
    this.#statusReason = reason;
  }

  #publish(): void {
    this.means.onChange(this.report(), this.spec.clusterId);
  }
}

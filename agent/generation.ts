/**
 * The life of one instance generation: run, wait for the end of its tree, back off, run again, until the policy or
 * a stop ends it. Made and kept by the supervisor; processes are the ProcessHost's, records are written before
 * anything is done or told that depends on them. Over 400 lines: the states and what moves them share private fields.
 */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { InstanceReport, Started } from '../contract/agentApi';
import { MorchError } from '../contract/errors';
import { attemptsAfterRun } from '../contract/restartPolicy';
import type { SecretValues } from '../contract/secrets';
import type { Exit } from '../contract/workload';
import type { Cgroups } from './cgroups';
import { type AgentInstanceStatus, changeStatus, hasEnded, revOf } from './instanceStatus';
import { cwdOf, startFailed } from './launch';
import { noteDropped, type RunDrops } from './logDropped';
import type { LogFiles } from './logs/files';
import {
  type Adoption,
  FENCED_START,
  type HostedRun,
  type LogPlan,
  type MainExit,
  type ProcessHost,
  SECRETS_GONE,
  StartFailure,
} from './processHost';
import { type EndRecord, type Intent, keyOf, type ResolvedStart, type StopRecord } from './records';
import {
  decideNextStep,
  describeEnd,
  type NextStep,
  overranReason,
  type RunEnd,
  type StopCause,
  stopReason,
} from './runEnd';
import { planRun, type RunPlanMeans } from './runPlan';
import type { Admission, Session } from './session';
import { type Deferred, deferred, type Gate, isDoneWithin, startTimer } from './timers';

/** So long an exit waits for the rest of its tree before it is recorded by itself. */
const TREE_USUALLY_GONE_MS = 50;
/** So long an end waits to be told for its shim to be gone as well. */
const SHIM_LEAVES_MS = 1_000;
/** Pause between tries to record an end. */
const SAVE_AGAIN_MS = 1_000;

export interface GenerationMeans extends RunPlanMeans {
  host: ProcessHost;
  session: Pick<Session, 'admission' | 'mayExecute' | 'startUntilMs'>;
  cgroups: Pick<Cgroups, 'create' | 'remove'> | null;
  logFiles: LogFiles;
  bootId: string;
  /** Bounds how many starts are being recorded and executed at a time. */
  gate: Gate;
  log: Logger;
  /**
   * @param clusterId whose instance it is; null: nobody's but its starter's
   * @param isAnswered its scheduler has asked for just this, and is told what comes of it by the answer
   */
  onChange(report: InstanceReport, clusterId: string | null, isAnswered: boolean): void;
}

/** What an earlier agent has left of a generation that has not ended. */
export interface Resumption {
  intent: Intent;
  stop: StopRecord | null;
  end: EndRecord | null;
  /** Null: it waits for its next run. */
  adoption: Exclude<Adoption, { kind: 'unknown' }> | null;
}

/** What came of a step of its life. */
type Outcome =
  | { kind: 'runs'; hosted: HostedRun }
  | { kind: 'ran'; end: RunEnd }
  | { kind: 'notRunning'; end: RunEnd; error: MorchError }
  | { kind: 'unwritable'; error: MorchError };

/** Null when nothing was started and nothing recorded: it is as if it had never been asked for. */
export type GenerationEnd = EndRecord | null;

const NO_DROPS: readonly RunDrops[] = [];
const NOW: Promise<unknown> = Promise.resolve();

/** While its run runs nothing is under way here, and nothing kept but its state: there are as many as instances. */
export class Generation {
  /** The first run's start; rejects with the problem to answer. */
  readonly started: Promise<Started>;

  /** Null once the start is answered. */
  #starting: Deferred<Started> | null = deferred();
  #ending: Deferred<GenerationEnd> | null = null;
  #ended: GenerationEnd | undefined;
  #status: AgentInstanceStatus = 'starting';
  #statusReason: string | null = null;
  /** Rises when a run's intent is durable. */
  #run = 0;
  #attempts: number;
  #hosted: HostedRun | null = null;
  #nonce = '';
  #pid: number | null = null;
  #lastPid: number | null = null;
  #shimPid: number | null = null;
  /** The run whose exit its shim has not recorded. */
  #unrecorded: HostedRun | null = null;
  #startedAt: string | null = null;
  #startedAnswer: Started | null = null;
  #startError: InstanceReport['startError'] = null;
  #exit: Exit | null = null;
  /** Told when it is recorded, together with the status that follows from it. */
  #untoldExit: Exit | null = null;
  /** What runs dropped that is not noted beside the logs yet. */
  #drops = NO_DROPS;
  #ranMs = 0;
  #overranMs: number | null = null;
  #lost = false;
  #unsaved = false;
  #stop: { cause: StopCause; beforeEnd: boolean; graceMs: number } | null = null;
  #admission: Admission;
  /** Ends a pause. */
  #wake: (() => void) | null = null;
  /** The end of the run before is being recorded and told; the next is not told before. */
  #entering = NOW;

  constructor(
    readonly spec: ResolvedStart,
    private readonly means: GenerationMeans,
    private readonly onEnd: (life: Generation, end: GenerationEnd) => void,
  ) {
    this.#admission = means.session.admission;
    this.#attempts = spec.attemptsUsed;
    this.started = this.#starting!.promise;
    // Whoever asked for the start looks at it; a generation replaced meanwhile may have nobody left who does.
    this.started.catch(() => {});
  }

  get ended(): Promise<GenerationEnd> {
    if (this.#ended !== undefined) return Promise.resolve(this.#ended);
    this.#ending ??= deferred();
    return this.#ending.promise;
  }

  /** @param ready resolves when the tree of the generation before is gone */
  begin(ready: Promise<void>, secretValues: SecretValues): void {
    this.#lead(this.#runFirst(ready, secretValues));
  }

  /** Goes on where an earlier agent has left off. */
  resume(resumption: Resumption): void {
    this.#lead(this.#takeUp(resumption));
  }

  #lead(step: Promise<Outcome>): void {
    step
      .then((outcome) => this.#follow(outcome))
      .catch(async (error) => {
        await this.#removeSecrets();
        if (!(error instanceof MorchError)) {
          this.means.log.error(
            { err: error, instance: this.spec.instanceId },
            'an instance could not be led to its end',
          );
        }
        this.#refuse(error);
        this.#end(null);
      });
  }

  #answer(started: Started): void {
    this.#starting?.resolve(started);
    this.#starting = null;
  }

  #refuse(error: unknown): void {
    this.#starting?.reject(error);
    this.#starting = null;
  }

  #end(end: GenerationEnd): void {
    if (this.#ended !== undefined) return;
    this.#ended = end;
    this.onEnd(this, end);
    this.#ending?.resolve(end);
  }

  /**
   * Asks for the end; `ended` tells when it is reached. Repeating it can only shorten the grace. Resolves when that is
   * recorded and the tree has been told, or there is none to tell; never rejects.
   *
   * @param isAnswered see `onChange`
   */
  async stop(cause: StopCause, graceMs = this.spec.stop.graceMs, isAnswered = false): Promise<void> {
    if (this.#stop === null) {
      this.#stop = {
        cause,
        beforeEnd: this.#hosted !== null && this.#untoldExit === null && this.#pid !== null,
        graceMs,
      };
    } else {
      this.#stop.graceMs = Math.min(this.#stop.graceMs, graceMs);
      // The agent's own end takes nothing back from a user's stop, but a user's stop settles what is to come of it.
      if (cause !== 'agent' && this.#stop.cause === 'agent') this.#stop.cause = cause;
    }
    this.#wake?.();
    if (this.#hosted !== null) await this.#stopHosted(this.#hosted, graceMs, stopReason(cause), isAnswered);
  }

  /** The main process now, or the last there was. */
  get lastPid(): number | null {
    return this.#pid ?? this.#lastPid;
  }

  get run(): number {
    return this.#run;
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
      shimPid: this.#shimPid,
      startedAt: this.#startedAt,
      exit: this.#exit,
      attempts: this.#attempts,
      lost: this.#lost,
      startError: this.#startError,
    };
  }

  /** What comes after a step. */
  async #follow(outcome: Outcome): Promise<void> {
    if (outcome.kind === 'runs') return this.#watch(outcome.hosted);
    if (outcome.kind === 'unwritable') {
      if (this.#run === 0) {
        await this.means.records.remove(this.spec).catch(() => {}); // it is empty at most
        await this.#removeSecrets();
        this.#refuse(outcome.error);
        this.#end(null);
        return;
      }
      this.#statusReason = outcome.error.message;
      this.#publish();
      await this.#pause(this.spec.restart.backoffMs);
    } else {
      const step = this.#decide(outcome.end);
      if (step.kind === 'end') {
        await this.#finish(step);
        if (outcome.kind === 'notRunning') this.#refuse(outcome.error);
        return;
      }
      await this.#backOff(step);
    }
    this.#lead(this.#runOnce());
  }

  /** Takes over what an earlier agent has left. */
  async #takeUp({ intent, stop, end, adoption }: Resumption): Promise<Outcome> {
    this.#run = intent.run;
    this.#attempts = intent.attempts;
    this.#admission = { session: null, leaseTerm: intent.leaseTerm };
    this.#nonce = intent.nonce;
    this.#startedAnswer = intent.started;
    this.#exit = end?.exit ?? null;
    this.#drops = end?.drops ?? [];
    if (adoption === null) return this.#waitAgain(end!);
    if (adoption.kind === 'startFailed') return this.#failStart(adoption.failure);
    const { identity, startedAt } = adoption.kind === 'hosted' ? adoption.run : adoption;
    this.#setRunning(identity.pid, identity.shimPid, startedAt);
    this.#answer(this.#startedAnswer!);
    this.#status = 'running';
    if (end?.run === intent.run && end.status === 'stopping') {
      this.#status = 'stopping';
      this.#statusReason = end.statusReason;
    }
    if (stop?.run === intent.run) {
      this.#overranMs = stop.overranMs;
      this.#stop = stop.cause === null ? null : { cause: stop.cause, beforeEnd: true, graceMs: this.spec.stop.graceMs };
      this.#status = 'stopping';
      this.#statusReason = stop.cause === null ? overranReason(stop.overranMs!) : stopReason(stop.cause);
      // Whether the signal was still sent is not known; the end of a grace that has begun stays.
      if (adoption.kind === 'hosted') adoption.run.stop(this.spec.stop.graceMs);
    }
    if (adoption.kind === 'ended') return { kind: 'ran', end: this.#takeExit(adoption.exit) };
    this.#hosted = adoption.run;
    return { kind: 'runs', hosted: adoption.run };
  }

  async #waitAgain(end: EndRecord): Promise<Outcome> {
    this.#status = 'backoff';
    this.#statusReason = end.statusReason;
    this.#attempts = end.attempts;
    this.#ranMs = end.ranMs;
    this.#lastPid = end.pid;
    this.#startedAt = end.startedAt;
    this.#startedAnswer = end.started;
    if (end.started !== null) this.#answer(end.started);
    const dueMs = end.nextRunAt === null ? 0 : Date.parse(end.nextRunAt) - Date.now();
    await this.#pause(Math.min(Math.max(0, dueMs), this.spec.restart.maxBackoffMs * 2));
    return this.#runOnce();
  }

  #decide(end: RunEnd): NextStep {
    const { restart, clusterId } = this.spec;
    const endsOnFailedStart = clusterId !== null || this.#startedAnswer === null;
    const context = { restart, attempts: this.#attempts, endsOnFailedStart, stop: this.#stop };
    return decideNextStep(end, context, Math.random());
  }

  async #runFirst(ready: Promise<void>, secretValues: SecretValues): Promise<Outcome> {
    await ready;
    await this.means.secrets?.save(this.spec, secretValues);
    return this.#runOnce();
  }

  /** One run from its intent until it runs. */
  async #runOnce(): Promise<Outcome> {
    const stopped = (): Outcome => ({
      kind: 'notRunning',
      end: { kind: 'notStarted' },
      error: this.#stoppedEarly(),
    });
    if (this.#stop !== null) {
      await this.#entering;
      return stopped();
    }
    const { names, hosted } = await this.means.gate.run(async () => {
      const names = await this.#recordIntent();
      if (this.#stop !== null || names instanceof MorchError) return { names, hosted: null };
      return { names, hosted: this.#refusal() ?? (await this.#execute(names)) };
    });
    if (names instanceof MorchError) return { kind: 'unwritable', error: names };
    if (hosted === null) return stopped();
    if (hosted instanceof MorchError) {
      return { kind: 'notRunning', end: { kind: 'refused', why: 'tooLate' }, error: hosted };
    }
    if (hosted instanceof StartFailure) return this.#failStart(hosted);
    this.#enterRun(hosted);
    return { kind: 'runs', hosted };
  }

  #refusal(): MorchError | null {
    const { clusterId, onDisconnect } = this.spec;
    if (clusterId === null) return null;
    const run = { isFirst: this.#run === 1, isFenced: onDisconnect === 'stop' };
    return this.means.session.mayExecute(run, this.#admission) ? null : this.#tooLate();
  }

  #tooLate(): MorchError {
    const { instanceId } = this.spec;
    return new MorchError('STALE_SESSION', `No scheduler has been heard in time for ${instanceId} to be started.`);
  }

  #secretsGone(): MorchError {
    const { instanceId } = this.spec;
    return new MorchError('NOT_POSSIBLE', `The secrets of ${instanceId} are gone from /dev/shm.`);
  }

  async #failStart(failure: StartFailure): Promise<Outcome> {
    if (failure.syscall === FENCED_START)
      return { kind: 'notRunning', end: { kind: 'refused', why: 'tooLate' }, error: this.#tooLate() };
    if (failure.syscall === SECRETS_GONE)
      return { kind: 'notRunning', end: { kind: 'refused', why: 'secretsGone' }, error: this.#secretsGone() };
    const cwd = cwdOf(this.spec, this.means.records.workDirectoryOf(this.spec));
    const ownUid = this.means.users.ownUidOf(this.spec);
    const error = await startFailed(failure, this.spec, { node: this.spec.node, cwd, ownUid });
    this.#startError = { detail: error.message, ...error.system! };
    this.#ranMs = 0;
    const what = `${error.system!.syscall}: ${error.system!.errnoCode}`;
    return { kind: 'notRunning', end: { kind: 'startFailed', what }, error };
  }

  #stoppedEarly(): MorchError {
    const { instanceId, generation } = this.spec;
    return new MorchError('NOT_POSSIBLE', `${instanceId} generation ${generation} was stopped before it was started`);
  }

  /** Makes the next run's intent durable, and the run the present one; the error if it cannot be. */
  async #recordIntent(): Promise<{ run: number; nonce: string; logs: LogPlan } | MorchError> {
    const { records, logFiles, users, bootId } = this.means;
    const run = this.#run + 1;
    const attempts = this.#attemptsBefore() + 1;
    const nonce = randomUUID();
    try {
      await users.prepare(this.spec);
      const { leaseTerm } = this.#admission;
      const started = this.#startedAnswer;
      const providing = logFiles.provide(this.spec);
      providing.catch(() => {}); // looked at below
      await records.saveIntent({ spec: this.spec, run, attempts, nonce, bootId, started, leaseTerm });
      const logs = await providing;
      await this.#entering;
      this.#run = run;
      this.#attempts = attempts;
      this.#nonce = nonce;
      this.#startError = null;
      this.#overranMs = null;
      this.#change('starting', null);
      // Of a recovery its scheduler hears at once; else it has called it so itself, and is told when it runs.
      const { clusterId, generation } = this.spec;
      this.#publish(clusterId !== null && generation === 1 && run === 1);
      return { run, nonce, logs };
    } catch (error) {
      await this.#entering;
      if (error instanceof MorchError && error.code === 'STORE_UNWRITABLE') return error;
      throw error;
    }
  }

  #attemptsBefore(): number {
    if (this.#run === 0) return this.spec.attemptsUsed;
    return attemptsAfterRun(this.spec.restart, { attempts: this.#attempts, ranMs: this.#ranMs });
  }

  async #execute(names: { run: number; nonce: string; logs: LogPlan }): Promise<HostedRun | StartFailure> {
    const { leaseTerm } = this.#admission;
    const isCommanded = this.#run === 1 && this.spec.clusterId !== null;
    const startUntilMs = isCommanded ? this.means.session.startUntilMs : null;
    try {
      return await this.means.host.start(await planRun(this.spec, { ...names, leaseTerm, startUntilMs }, this.means));
    } catch (error) {
      if (error instanceof StartFailure) return error;
      throw error;
    }
  }

  #enterRun(hosted: HostedRun): void {
    const { pid, shimPid } = hosted.identity;
    this.#hosted = hosted;
    this.#setRunning(pid, shimPid, hosted.startedAt);
    this.#change('running', null);
    this.#publish();
    if (this.#stop !== null) {
      this.#stop.beforeEnd = true;
      void this.#stopHosted(hosted, this.#stop.graceMs, stopReason(this.#stop.cause));
    }
    this.#answer(this.#startedAnswer!);
  }

  #setRunning(pid: number, shimPid: number, startedAt: string): void {
    const { instanceId, generation } = this.spec;
    this.#pid = pid;
    this.#lastPid = pid;
    this.#shimPid = shimPid;
    this.#startedAt = startedAt;
    this.#startedAnswer ??= { instanceId, generation, run: this.#run, pid, shimPid, startedAt };
  }

  /** The record first: should this agent end now, the next one knows what the exit came of. */
  async #stopHosted(hosted: HostedRun, graceMs: number, reason: string, isAnswered = false): Promise<void> {
    const record = { run: this.#run, cause: this.#stop?.cause ?? null, overranMs: this.#overranMs };
    try {
      await this.means.records.saveStop(this.spec, record);
    } catch (error) {
      this.means.log.error({ err: error, instance: this.spec.instanceId }, 'cannot record a stop');
    }
    hosted.stop(graceMs);
    if (this.#status !== 'running' || this.#hosted !== hosted) return;
    this.#change('stopping', reason);
    this.#publish(isAnswered);
  }

  /** Goes on when the main process has ended. */
  #watch(hosted: HostedRun): void {
    const { maxRunMs } = this.spec;
    const cancelLimit = maxRunMs === undefined ? null : this.#limit(hosted, maxRunMs);
    hosted.whenExited((exit) => {
      cancelLimit?.();
      this.#lead(this.#outlive(hosted, exit));
    });
  }

  #limit(hosted: HostedRun, maxRunMs: number): () => void {
    const alreadyMs = Date.now() - Date.parse(hosted.startedAt);
    return startTimer(Math.max(0, maxRunMs - alreadyMs), () => this.#overrun(hosted, maxRunMs));
  }

  /** From the end of the main process to that of the tree. */
  async #outlive(hosted: HostedRun, exit: MainExit): Promise<Outcome> {
    const end = this.#takeExit(exit);
    await NOW; // of most trees the shim tells both ends in one breath
    if (!hosted.isGone && !(await isDoneWithin(hosted.gone, TREE_USUALLY_GONE_MS))) {
      await this.#enterEnd('stopping', `${describeEnd(end)}; stopping what it left`);
      await hosted.gone;
    }
    this.#hosted = null;
    return { kind: 'ran', end };
  }

  /** Both times are the shim's, which sees the end also while no agent is there. */
  #takeExit(main: MainExit): RunEnd & { kind: 'exited' } {
    const { code, signal, at, oomKilled, shimLost, fenced, recorded, droppedBytes } = main;
    if (droppedBytes > 0) {
      const { generation } = this.spec;
      this.#drops = [...this.#drops, { generation, run: this.#run, endedAtMs: Date.parse(at), droppedBytes }];
    }
    this.#ranMs = Math.max(0, Date.parse(at) - Date.parse(this.#startedAt!));
    const exit = { code, signal, at, oomKilled };
    this.#untoldExit = exit;
    if (!recorded) this.#unrecorded = this.#hosted;
    return { kind: 'exited', exit, ranMs: this.#ranMs, overranMs: this.#overranMs, shimLost, fenced };
  }

  #overrun(hosted: HostedRun, maxRunMs: number): void {
    if (this.#stop !== null) return;
    this.#overranMs = maxRunMs;
    void this.#stopHosted(hosted, this.spec.stop.graceMs, overranReason(maxRunMs));
  }

  async #backOff({ delayMs, reason }: { delayMs: number; reason: string }): Promise<void> {
    const entering = this.#enterEnd('backoff', reason, { nextRunAt: new Date(Date.now() + delayMs).toISOString() });
    // With a run that comes at once, its intent is recorded in the same write.
    if (delayMs > 0) return entering.then(() => this.#pause(delayMs));
    entering.catch(() => {}); // whoever begins the run sees it
    this.#entering = entering;
  }

  /** Ends early when a stop is asked for. */
  async #pause(delayMs: number): Promise<void> {
    if (this.#stop !== null) return;
    const woken = deferred<void>();
    const cancel = startTimer(delayMs, woken.resolve);
    this.#wake = woken.resolve;
    await woken.promise;
    cancel();
    this.#wake = null;
  }

  async #finish({ status, reason, lost }: Extract<NextStep, { kind: 'end' }>): Promise<void> {
    await this.#removeSecrets();
    const end = await this.#enterEnd(status, reason, { lost });
    await this.means.cgroups?.remove(keyOf(this.spec));
    this.#end(end);
  }

  /** What cannot be removed now goes at the next start of an agent, or with the machine. */
  async #removeSecrets(): Promise<void> {
    await this.means.secrets?.remove(this.spec).catch((error) => {
      this.means.log.error({ err: error, instance: this.spec.instanceId }, 'cannot remove the secrets of an instance');
    });
  }

  /**
   * Records how the run, or the generation, has ended; only then is it so, and told. An end that cannot be
   * recorded is still told; after a restart of the agent its exit would be unknown.
   */
  async #enterEnd(
    status: AgentInstanceStatus,
    statusReason: string,
    { lost = false, nextRunAt = null }: { lost?: boolean; nextRunAt?: string | null } = {},
  ): Promise<EndRecord> {
    const { uid, slot, instanceId, generation, clusterId } = this.spec;
    const record: EndRecord = {
      uid,
      slot,
      instanceId,
      generation,
      clusterId,
      run: this.#run,
      status,
      statusReason,
      pid: this.lastPid,
      shimPid: this.#shimPid,
      startedAt: this.#startedAt,
      exit: this.#untoldExit ?? this.#exit,
      attempts: this.#attempts,
      lost,
      startError: this.#startError,
      ranMs: this.#ranMs,
      drops: [],
      overranMs: this.#overranMs,
      nextRunAt,
      started: this.#startedAnswer,
    };
    if (this.#drops.length > 0) {
      await this.noteDrops().catch(() => {}); // again before it is forgotten
      record.drops = [...this.#drops];
    }
    try {
      await this.means.records.saveEnd(record);
      const left = this.#unrecorded?.left;
      this.release();
      if (left !== undefined && hasEnded(status)) await isDoneWithin(left, SHIM_LEAVES_MS);
    } catch (error) {
      this.means.log.error({ err: error, instance: record.instanceId }, 'cannot record the end of a run');
      if (hasEnded(status)) this.#saveLater(record);
    }
    this.#lost = lost;
    if (this.#untoldExit !== null) {
      this.#exit = this.#untoldExit;
      this.#untoldExit = null;
      this.#pid = null;
    }
    if (status !== 'stopping') this.#shimPid = null;
    this.#change(status, statusReason);
    this.#publish();
    return record;
  }

  /** How much output could not be written is kept beside it, as far as that can be written now. Called where there is some. */
  async noteDrops(): Promise<void> {
    const drops = this.#drops;
    await noteDropped(this.means.logFiles.directoryOf(this.spec), drops);
    const left = this.#drops.filter((one) => !drops.includes(one));
    this.#drops = left.length === 0 ? NO_DROPS : left;
  }

  /** What runs that have ended dropped, as far as it is not noted yet. */
  get drops(): readonly RunDrops[] {
    return this.#drops;
  }

  /** The end is known only in memory: a later agent would not know it for what it was. */
  get isUnsaved(): boolean {
    return this.#unsaved;
  }

  #saveLater(record: EndRecord): void {
    this.#unsaved = true;
    startTimer(SAVE_AGAIN_MS, () => {
      if (!this.#unsaved) return;
      this.means.records.saveEnd(record).then(
        () => this.release(),
        () => this.#saveLater(record),
      );
    });
  }

  /** What is known of the end is stored, here or with the scheduler: its shim need not keep it. */
  release(): void {
    this.#unsaved = false;
    this.#unrecorded?.acknowledge();
    this.#unrecorded = null;
  }

  #change(status: AgentInstanceStatus, reason: string | null): void {
    changeStatus(this.#status, status, this.spec.instanceId);
    this.#status = status;
    this.#statusReason = reason;
  }

  #publish(isAnswered = false): void {
    this.means.onChange(this.report(), this.spec.clusterId, isAnswered);
  }
}

/**
 * Desired against running: takes starts and stops, keeps every generation the agent knows of, live ones with their
 * life, ended ones as their record, until they are forgotten.
 *
 * One key (uid, slot) has at most one live generation, the latest: a later one begins when the tree of the one
 * before is gone. Who may command is decided before (membership.ts). Over 400 lines: the three indexes of what is
 * known are kept by the acts that change them.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { basename } from 'node:path';
import type { InstanceReport, KeptInstance, Started, StartInstance, StopInstance, Stopped } from '../contract/agentApi';
import { MorchError } from '../contract/errors';
import { type Feature, lackInWords, missingFeatures } from '../contract/features';
import { dnsLabelOf } from '../contract/fields';
import { pickProcess, restartWithDefaults, stopWithDefaults } from '../contract/workload';
import { Forgotten } from './forgotten';
import { Generation, type GenerationEnd, type GenerationMeans } from './generation';
import { revOf } from './instanceStatus';
import { fileOf } from './launch';
import { noteDropped, type RunDrops } from './logDropped';
import { type LogOwner, logOwnerKey } from './logs/files';
import type { Origins } from './origins';
import { type EndRecord, type GenerationId, keyOf, type ResolvedStart } from './records';
import type { Recovered } from './recovery';
import { checkValues } from './secrets';
import { SharedSpecs } from './sharedSpecs';
import type { TailSubject } from './tails';
import { Gate, isDoneWithin } from './timers';

/** How long after SIGKILL the kernel may take to let go before a stop is answered STILL_ALIVE. */
const KILL_BUDGET_MS = 2_000;
/** How long starts under way may hold up the end of the agent. */
const START_BUDGET_MS = 5_000;
/** Generations whose records are removed at a time; a directory that is not empty takes a few descriptors. */
const FORGOTTEN_AT_ONCE = 64;
/** Ended generations kept by an agent without a scheduler. */
const ENDED_KEPT_ALONE = 100;

type Known =
  | { kind: 'live'; id: GenerationId; life: Generation }
  /** `life`: as it was led here; null when an earlier agent did, or nobody. */
  | { kind: 'ended'; id: GenerationId; end: EndRecord; life: Generation | null };

export interface StopTarget {
  instanceId?: string | undefined;
  uid?: string | undefined;
  generation?: number | undefined;
  pid?: number | undefined;
  graceMs?: number | undefined;
  clusterId?: string | undefined;
  /** The scheduler's, whose session it is. */
  session?: number | undefined;
}

export class Supervisor {
  /** By `keyOf`, in the order they came. */
  readonly #known = new Map<string, Known>();
  /** By `logOwnerKey`: the known generations of each (uid, slot), rising. */
  readonly #byOwner = new Map<string, Known[]>();
  /** Which (uid, slot) an instance id stands for where no uid is named: the one last started. */
  readonly #ownerByInstanceId = new Map<string, string>();
  readonly #forgetting = new Set<Known>();
  readonly #forgotten = new Forgotten();
  readonly #specs = new SharedSpecs();
  #liveCount = 0;
  #closing = false;
  #isPruning = false;

  constructor(
    private readonly nodeName: string,
    private readonly features: readonly string[],
    private readonly means: GenerationMeans,
    private readonly hasScheduler: () => boolean,
  ) {}

  /** Takes in what an earlier agent of this data directory has left. */
  adopt({ ended, resumed }: Recovered): void {
    for (const end of ended.sort((a, b) => (endedAt(a) < endedAt(b) ? -1 : 1))) {
      this.#enter({ kind: 'ended', id: end, end, life: null });
    }
    for (const resumption of resumed) {
      const life = new Generation(resumption.intent.spec, this.means, this.#settle);
      this.#live(life);
      life.resume(resumption);
    }
    this.#pruneAlone();
  }

  get isClosing(): boolean {
    return this.#closing;
  }

  /** What a scheduler of that cluster is told of: its own instances. */
  reportsOf(clusterId: string | null): InstanceReport[] {
    return [...this.#known.values()].filter((known) => clusterOf(known) === clusterId).map(reportOf);
  }

  /** Whether anything runs here that is not of that cluster. */
  hasLiveOfOthers(clusterId: string): boolean {
    for (const known of this.#known.values()) {
      const owner = clusterOf(known);
      if (known.kind === 'live' && owner !== null && owner !== clusterId) return true;
    }
    return false;
  }

  /** An instance that was started without a scheduler stays its starter's, also when the agent has one now. */
  isStartedAlone(target: StopTarget): boolean {
    if (target.instanceId === undefined) return false;
    const known = this.#find(target.instanceId, target.uid);
    return known !== undefined && clusterOf(known) === null;
  }

  /**
   * Asked again and again, of all there are: nothing is made for it but what `tell` makes.
   *
   * @param tell given the nonce of its present run
   */
  eachLive(tell: (instanceId: string, generation: number, nonce: string) => void): void {
    this.#known.forEach((known) => {
      if (known.kind === 'live') tell(known.life.spec.instanceId, known.life.spec.generation, known.life.nonce);
    });
  }

  /**
   * The latest generations of that cluster's instances: whose output it may want to know the end of. May be gone through while
   * others come and go.
   *
   * @param nonces of the runs to be told of; default: all, and what has ended
   */
  *tailSubjects(clusterId: string | null, nonces: ReadonlySet<string> | null = null): Generator<TailSubject> {
    for (const generations of this.#byOwner.values()) {
      const known = generations.at(-1)!;
      if (clusterId === null || clusterOf(known) !== clusterId) continue;
      const nonce = known.kind === 'live' ? known.life.nonce : null;
      if (nonces !== null && (nonce === null || !nonces.has(nonce))) continue;
      const { uid, slot, generation } = known.id;
      yield { uid, slot, generation, run: known.kind === 'live' ? known.life.run : known.end.run };
    }
  }

  /** @param owner `logOwnerKey` */
  isKnown(owner: string): boolean {
    return this.#byOwner.has(owner);
  }

  /** The reports with the nonce of the run they tell of; null for ended ones. */
  reportsWithNonce(): { report: InstanceReport; nonce: string | null }[] {
    return [...this.#known.values()].map((known) => ({
      report: reportOf(known),
      nonce: known.kind === 'live' ? known.life.nonce : null,
    }));
  }

  /** What that cluster's scheduler has had started and has not ended, as it was told last. */
  keptOf(clusterId: string, origins: Pick<Origins, 'latest'>): KeptInstance[] {
    return this.#lives()
      .map(({ spec }) => spec)
      .filter((spec) => spec.clusterId === clusterId)
      .map(({ attemptsUsed: _1, node: _2, clusterId: _3, workload: started, ...kept }) => {
        const workload = origins.latest(kept.uid, started);
        return { ...kept, ...(workload === undefined ? {} : { workload }) };
      });
  }

  /** Of the workloads of which something lives here. */
  liveUids(): Set<string> {
    return new Set(this.#lives().map(({ spec }) => spec.uid));
  }

  /** Of generations whose main process lives, or may be on its way. */
  keysInUse(): Set<string> {
    const inUse = this.#lives().filter((life) => {
      const { pid, status } = life.report();
      return pid !== null || status === 'starting';
    });
    return new Set(inUse.map(({ spec }) => keyOf(spec)));
  }

  get liveCount(): number {
    return this.#liveCount;
  }

  get knownCount(): number {
    return this.#known.size;
  }

  knownOwners(): Set<string> {
    return new Set(this.#byOwner.keys());
  }

  /** Whose output an instance id stands for; null: not known. */
  findOwner(instanceId: string, uid: string | undefined): LogOwner | null {
    return this.#find(instanceId, uid)?.id ?? null;
  }

  /** Whether more output may come: its latest generation has not ended. */
  mayWrite(owner: LogOwner): boolean {
    return this.#latestOf(owner)?.kind === 'live';
  }

  /** What its runs dropped of their output, as far as that is not noted beside it yet. */
  dropsOf(owner: LogOwner): readonly RunDrops[] {
    const generations = this.#byOwner.get(logOwnerKey(owner)) ?? [];
    return generations.flatMap((known) => (known.kind === 'live' ? known.life : (known.life ?? known.end)).drops);
  }

  /**
   * Starts an instance, or answers again for a generation it has started before.
   *
   * @throws MorchError INVALID_INPUT, INSTANCE_EXISTS, STALE_GENERATION, FEATURE_UNSUPPORTED, START_FAILED, STORE_UNWRITABLE, STILL_ALIVE, SHUTTING_DOWN
   */
  async start(command: StartInstance): Promise<Started> {
    const id = this.#identify(command);
    const same = this.#known.get(keyOf(id));
    // Also while it ends: a refusal means that this generation does not run here.
    if (same !== undefined) return answerAgain(same);
    if (this.#closing)
      throw new MorchError('SHUTTING_DOWN', `The agent ${this.nodeName} is stopping; it starts nothing.`);
    const missing = missingFeatures(command, this.features);
    if (missing.length > 0) throw unsupported(missing, this.nodeName);
    checkValues(command.secrets, command.secretValues);
    const before = this.#latestOf(id);
    if (before !== undefined && before.id.generation > id.generation) {
      throw staleGeneration(id.instanceId, id.generation, before.id.generation);
    }
    const past = command.clusterId === undefined ? null : this.#forgotten.coverOf(id, this.#session);
    if (past !== null) throw staleGeneration(id.instanceId, id.generation, past);
    const life = new Generation(this.#resolve(command, id), this.means, this.#settle);
    this.#live(life);
    life.begin(this.#replace(before), command.secretValues ?? {});
    return life.started;
  }

  /**
   * Stops an instance and answers when its tree is gone; of one that has ended, tells how.
   *
   * @throws MorchError INSTANCE_NOT_FOUND, PROCESS_NOT_FOUND, STALE_GENERATION, STILL_ALIVE, STORE_UNWRITABLE
   */
  async stop(target: StopInstance): Promise<Stopped> {
    const known = await this.#begin(target);
    if (known.kind === 'ended') {
      if (known.life?.isUnsaved) throw unrecorded(known.life);
      return stoppedOf(reportOf(known));
    }
    const { life } = known;
    const graceMs = target.graceMs ?? life.spec.stop.graceMs;
    if (!(await isDoneWithin(life.ended, graceMs + KILL_BUDGET_MS))) throw stillAlive(life);
    if (life.isUnsaved) throw unrecorded(life);
    return stoppedOf(reportOf(this.#known.get(keyOf(known.id)) ?? known));
  }

  /**
   * Begins a stop and answers how the instance is now; what comes of it is told by `onChange`.
   *
   * @throws MorchError like `stop`, and INSTANCE_NOT_FOUND for a generation never heard of, once its tombstone is there
   */
  async beginStop(target: StopInstance): Promise<Stopped> {
    const isKnown = this.#findTarget(target) !== undefined;
    const known = await this.#begin(target, target.session !== undefined);
    if (!isKnown) throw this.#notFound(target.instanceId);
    return stoppedOf(reportOf(known));
  }

  /** Drops the records of ended generations; live ones and unknown ones are passed over. */
  async forget(ids: GenerationId[]): Promise<void> {
    const ended = ids.flatMap((id) => {
      const known = this.#known.get(keyOf(id));
      return known?.kind === 'ended' && !this.#forgetting.has(known) ? [known] : [];
    });
    for (const known of ended) this.#forgetting.add(known);
    const gate = new Gate(FORGOTTEN_AT_ONCE);
    try {
      await Promise.all(ended.map((known) => gate.run(() => this.#forgetOne(known))));
    } finally {
      await this.#releaseUsers(ended.map(({ id }) => id));
    }
  }

  async #forgetOne(known: Extract<Known, { kind: 'ended' }>): Promise<void> {
    if (!(await this.#keepsDrops(known))) {
      this.#forgetting.delete(known);
      return;
    }
    known.life?.release(); // nobody needs its end any more
    // Known until its records are gone: they would be in the way of the same generation started again.
    await this.means.records.remove(known.id).finally(() => {
      this.#leave(known);
      this.#forgetting.delete(known);
      this.#forgotten.add(known.id, this.#session);
    });
    if (!this.#byOwner.has(logOwnerKey(known.id))) await this.means.logFiles.removeEmpty(known.id);
  }

  /** @returns false as long as the disk has no room for what it could not take: then its end stays known, and tells it */
  async #keepsDrops({ life, end, id }: Extract<Known, { kind: 'ended' }>): Promise<boolean> {
    if ((life ?? end).drops.length === 0) return true;
    try {
      if (life !== null) await life.noteDrops();
      else await noteDropped(this.means.logFiles.directoryOf(id), end.drops);
      return true;
    } catch {
      return false;
    }
  }

  /** Refuses starts from now on; resolves when those under way have come to something, or take too long. */
  async closeAndKeep(): Promise<void> {
    this.#closing = true;
    const settled = this.#lives().map(({ started }) => started.catch(() => {}));
    await isDoneWithin(Promise.all(settled), START_BUDGET_MS);
  }

  /** Refuses starts from now on, stops everything, resolves when all trees are gone. */
  async closeAndStop(): Promise<void> {
    this.#closing = true;
    const lives = this.#lives();
    for (const life of lives) void life.stop('agent');
    await Promise.all(lives.map(({ ended }) => ended));
  }

  get #session(): object | null {
    return this.means.session.admission.session;
  }

  #lives(): Generation[] {
    return [...this.#known.values()].flatMap((known) => (known.kind === 'live' ? [known.life] : []));
  }

  #live(life: Generation): void {
    this.#enter({ kind: 'live', id: life.spec, life });
  }

  /** Fills in uid, instance id and generation where the command leaves them open. */
  #identify({ instanceId, uid, generation, ...program }: StartInstance): GenerationId & { instanceId: string } {
    if (instanceId === undefined) {
      const label = dnsLabelOf(basename(fileOf(program)), 'job', 57);
      const name = `${label}-${randomBytes(5).reduce((text, byte) => text + (byte % 36).toString(36), '')}`;
      return { instanceId: `${name}.0`, uid: uid ?? randomUUID(), slot: '0', generation: generation ?? 1 };
    }
    const slot = instanceId.slice(instanceId.indexOf('.') + 1);
    const known = this.#find(instanceId, uid);
    const owner = { uid: uid ?? known?.id.uid ?? randomUUID(), slot };
    if (generation !== undefined) return { ...owner, instanceId, generation };
    const latest = this.#latestOf(owner);
    if (latest?.kind === 'live') {
      const detail = `${instanceId} is ${latest.life.report().status} here. Stop it first, or name a higher "generation" to replace it.`;
      throw new MorchError('INSTANCE_EXISTS', detail);
    }
    return { ...owner, instanceId, generation: (latest?.id.generation ?? 0) + 1 };
  }

  #resolve(command: StartInstance, id: GenerationId & { instanceId: string }): ResolvedStart {
    const { kind, restart, stop, attemptsUsed = 0, node, workload } = command;
    return this.#specs.share({
      ...id,
      kind,
      ...pickProcess(command),
      restart: restartWithDefaults(kind, restart),
      stop: stopWithDefaults(stop),
      attemptsUsed,
      node: node ?? this.nodeName,
      clusterId: command.clusterId ?? null,
      ...(workload === undefined ? {} : { workload }),
    });
  }

  /** Resolves when the tree of the generation before is gone. */
  async #replace(before: Known | undefined): Promise<void> {
    if (before?.kind !== 'live') return;
    const { life } = before;
    await life.stop('replaced');
    if (!(await isDoneWithin(life.ended, life.spec.stop.graceMs + KILL_BUDGET_MS))) throw stillAlive(life);
  }

  /** Finds what is to be stopped and begins it; a generation never heard of gets a tombstone. */
  async #begin(target: StopTarget, isAnswered = false): Promise<Known> {
    const known = target.pid === undefined ? this.#findTarget(target) : this.#findPid(target.pid);
    if (known === undefined) {
      const { uid, generation, instanceId } = target;
      if (uid === undefined || generation === undefined) {
        throw this.#notFound(instanceId);
      }
      return this.#bury(instanceId!, uid, generation, target);
    }
    if (known.kind === 'live') await known.life.stop('request', target.graceMs, isAnswered);
    return known;
  }

  #notFound(instanceId: string | undefined): MorchError {
    return new MorchError('INSTANCE_NOT_FOUND', `The agent ${this.nodeName} knows no instance ${instanceId}.`);
  }

  #findTarget({ instanceId, uid, generation }: StopTarget): Known | undefined {
    const latest = this.#find(instanceId!, uid);
    if (latest === undefined || generation === undefined || latest.id.generation === generation) return latest;
    if (latest.id.generation > generation) throw staleGeneration(instanceId!, generation, latest.id.generation);
    return undefined;
  }

  #find(instanceId: string, uid: string | undefined): Known | undefined {
    const slot = instanceId.slice(instanceId.indexOf('.') + 1);
    const owner = uid === undefined ? this.#ownerByInstanceId.get(instanceId) : logOwnerKey({ uid, slot });
    return owner === undefined ? undefined : this.#byOwner.get(owner)?.at(-1);
  }

  #latestOf(owner: LogOwner): Known | undefined {
    return this.#byOwner.get(logOwnerKey(owner))?.at(-1);
  }

  #findPid(pid: number): Known {
    let ended: Known | undefined;
    for (const known of this.#known.values()) {
      if (known.kind === 'live' && known.life.lastPid === pid) return known;
      if (known.kind === 'ended' && known.end.pid === pid) ended = known;
    }
    if (ended !== undefined) return ended;
    throw new MorchError('PROCESS_NOT_FOUND', `No instance of the agent ${this.nodeName} has the process id ${pid}.`);
  }

  /** Leaves a tombstone, so that a start which is still on its way is refused when it comes. */
  async #bury(instanceId: string, uid: string, generation: number, { graceMs, clusterId }: StopTarget): Promise<Known> {
    const slot = instanceId.slice(instanceId.indexOf('.') + 1);
    const end: EndRecord = {
      uid,
      clusterId: clusterId ?? null,
      slot,
      instanceId,
      generation,
      run: 0,
      status: 'stopped',
      statusReason: 'stopped by request before it was started',
      pid: null,
      shimPid: null,
      startedAt: null,
      exit: null,
      ranMs: 0,
      drops: [],
      overranMs: null,
      nextRunAt: null,
      attempts: 0,
      lost: false,
      startError: null,
      started: null,
    };
    const before = this.#latestOf(end);
    const known: Known = { kind: 'ended', id: end, end, life: null };
    this.#enter(known);
    if (before?.kind === 'live') void before.life.stop('request', graceMs);
    try {
      await this.means.records.saveEnd(end);
    } catch (error) {
      this.#leave(known);
      throw error;
    }
    this.means.onChange(reportOf(known), clusterOf(known), false);
    if (before?.kind === 'live') await this.#replace(before);
    return known;
  }

  readonly #settle = (life: Generation, end: GenerationEnd): void => {
    const known = this.#known.get(keyOf(life.spec))!;
    this.#leave(known);
    if (end !== null) this.#enter({ kind: 'ended', id: known.id, end, life });
    else void this.#releaseUsers([known.id]);
    this.#pruneLater();
  };

  /** Of what is known, or started anew meanwhile, nothing is taken. */
  async #releaseUsers(owners: LogOwner[]): Promise<void> {
    await this.means.users.release(owners.filter((owner) => !this.#byOwner.has(logOwnerKey(owner))));
  }

  #enter(known: Known): void {
    this.#known.set(keyOf(known.id), known);
    const owner = logOwnerKey(known.id);
    const generations = [...(this.#byOwner.get(owner) ?? []), known];
    generations.sort((a, b) => a.id.generation - b.id.generation);
    this.#byOwner.set(owner, generations);
    this.#ownerByInstanceId.set(instanceIdOf(known), owner);
    if (known.kind === 'live') this.#liveCount += 1;
  }

  #leave(known: Known): void {
    this.#known.delete(keyOf(known.id));
    const owner = logOwnerKey(known.id);
    const others = (this.#byOwner.get(owner) ?? []).filter((other) => other !== known);
    if (others.length > 0) {
      this.#byOwner.set(owner, others);
    } else {
      this.#byOwner.delete(owner);
      const instanceId = instanceIdOf(known);
      if (this.#ownerByInstanceId.get(instanceId) === owner) this.#ownerByInstanceId.delete(instanceId);
    }
    if (known.kind === 'live') this.#liveCount -= 1;
  }

  /** What ends in one turn of the event loop is looked through once. */
  #pruneLater(): void {
    if (this.#isPruning) return;
    this.#isPruning = true;
    setImmediate(() => {
      this.#isPruning = false;
      this.#pruneAlone();
    });
  }

  #pruneAlone(): void {
    const excess = this.#known.size - this.#liveCount - this.#forgetting.size - ENDED_KEPT_ALONE;
    if (excess <= 0 || this.hasScheduler()) return;
    const ended = [...this.#known.values()].filter((known) => known.kind === 'ended' && !this.#forgetting.has(known));
    this.forget(ended.slice(0, excess).map(({ id }) => id)).catch((error) => {
      this.means.log.error({ err: error }, 'cannot remove the records of ended instances');
    });
  }
}

function reportOf(known: Known): InstanceReport {
  if (known.kind === 'live') return known.life.report();
  const { uid, slot, instanceId, generation, run, status, statusReason } = known.end;
  const { startedAt, exit, attempts, lost, startError } = known.end;
  return {
    uid,
    slot,
    instanceId,
    generation,
    run,
    rev: revOf(run, status),
    status,
    statusReason,
    pid: null,
    shimPid: null,
    startedAt,
    exit,
    attempts,
    lost,
    startError,
  };
}

const AFTER_ALL_TIMES = '~';

/** In the order in which they ended; a tombstone first, a start that was lost just now last. */
function endedAt({ exit, startedAt, lost }: EndRecord): string {
  return exit?.at ?? startedAt ?? (lost ? AFTER_ALL_TIMES : '');
}

function clusterOf(known: Known): string | null {
  return known.kind === 'live' ? known.life.spec.clusterId : known.end.clusterId;
}

function instanceIdOf(known: Known): string {
  return known.kind === 'live' ? known.life.spec.instanceId : known.end.instanceId;
}

function stoppedOf({ instanceId, generation, run, status, exit }: InstanceReport): Stopped {
  return { instanceId, generation, run, status, exit };
}

/** The answer that this generation's start has got or gets. */
async function answerAgain(known: Known): Promise<Started> {
  if (known.kind === 'live') return known.life.started;
  const { started, startError, instanceId, generation, statusReason } = known.end;
  if (started !== null) return started;
  if (startError !== null) {
    const { detail, ...system } = startError;
    throw new MorchError('START_FAILED', detail, { system });
  }
  const detail = `${instanceId} generation ${generation} is not started here any more: ${statusReason ?? 'it has ended'}.`;
  throw new MorchError('STALE_GENERATION', detail);
}

function unsupported(missing: Feature[], nodeName: string): MorchError {
  const detail = `The node ${nodeName} lacks what is asked for: ${lackInWords(missing)}. Leave it out, or start it on a node that can.`;
  return new MorchError('FEATURE_UNSUPPORTED', detail);
}

function staleGeneration(instanceId: string, generation: number, latest: number): MorchError {
  const detail = `${instanceId} generation ${generation} is past: the agent knows generation ${latest}. Nothing was done.`;
  return new MorchError('STALE_GENERATION', detail);
}

function unrecorded(life: Generation): MorchError {
  const { instanceId } = life.spec;
  const detail = `${instanceId} has been stopped, but that cannot be recorded: an agent started from here on would start it again. Free space in --data-dir or mend its rights; the agent keeps trying.`;
  return new MorchError('STORE_UNWRITABLE', detail);
}

function stillAlive(life: Generation): MorchError {
  const { instanceId } = life.spec;
  const detail = `Processes of ${instanceId} (main process ${life.lastPid ?? 'unknown'}) live on after SIGKILL. The agent keeps trying; ask GET /status.`;
  return new MorchError('STILL_ALIVE', detail);
}

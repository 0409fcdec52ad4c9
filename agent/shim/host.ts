/**
 * Runs as trees of their shims (docs/shim.md): starts a shim per run, listens to its notices, and, after a restart,
 * finds the shims that an earlier agent of this data directory has left and takes them over.
 *
 * A shim is signalled only through a pidfd that was opened when it was certain who it is. Of a run whose shim was
 * killed, what is left is found by cgroup, and by the nonce in its environment.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { constants } from 'node:os';
import { basename, join } from 'node:path';
import type { Logger } from 'pino';
import type { Cgroups } from '../cgroups';
import { type FoundShim, type HandleSignal, type Native, NativeError } from '../native/index';
import {
  type Adoption,
  type HostedRun,
  type HostSample,
  type Leftover,
  type MainExit,
  type ProcessHost,
  type RunPlan,
  StartFailure,
} from '../processHost';
import { findSession, isAlive, type ProcessId, readProcessStat, TICK_MS } from '../processStat';
import { isDoneWithin, sleep } from '../timers';
import { NonceScanner } from './nonceScanner';
import { Notices } from './notices';
import { encodePlan } from './plan';
import { type RunFiles, ShimRun, type SignalShim } from './run';
import { readStateFile } from './stateFile';

const POLL_MS = 20;
/** How often one looks for what a notice should have told, and at how many runs at a time, one after the other. */
const LOOK_AGAIN_MS = 1_000;
const RUNS_PER_LOOK = 25;
/** The same after the FIFO was gone, until all have been looked at: notices may have got lost with it. */
const RUNS_PER_LOOK_WITHOUT_NOTICES = 400;
const SAY_STILL_ALIVE_MS = 5_000;
/** What nobody knows any more is given no longer than this to end by itself. */
const UNKNOWN_GRACE_MS = 3_000;
/** So long after its grace such a shim may take to end. */
const KILL_BUDGET_MS = 2_000;
const LONGEST_GRACE_MS = 2 ** 31 - 1;

export interface ShimHostOptions {
  native: Native;
  /** Null: none are used here. */
  cgroups: Pick<Cgroups, 'kill'> | null;
  /** The `morch-shim` to start. */
  shimPath: string;
  /** Absolute, symbolic links resolved: shims are known for ours by it. */
  dataDir: string;
  leasePath: string;
  log: Logger;
}

export class ShimHost implements ProcessHost {
  readonly #runs = new Map<string, ShimRun>();
  readonly #byHandle = new Map<number, ShimRun>();
  readonly #scanner: NonceScanner;
  readonly #timer: NodeJS.Timeout;
  /** Of this turn of the event loop. */
  #toSignal: HandleSignal[] = [];
  #toLookAt: [number, ShimRun][] = [];
  #runsPerLook = RUNS_PER_LOOK;
  /** Since the latest sample. */
  #someEnded = false;
  #notices: Notices | null = null;
  readonly #noticesPath: string;
  readonly #signalShim: SignalShim = (...said) => this.#signal(...said);
  readonly #signals: Record<'SIGTERM' | 'SIGCONT' | 'SIGUSR1' | 'SIGUSR2' | 'SIGKILL', number>;

  /** @throws Error when the shim is not built; NativeError when the FIFO of the notices cannot be made */
  constructor(private readonly options: ShimHostOptions) {
    const { native, shimPath, dataDir } = options;
    if (!existsSync(shimPath))
      throw new Error(`the shim is missing (${shimPath}); build it with \`npm run build:native\``);
    const numberOf = (name: string) => native.signalNumber(name)!;
    this.#signals = {
      SIGTERM: numberOf('SIGTERM'),
      SIGCONT: numberOf('SIGCONT'),
      SIGUSR1: numberOf('SIGUSR1'),
      SIGUSR2: numberOf('SIGUSR2'),
      SIGKILL: numberOf('SIGKILL'),
    };
    this.#scanner = new NonceScanner(native);
    this.#noticesPath = join(dataDir, 'notices');
    this.#openNotices();
    this.#timer = setInterval(() => this.#look(), LOOK_AGAIN_MS).unref();
    native.onExit((exits) => {
      for (const { handle, code } of exits) {
        const run = this.#byHandle.get(handle);
        this.#byHandle.delete(handle);
        if (run !== undefined) this.#conclude(run, code).catch((error) => this.#cannotConclude(run, error));
      }
    });
  }

  async start(plan: RunPlan): Promise<HostedRun> {
    const { shimPath, dataDir, leasePath, native } = this.options;
    const run = this.#runOf({ ...plan, graceMs: plan.stop.graceMs });
    const input = encodePlan(plan, { notices: this.#noticesPath, lease: leasePath });
    // Its notices may come before the call below has answered.
    this.#runs.set(plan.nonce, run);
    try {
      const argv = ['morch-shim', dataDir, plan.key, plan.nonce];
      const spawned = await native.spawn({ file: shimPath, argv, cwd: '/', input });
      run.handle = spawned.handle;
      this.#byHandle.set(spawned.handle, run);
      await this.#untilSettled(run);
      await run.started;
      return run;
    } catch (error) {
      if (run.handle === null) this.#runs.delete(plan.nonce);
      if (!(error instanceof NativeError)) throw error;
      throw new StartFailure(`shim ${error.syscall}`, error.errno, error.code, { cause: error });
    }
  }

  async adopt(leftovers: Leftover[]): Promise<Adoption[]> {
    const shims = new Map(
      (await this.options.native.findShims(this.options.dataDir)).map((shim) => [shim.nonce, shim]),
    );
    const adoptions = leftovers.map((leftover) => {
      const shim = shims.get(leftover.nonce);
      shims.delete(leftover.nonce);
      return this.#adoptOne(leftover, shim);
    });
    const dismissals = [...shims.values()].map((shim) => this.#dismiss(shim));
    await Promise.all(dismissals);
    return Promise.all(adoptions);
  }

  async sample(): Promise<HostSample> {
    const { processes, ...node } = await this.options.native.sample('lookedAtNow');
    const runs: HostSample['runs'] = new Map();
    for (const [handle, usage] of processes) {
      const run = this.#byHandle.get(handle);
      if (run !== undefined) runs.set(run.files.nonce, usage);
    }
    const someEnded = this.#someEnded;
    this.#someEnded = false;
    return { ...node, runs, someEnded };
  }

  hosts(nonce: string): boolean {
    return this.#runs.has(nonce);
  }

  /** Leaves the shims to themselves. */
  close(): void {
    this.options.native.onExit(null);
    clearInterval(this.#timer);
    this.#notices?.close();
  }

  /** Of all that is planned it keeps only what it needs. */
  #runOf({ nonce, run, stateDirectory, cgroup, graceMs }: RunFiles): ShimRun {
    return new ShimRun({ nonce, run, stateDirectory, cgroup, graceMs }, this.#signalShim);
  }

  async #adoptOne(leftover: Leftover, shim: { pid: number; startTicks: number } | undefined): Promise<Adoption> {
    const handle = shim === undefined ? null : this.options.native.watch(shim.pid, shim.startTicks);
    const run = this.#runOf(leftover);
    run.handle = handle;
    this.#runs.set(leftover.nonce, run);
    if (handle === null) {
      await this.#conclude(run, null);
    } else {
      this.#byHandle.set(handle, run);
      await this.#readInto(run);
      // A notice that was written while no agent was there is not in the file when the record could not be written.
      this.#signal(handle, 'SIGUSR1');
      while (!run.isSettled && this.#byHandle.has(handle)) {
        await sleep(POLL_MS);
        await this.#readInto(run);
      }
      if (!run.isSettled) await run.gone;
    }
    if (!run.isSettled) return { kind: 'unknown' };
    if (run.hasStarted && !run.isGone) return { kind: 'hosted', run };
    try {
      await run.started;
    } catch (failure) {
      // A shim that ended without a word may never have begun.
      return failure instanceof StartFailure && failure.syscall !== NO_WORD
        ? { kind: 'startFailed', failure }
        : { kind: 'unknown' };
    }
    const exit = await new Promise<MainExit>((resolve) => run.whenExited(resolve));
    return { kind: 'ended', identity: run.identity, startedAt: run.startedAt, exit };
  }

  /** The shim has ended: whatever it has not told stands in its state file, or is lost. */
  async #conclude(run: ShimRun, exitCode: number | null): Promise<void> {
    const isTold = exitCode === 0 && run.hasExited;
    if (!isTold && !run.isGone) await this.#readInto(run);
    if (!run.isSettled) {
      await this.#killLeft(run.files, null);
      this.options.log.warn({ nonce: run.files.nonce, exitCode }, 'a shim ended without a word');
      run.fail(new StartFailure(NO_WORD, constants.errno.ECHILD, 'ECHILD'));
    }
    if (run.hasStarted && !run.hasExited) run.loseShim(Date.now());
    if (!isTold && !run.isGone) await this.#killLeft(run.files, run);
    run.leave();
    this.#runs.delete(run.files.nonce);
    this.#someEnded = true;
  }

  #cannotConclude(run: ShimRun, error: unknown): void {
    this.options.log.error({ err: error, nonce: run.files.nonce }, 'cannot find out how a run ended; trying again');
    void sleep(1_000).then(() => this.#conclude(run, null).catch((again) => this.#cannotConclude(run, again)));
  }

  /** A notice may have got lost: with the FIFO, when somebody has removed the data directory. */
  async #untilSettled(run: ShimRun): Promise<void> {
    const settled = run.started.catch(() => {});
    while (!(await isDoneWithin(settled, LOOK_AGAIN_MS))) await this.#readInto(run);
  }

  /**
   * Looks after what the notices should have told: a FIFO that is gone, a main process that has ended unheard. A shim that
   * somebody has stopped neither reaps nor fences: it is continued; to one that runs the signal is nothing.
   */
  #look(): void {
    if (!existsSync(this.#noticesPath)) {
      this.#openNotices();
      this.#runsPerLook = RUNS_PER_LOOK_WITHOUT_NOTICES;
      this.#toLookAt = [];
    }
    const nowTicks = Math.floor(this.options.native.bootTimeMs() / TICK_MS);
    if (this.#toLookAt.length === 0) this.#toLookAt = [...this.#byHandle.entries()];
    for (const [handle, run] of this.#toLookAt.splice(0, this.#runsPerLook)) {
      if (this.#byHandle.get(handle) !== run) continue;
      this.#signal(handle, 'SIGCONT');
      if (!run.hasStarted || run.hasExited) continue;
      const { pid, startTicks } = run.identity;
      if (this.options.native.startTicksOf(pid) === startTicks) run.seenTicks = nowTicks;
      else run.ask();
    }
    if (this.#toLookAt.length === 0) this.#runsPerLook = RUNS_PER_LOOK;
  }

  #openNotices(): void {
    const { native, log, dataDir } = this.options;
    this.#notices?.close();
    try {
      mkdirSync(dataDir, { recursive: true, mode: 0o700 });
      this.#notices = Notices.open(native, this.#noticesPath, (line) => this.#runs.get(line.nonce)?.take(line), log);
    } catch (error) {
      if (this.#notices === null) throw error;
      log.error({ err: error }, 'the FIFO of the notices is gone, and cannot be made anew');
    }
  }

  async #readInto(run: ShimRun): Promise<void> {
    const { stateDirectory, run: number, nonce } = run.files;
    for (const line of await readStateFile(stateDirectory, number, nonce)) run.take(line);
  }

  /** SIGKILL to what is provably left of a run that has no shim any more; resolves when that is nothing. */
  async #killLeft({ nonce, cgroup }: Pick<RunFiles, 'nonce' | 'cgroup'>, started: ShimRun | null): Promise<void> {
    const { native, cgroups, log } = this.options;
    if (cgroup !== null) await cgroups?.kill(basename(cgroup));
    let saidAtMs = performance.now();
    for (;;) {
      const alive = await this.#scanner.find(nonce);
      if (started !== null) alive.push(...(await findSession(started.identity, alive, started.seenTicks)));
      if (alive.length === 0) return;
      for (const { pid, startTicks } of alive) native.signalProcess(pid, startTicks, this.#signals.SIGKILL);
      if (performance.now() - saidAtMs >= SAY_STILL_ALIVE_MS) {
        saidAtMs = performance.now();
        log.warn({ pids: alive.map(({ pid }) => pid) }, 'processes of a run without a shim do not end; waiting');
      }
      await sleep(POLL_MS);
    }
  }

  /** A shim of this data directory that no record speaks of: its state was deleted, or it has nothing to tell. */
  async #dismiss({ pid, startTicks, key, nonce }: FoundShim): Promise<void> {
    const { native, log } = this.options;
    const handle = native.watch(pid, startTicks);
    if (handle === null) return;
    log.warn({ pid, key }, 'stopping a run that no record speaks of');
    this.#signal(handle, 'SIGTERM', UNKNOWN_GRACE_MS);
    this.#signal(handle, 'SIGCONT');
    const killAtMs = performance.now() + UNKNOWN_GRACE_MS + KILL_BUDGET_MS;
    while ((await findAlive({ pid, startTicks })).length > 0) {
      // Its exit is of interest to nobody; it takes no notice before it has one.
      this.#signal(handle, 'SIGUSR2');
      if (performance.now() > killAtMs) native.signal(handle, this.#signals.SIGKILL);
      await sleep(POLL_MS);
    }
    await this.#killLeft({ nonce, cgroup: null }, null);
  }

  #signal(...[handle, signal, value]: Parameters<SignalShim>): void {
    if (handle === null) return;
    const grace = value === undefined ? undefined : Math.min(Math.max(0, value), LONGEST_GRACE_MS);
    if (this.#toSignal.length === 0) setImmediate(() => this.#sendSignals());
    this.#toSignal.push({ handle, signal: this.#signals[signal], value: grace });
  }

  #sendSignals(): void {
    const signals = this.#toSignal;
    this.#toSignal = [];
    this.options.native.signalAll(signals).then(
      (errnos) => {
        for (const [i, errno] of errnos.entries()) {
          if (errno !== 0) this.options.log.error({ ...signals[i], errno }, 'a shim cannot be signalled');
        }
      },
      (error) => this.options.log.error({ err: error }, 'the shims cannot be signalled'),
    );
  }
}

/** What a start failed of when its shim ended without a word. */
const NO_WORD = 'shim';

/** A zombie counts as ended: whether it is reaped is its parent's affair. */
async function findAlive({ pid, startTicks }: ProcessId): Promise<ProcessId[]> {
  const stat = await readProcessStat(pid);
  return stat !== null && stat.startTicks === startTicks && isAlive(stat) ? [{ pid, startTicks }] : [];
}

/**
 * Runs as direct children of the agent: each leads a session and a process group of its own and dies with the agent.
 *
 * While the main process is not reaped its pid is the group's and cannot be another's: the group is signalled as
 * one. Afterwards nothing is signalled by group; what is left is found by nonce, and each process is signalled by
 * pidfd with its start time verified.
 */
import type { Logger } from 'pino';
import type { Stop } from '../contract/workload';
import { findGroupMembers, isAlive, readProcessStat } from './groupMembers';
import { type Native, NativeError, type ProcessExit } from './native/index';
import { type FoundProcess, NonceScanner } from './nonceScanner';
import {
  type HostedRun,
  type HostSample,
  type Leftover,
  type MainExit,
  type ProcessHost,
  type RunIdentity,
  type RunPlan,
  StartFailure,
} from './processHost';
import { deferred, sleep, startTimer } from './timers';

const POLL_MS = 20;
/** SIGKILL is repeated this often while the main process has not been reaped. */
const KILL_AGAIN_MS = 100;
const SAY_STILL_ALIVE_MS = 5_000;

export class DirectChildHost implements ProcessHost {
  readonly #runs = new Map<number, DirectRun>();
  readonly #scanner: NonceScanner;
  readonly #signals: Signals;

  constructor(
    private readonly native: Native,
    private readonly log: Logger,
  ) {
    this.#scanner = new NonceScanner(native);
    this.#signals = new Signals(native);
    native.onExit((exits) => {
      for (const exit of exits) {
        this.#runs.get(exit.handle)?.takeExit(exit);
        this.#runs.delete(exit.handle);
      }
    });
  }

  async start(plan: RunPlan): Promise<HostedRun> {
    const { file, argv, cwd, stdoutPath, stderrPath } = plan;
    const env = Object.entries(plan.env).map(([name, value]) => `${name}=${value}`);
    try {
      const { handle, pid, startTicks } = await this.native.spawn({ file, argv, env, cwd, stdoutPath, stderrPath });
      const run = new DirectRun(handle, { pid, startTicks }, plan, {
        native: this.native,
        signals: this.#signals,
        scanner: this.#scanner,
        log: this.log,
      });
      this.#runs.set(handle, run);
      return run;
    } catch (error) {
      if (error instanceof NativeError) {
        throw new StartFailure(error.syscall, error.errno, error.code, { cause: error });
      }
      throw error;
    }
  }

  async killLeftovers(leftovers: Leftover[]): Promise<void> {
    if (leftovers.length === 0) return;
    const nonces = leftovers.map(({ nonce }) => nonce);
    const mains = leftovers.flatMap(({ identity }) => identity ?? []);
    let saidAtMs = performance.now();
    for (;;) {
      const alive: FoundProcess[] = [
        ...(await Promise.all(mains.map(findAlive))).flat(),
        ...(await this.native.findByNonce(nonces)),
      ];
      if (alive.length === 0) return;
      for (const found of alive) this.#signals.toProcess(found, 'SIGKILL');
      if (performance.now() - saidAtMs >= SAY_STILL_ALIVE_MS) {
        saidAtMs = performance.now();
        this.log.warn({ pids: alive.map(({ pid }) => pid) }, 'processes of an earlier agent do not end; waiting');
      }
      await sleep(POLL_MS);
    }
  }

  async sample(): Promise<HostSample> {
    const { processes, ...node } = await this.native.sample();
    const runs: HostSample['runs'] = new Map();
    for (const [handle, usage] of processes) {
      const run = this.#runs.get(handle);
      if (run !== undefined) runs.set(run.nonce, usage);
    }
    return { ...node, runs };
  }
}

/** Signals by name, to what has been verified to be ours. */
class Signals {
  readonly #numbers = new Map<string, number>();

  constructor(private readonly native: Native) {}

  toGroup(handle: number, signal: string): boolean {
    return this.native.signalGroup(handle, this.#numberOf(signal));
  }

  toProcess({ pid, startTicks }: FoundProcess, signal: string): boolean {
    return this.native.signalProcess(pid, startTicks, this.#numberOf(signal));
  }

  #numberOf(name: string): number {
    let number = this.#numbers.get(name);
    if (number === undefined) {
      const known = this.native.signalNumber(name);
      if (known === null) throw new Error(`no such signal: ${name}`);
      number = known;
      this.#numbers.set(name, number);
    }
    return number;
  }
}

interface Means {
  native: Native;
  signals: Signals;
  scanner: NonceScanner;
  log: Logger;
}

class DirectRun implements HostedRun {
  readonly nonce: string;
  readonly #exited = deferred<MainExit>();
  readonly #gone = deferred<void>();
  readonly exited = this.#exited.promise;
  readonly gone = this.#gone.promise;
  #mainEnded = false;
  /** Set by the first stop; `killAtMs` (performance.now) may come earlier by a later one. */
  #stopping: { signal: string; killAtMs: number } | null = null;
  #cancelKill = () => {};

  constructor(
    private readonly handle: number,
    readonly identity: RunIdentity,
    private readonly plan: RunPlan,
    private readonly means: Means,
  ) {
    this.nonce = plan.nonce;
  }

  stop({ signal, graceMs }: Stop): void {
    const killAtMs = performance.now() + graceMs;
    if (this.#stopping === null) {
      this.#stopping = { signal, killAtMs };
      if (!this.#mainEnded && graceMs > 0) {
        this.means.signals.toGroup(this.handle, signal);
        // A stopped process takes the signal only when it is continued.
        this.means.signals.toGroup(this.handle, 'SIGCONT');
      }
    } else if (killAtMs < this.#stopping.killAtMs) {
      this.#stopping.killAtMs = killAtMs;
    } else {
      return;
    }
    this.#cancelKill();
    if (!this.#mainEnded) this.#killMainAfter(graceMs);
  }

  #killMainAfter(delayMs: number): void {
    const kill = () => {
      if (this.#mainEnded) return;
      this.means.signals.toGroup(this.handle, 'SIGKILL');
      this.#cancelKill = startTimer(KILL_AGAIN_MS, kill);
    };
    if (delayMs <= 0) kill();
    else this.#cancelKill = startTimer(delayMs, kill);
  }

  takeExit({ code, signal, atMs }: ProcessExit): void {
    this.#mainEnded = true;
    this.#cancelKill();
    const treeLeft = this.means.native.groupExists(this.identity.pid);
    this.#exited.resolve({ code, signal, at: new Date(atMs).toISOString(), treeLeft });
    void this.#endTree();
  }

  /** Stops what the main process has left, and resolves `gone` when that is nothing. */
  async #endTree(): Promise<void> {
    const signalled = new Set<string>();
    for (;;) {
      const left = await this.#findLeft();
      if (left !== null) {
        if (left.length === 0) break;
        const { signal, graceMs } = this.plan.stop;
        this.#stopping ??= { signal, killAtMs: performance.now() + graceMs };
        for (const found of left) this.#signalLeft(found, this.#stopping, signalled);
      }
      await sleep(POLL_MS);
    }
    this.#gone.resolve();
  }

  #signalLeft(found: FoundProcess, stopping: { signal: string; killAtMs: number }, signalled: Set<string>): void {
    if (performance.now() >= stopping.killAtMs) {
      this.means.signals.toProcess(found, 'SIGKILL');
      return;
    }
    const key = `${found.pid}.${found.startTicks}`;
    if (signalled.has(key)) return;
    signalled.add(key);
    this.means.signals.toProcess(found, stopping.signal);
    this.means.signals.toProcess(found, 'SIGCONT');
  }

  /** Null: could not be found out now. */
  async #findLeft(): Promise<FoundProcess[] | null> {
    try {
      const found = await this.means.scanner.find(this.nonce);
      if (found.length > 0 || !this.means.native.groupExists(this.identity.pid)) return found;
      return await findGroupMembers(this.identity.pid, process.pid);
    } catch (error) {
      this.means.log.error({ err: error, pid: this.identity.pid }, 'cannot look for what a run has left; trying again');
      return null;
    }
  }
}

/** A zombie counts as ended: whether it is reaped is its parent's affair. */
async function findAlive({ pid, startTicks }: RunIdentity): Promise<RunIdentity[]> {
  const stat = await readProcessStat(pid);
  return stat !== null && stat.startTicks === startTicks && isAlive(stat) ? [{ pid, startTicks }] : [];
}

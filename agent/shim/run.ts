/**
 * One run and its shim, as the agent knows them: takes in what the shim says, by notice or by its state file, and
 * tells when the main process has ended and when the tree is gone. Made by host.ts, which routes to it.
 */

import { type HostedRun, type MainExit, type RunIdentity, StartFailure } from '../processHost';
import { type Deferred, deferred, startTimer } from '../timers';
import type { ShimLine } from './record';

export interface RunFiles {
  nonce: string;
  run: number;
  stateDirectory: string;
  cgroup: string | null;
  /** Of its plan. */
  graceMs: number;
}

const INSIST_AFTER_MS = 100;

/** Sends a signal to the shim, SIGTERM with a value where one is given; does nothing once it has ended. */
export type SignalShim = (signal: 'SIGTERM' | 'SIGCONT' | 'SIGUSR1' | 'SIGUSR2', value?: number) => void;

export class ShimRun implements HostedRun {
  readonly started: Promise<void>;
  readonly exited: Promise<MainExit>;
  readonly gone: Promise<void>;
  readonly left: Promise<void>;
  readonly #started: Deferred<void> = deferred();
  readonly #exited: Deferred<MainExit> = deferred();
  readonly #gone: Deferred<void> = deferred();
  readonly #left: Deferred<void> = deferred();
  /** When its main process was last seen alive, in clock ticks since the boot; null: never by this agent. */
  seenTicks: number | null = null;
  #identity: RunIdentity | null = null;
  #startedAt = '';
  #failed = false;
  #hasExited = false;
  #isGone = false;
  #insistAtMs = Number.POSITIVE_INFINITY;
  #cancelInsisting = () => {};

  constructor(
    readonly files: RunFiles,
    private readonly signal: SignalShim,
  ) {
    this.started = this.#started.promise;
    this.exited = this.#exited.promise;
    this.gone = this.#gone.promise;
    this.left = this.#left.promise;
    this.started.catch(() => {}); // an adopted run that failed to start has nobody who waits for it
  }

  get identity(): RunIdentity {
    if (this.#identity === null) throw new Error(`run ${this.files.nonce} has not started`);
    return this.#identity;
  }

  get startedAt(): string {
    return this.#startedAt;
  }

  /** Its start has come to something, good or bad. */
  get isSettled(): boolean {
    return this.#identity !== null || this.#failed;
  }

  get hasStarted(): boolean {
    return this.#identity !== null;
  }

  get hasExited(): boolean {
    return this.#hasExited;
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  stop(graceMs = this.files.graceMs): void {
    if (this.#isGone) return;
    this.signal('SIGTERM', graceMs);
    // One that was stopped itself takes it only when it is continued.
    this.signal('SIGCONT');
    this.#insistAfter(graceMs);
  }

  /** Of two signals that come close together the kernel drops one, with its grace: at the earliest end it is said again. */
  #insistAfter(graceMs: number): void {
    const atMs = performance.now() + graceMs;
    if (atMs >= this.#insistAtMs) return;
    this.#insistAtMs = atMs;
    this.#cancelInsisting();
    this.#cancelInsisting = startTimer(graceMs + INSIST_AFTER_MS, () => {
      this.#insistAtMs = Number.POSITIVE_INFINITY;
      this.stop(0);
    });
  }

  /** Has the shim tell once more what it told last. */
  ask(): void {
    this.signal('SIGUSR1');
  }

  acknowledge(): void {
    this.signal('SIGUSR2');
  }

  /** The same line may come twice. */
  take(line: ShimLine): void {
    switch (line.kind) {
      case 'shim':
        return;
      case 'started': {
        if (this.isSettled) return;
        const { pid, startTicks, shimPid, shimStartTicks, startedAtMs } = line;
        this.#identity = { pid, startTicks, shimPid, shimStartTicks };
        this.#startedAt = new Date(startedAtMs).toISOString();
        this.#started.resolve();
        return;
      }
      case 'failed':
        this.fail(new StartFailure(line.step, line.errno, line.errnoCode));
        return;
      case 'exited': {
        const { code, signal, exitedAtMs, oomKilled, durable, droppedBytes, fenced } = line;
        const at = new Date(exitedAtMs).toISOString();
        this.#exit({ code, signal, at, oomKilled, shimLost: false, fenced, recorded: durable, droppedBytes });
        return;
      }
      case 'gone':
        this.finish();
        return;
    }
  }

  fail(failure: StartFailure): void {
    if (this.isSettled) return;
    this.#failed = true;
    this.#started.reject(failure);
    this.finish();
  }

  /** Its shim was killed before it could tell of the end. */
  loseShim(nowMs: number): void {
    const at = new Date(nowMs).toISOString();
    this.#exit({
      code: null,
      signal: null,
      at,
      oomKilled: false,
      shimLost: true,
      fenced: false,
      recorded: true,
      droppedBytes: 0,
    });
  }

  /** Nothing of the tree is left. */
  finish(): void {
    this.#isGone = true;
    this.#cancelInsisting();
    this.#gone.resolve();
  }

  /** Its shim has ended, and so has all of its tree. */
  leave(): void {
    this.finish();
    this.#left.resolve();
  }

  #exit(exit: MainExit): void {
    if (this.#hasExited) return;
    this.#hasExited = true;
    this.#exited.resolve(exit);
  }
}

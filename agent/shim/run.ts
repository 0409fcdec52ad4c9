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

/** Sends a signal to the shim under a handle, SIGTERM with a value where one is given; does nothing once it has ended. */
export type SignalShim = (
  handle: number | null,
  signal: 'SIGTERM' | 'SIGCONT' | 'SIGUSR1' | 'SIGUSR2',
  value?: number,
) => void;

/** There are as many as instances, most of them idle: a promise is made when somebody asks for it. */
export class ShimRun implements HostedRun {
  /** What its shim is watched and signalled by; null: it is not, or not yet. */
  handle: number | null = null;
  /** When its main process was last seen alive, in clock ticks since the boot; null: never by this agent. */
  seenTicks: number | null = null;
  #identity: RunIdentity | null = null;
  #startedAt = '';
  #failure: StartFailure | null = null;
  #exit: MainExit | null = null;
  #isGone = false;
  #hasLeft = false;
  #starting: Deferred<void> | null = null;
  #tellExit: ((exit: MainExit) => void) | null = null;
  #going: Deferred<void> | null = null;
  #leaving: Deferred<void> | null = null;
  #insisting: { atMs: number; cancel(): void } | null = null;

  constructor(
    readonly files: RunFiles,
    private readonly signal: SignalShim,
  ) {}

  get started(): Promise<void> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (this.#identity !== null) return Promise.resolve();
    this.#starting ??= deferred();
    return this.#starting.promise;
  }

  get gone(): Promise<void> {
    if (this.#isGone) return Promise.resolve();
    this.#going ??= deferred();
    return this.#going.promise;
  }

  get left(): Promise<void> {
    if (this.#hasLeft) return Promise.resolve();
    this.#leaving ??= deferred();
    return this.#leaving.promise;
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
    return this.#identity !== null || this.#failure !== null;
  }

  get hasStarted(): boolean {
    return this.#identity !== null;
  }

  get hasExited(): boolean {
    return this.#exit !== null;
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  whenExited(tell: (exit: MainExit) => void): void {
    if (this.#exit === null) this.#tellExit = tell;
    else tell(this.#exit);
  }

  stop(graceMs = this.files.graceMs): void {
    if (this.#isGone) return;
    this.signal(this.handle, 'SIGTERM', graceMs);
    // One that was stopped itself takes it only when it is continued.
    this.signal(this.handle, 'SIGCONT');
    this.#insistAfter(graceMs);
  }

  /** Of two signals that come close together the kernel drops one, with its grace: at the earliest end it is said again. */
  #insistAfter(graceMs: number): void {
    const atMs = performance.now() + graceMs;
    if (this.#insisting !== null && atMs >= this.#insisting.atMs) return;
    this.#insisting?.cancel();
    const cancel = startTimer(graceMs + INSIST_AFTER_MS, () => {
      this.#insisting = null;
      this.stop(0);
    });
    this.#insisting = { atMs, cancel };
  }

  /** Has the shim tell once more what it told last. */
  ask(): void {
    this.signal(this.handle, 'SIGUSR1');
  }

  acknowledge(): void {
    this.signal(this.handle, 'SIGUSR2');
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
        this.#starting?.resolve();
        this.#starting = null;
        return;
      }
      case 'failed':
        this.fail(new StartFailure(line.step, line.errno, line.errnoCode));
        return;
      case 'exited': {
        const { code, signal, exitedAtMs, oomKilled, durable, droppedBytes, fenced } = line;
        const at = new Date(exitedAtMs).toISOString();
        this.#end({ code, signal, at, oomKilled, shimLost: false, fenced, recorded: durable, droppedBytes });
        return;
      }
      case 'gone':
        this.finish();
        return;
    }
  }

  fail(failure: StartFailure): void {
    if (this.isSettled) return;
    this.#failure = failure;
    this.#starting?.reject(failure);
    this.#starting = null;
    this.finish();
  }

  /** Its shim was killed before it could tell of the end. */
  loseShim(nowMs: number): void {
    const at = new Date(nowMs).toISOString();
    this.#end({
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
    this.#insisting?.cancel();
    this.#insisting = null;
    this.#going?.resolve();
  }

  /** Its shim has ended, and so has all of its tree. */
  leave(): void {
    this.finish();
    this.#hasLeft = true;
    this.#leaving?.resolve();
  }

  #end(exit: MainExit): void {
    if (this.#exit !== null) return;
    this.#exit = exit;
    this.#tellExit?.(exit);
    this.#tellExit = null;
  }
}

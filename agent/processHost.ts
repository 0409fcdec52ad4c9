/**
 * Where processes live, as the supervisor sees it: it starts a run, asks that its tree be stopped, and is told
 * when the main process has ended and when nothing of the tree is left. How that is done (direct children now)
 * is the implementation's: no handle, pidfd or signal to a process group is known outside it.
 */
import type { Exit, Stop } from '../contract/workload';

/** What is needed to find a run's processes again after the agent has died, and to know them for ours. */
export interface RunIdentity {
  pid: number;
  /** Field 22 of /proc/pid/stat. */
  startTicks: number;
}

export interface RunPlan {
  file: string;
  argv: string[];
  /** The whole environment, MORCH_NONCE included. */
  env: Record<string, string>;
  cwd: string;
  stdoutPath: string;
  stderrPath: string;
  /** Random, one per run. */
  nonce: string;
  /** How what is left of the tree is stopped when the main process has ended by itself. */
  stop: Stop;
}

export interface MainExit extends Exit {
  /** True when other processes of the run are known to live on; false when that is still being looked up. */
  treeLeft: boolean;
}

export interface HostedRun {
  readonly identity: RunIdentity;
  /** The main process has ended. Never rejects. */
  readonly exited: Promise<MainExit>;
  /** Nothing of the tree is left; comes after `exited`. Never rejects. */
  readonly gone: Promise<void>;
  /**
   * Stops the tree: the signal, SIGCONT after it, SIGKILL when the grace is over, repeated until nothing is left.
   * May be called again: the earliest end of the grace counts.
   */
  stop(stop: Stop): void;
}

/** A run that may have left processes behind when an earlier agent of this data directory died. */
export interface Leftover {
  nonce: string;
  identity: RunIdentity | null;
}

export interface HostSample {
  cpuTotalTicks: number;
  cpuIdleTicks: number;
  memoryTotalBytes: number;
  memoryAvailableBytes: number;
  loadAverage: [number, number, number];
  cpuCount: number;
  clockTicksPerSecond: number;
  /** By nonce. */
  runs: Map<string, { cpuTicks: number; rssBytes: number }>;
}

/** Why a program could not be started: the kernel's word. */
export class StartFailure extends Error {
  constructor(
    readonly syscall: string,
    readonly errno: number,
    readonly errnoCode: string,
    options?: ErrorOptions,
  ) {
    super(`${syscall}: ${errnoCode}`, options);
    this.name = 'StartFailure';
  }
}

export interface ProcessHost {
  /** @throws StartFailure when it was not executed; then nothing of it is left */
  start(plan: RunPlan): Promise<HostedRun>;
  /** SIGKILL to all that is provably left of these runs; resolves when nothing is. Of runs of this boot only. */
  killLeftovers(leftovers: Leftover[]): Promise<void>;
  sample(): Promise<HostSample>;
}

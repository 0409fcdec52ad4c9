/**
 * Where processes live, as the supervisor sees it: it starts a run, asks that its tree be stopped, and is told
 * when the main process has ended and when nothing of the tree is left. How that is done (a shim per run) is the
 * implementation's: no handle, pidfd or record of a shim is known outside it.
 */
import type { Exit, Stop } from '../contract/workload';
import type { RunSample } from './native/index';

/** What is needed to find a run's processes again after the agent has died, and to know them for ours. */
export interface RunIdentity {
  /** The main process. */
  pid: number;
  /** Field 22 of /proc/pid/stat. */
  startTicks: number;
  shimPid: number;
  shimStartTicks: number;
}

/** How long a run may live without word from its agent or scheduler. */
export type Fence =
  | { kind: 'keep' }
  /** Dead when the lease on the lease page ends, or is another one than that of this term. */
  | { kind: 'stop'; leaseTerm: number }
  /** Stopped when the agent has been absent so long; 0: never. */
  | { kind: 'replace'; orphanAfterMs: number };

export interface ProcessUser {
  uid: number;
  gid: number;
  groups: number[];
}

export interface Rlimit {
  resource: 'core' | 'fileSize' | 'openFiles';
  /** Soft and hard alike. */
  value: number;
}

export interface LogPlan {
  directory: string;
  /** Number of the file to go on with. */
  firstStdout: number;
  firstStderr: number;
  /** Of one file with its index. */
  maxBytes: number;
  /** Kept per stream. */
  files: number;
}

export interface RunPlan {
  /** `<uid>.<slot>.<generation>.<run>`. */
  key: string;
  generation: number;
  run: number;
  file: string;
  argv: string[];
  /** The whole environment, MORCH_NONCE included. */
  env: Record<string, string>;
  cwd: string;
  /** The directory is entered before the change of user, who may not be able to reach it by its path. */
  privateCwd: boolean;
  /** The generation's directory, for the records of the run. */
  stateDirectory: string;
  /** Random, one per run. */
  nonce: string;
  /** How what is left of the tree is stopped when the main process has ended by itself, and the default of a stop. */
  stop: Stop;
  logs: LogPlan;
  fence: Fence;
  /** Of CLOCK_BOOTTIME: it is not started later, but fails with FENCED_START; null: whenever. */
  startUntilMs: number | null;
  /** So long its exit may wait to be acknowledged before the shim records it itself; 0: it does at once. */
  handOverMs: number;
  /** Null: the agent's own. */
  user: ProcessUser | null;
  rlimits: Rlimit[];
  umask: number;
  /** -20 to 19. */
  nice: number;
  noNewPrivileges: boolean;
  /** A file that is neither a binary nor has a `#!` line is run by /bin/sh. */
  shell: boolean;
  /** Directory of the run's cgroup; null: none. */
  cgroup: string | null;
}

export interface MainExit extends Exit {
  /** The main process ended unseen because its shim was killed; then code and signal are null. */
  shimLost: boolean;
  /** Its shim stopped it because the agent was absent. */
  fenced: boolean;
  /** The shim's own record of it is on the disk. Until then the shim stays, unless it is acknowledged. */
  recorded: boolean;
  /** Bytes of output that could not be written. */
  droppedBytes: number;
}

export interface HostedRun {
  readonly identity: RunIdentity;
  readonly startedAt: string;
  /** @param tell called once, when the main process has ended, or now if it has; of one caller */
  whenExited(tell: (exit: MainExit) => void): void;
  /** Nothing of the tree is left; comes after the exit. Never rejects. */
  readonly gone: Promise<void>;
  readonly isGone: boolean;
  /** Its shim has ended as well; comes after `gone`. Never rejects. */
  readonly left: Promise<void>;
  /**
   * Stops the tree: the signal, SIGCONT after it, SIGKILL when the grace is over, repeated until nothing is left.
   * May be called again: the earliest end of the grace counts.
   *
   * @param graceMs default: as planned
   */
  stop(graceMs?: number): void;
  /** The exit is stored elsewhere: a shim that has not recorded it need not keep it any longer. */
  acknowledge(): void;
}

/** A run that may have been left by an earlier agent of this data directory, in this boot. */
export interface Leftover {
  key: string;
  run: number;
  nonce: string;
  stateDirectory: string;
  cgroup: string | null;
  graceMs: number;
}

/** What has become of it. */
export type Adoption =
  /** Its shim lives; the main process may have ended. */
  | { kind: 'hosted'; run: HostedRun }
  /** It ended, and nothing of its tree is left. */
  | { kind: 'ended'; identity: RunIdentity; startedAt: string; exit: MainExit }
  | { kind: 'startFailed'; failure: StartFailure }
  /** It was never started, or nothing tells what became of it; nothing of it is left. */
  | { kind: 'unknown' };

export interface HostSample {
  cpuTotalTicks: number;
  cpuIdleTicks: number;
  memoryTotalBytes: number;
  memoryAvailableBytes: number;
  loadAverage: [number, number, number];
  cpuCount: number;
  clockTicksPerSecond: number;
  /** By nonce; of those that have been looked at this time. The others have done nothing since they were. */
  runs: Map<string, RunSample>;
  /** Whether runs have ended since the sample before, which `hosts` tells. */
  someEnded: boolean;
}

/** The `syscall` of a start that came too late: its time was over, or its fence would have stopped it at once. */
export const FENCED_START = 'fence';

/** Step of a StartFailure: what it is to be given is no longer there. */
export const SECRETS_GONE = 'secrets';

/** Why a program could not be started: the kernel's word. */
export class StartFailure extends Error {
  /** What of the spec it is about, where the step does not tell. */
  readonly subject: string | undefined;

  constructor(
    readonly syscall: string,
    readonly errno: number,
    readonly errnoCode: string,
    { subject, ...options }: ErrorOptions & { subject?: string | undefined } = {},
  ) {
    super(`${syscall}: ${errnoCode}`, options);
    this.name = 'StartFailure';
    this.subject = subject;
  }
}

export interface ProcessHost {
  /** @throws StartFailure when it was not executed; then nothing of it is left */
  start(plan: RunPlan): Promise<HostedRun>;
  /**
   * Takes over what an earlier agent left. Shims of this data directory that belong to none of `leftovers` are
   * stopped. Resolves when every leftover is either hosted or gone.
   */
  adopt(leftovers: Leftover[]): Promise<Adoption[]>;
  sample(): Promise<HostSample>;
  /** Whether a run of that nonce is under watch. */
  hosts(nonce: string): boolean;
}

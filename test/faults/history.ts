/**
 * What is known of one run of a scenario, as plain data: what the workloads wrote of themselves, what was acknowledged to
 * the client, what was done to whom. checker.ts judges by this alone. All times are CLOCK_BOOTTIME, in ms.
 */

/** One process of a workload, by its own testimony (test/fixtures/witness.c). */
export interface Trace {
  /** Names the submission it is of, so that a reused id is not taken for the same workload. */
  tag: string;
  instance: string;
  generation: number;
  run: number;
  node: string;
  pid: number;
  role: 'main' | 'child';
  startMs: number;
  /** Its last sign of life: it has lived until then, and for at most `Submission.everyMs` longer if nothing held it up. */
  aliveMs: number;
  toldMs: number | null;
  exit: { atMs: number; code: number } | null;
}

/** What is to come of the instances of a submission. */
export type Expectation =
  /** Each has a process at the end. */
  | 'lives'
  /** Each ends once with code 0, or is still at it. */
  | 'completes'
  /** Nothing in particular: it fails again and again, or nobody can run it. */
  | 'anything';

/** An acknowledged submission, with its latest acknowledged number of replicas. */
export interface Submission {
  tag: string;
  workload: string;
  kind: 'service' | 'batch' | 'daemon';
  onDisconnect: 'replace' | 'stop' | 'keep';
  expectation: Expectation;
  /** Ids of the instances that are to be. */
  instances: string[];
  graceMs: number;
  /** How often its processes give a sign of life. */
  everyMs: number;
  acknowledgedMs: number;
}

export interface Stop {
  tag: string;
  acknowledgedMs: number;
  /** When the client was told that it is stopped; null: never. */
  confirmedMs: number | null;
}

export interface Fault {
  what: string;
  /** Null: it befell the scheduler. */
  node: string | null;
  fromMs: number;
  /** When it was over, an agent being ready again; null: never. */
  toMs: number | null;
  /** A verdict on the node is right while it lasts. */
  failed: boolean;
  /** Nobody could miss it: there has to be a verdict in time if it lasts. */
  plain: boolean;
  /** Node and scheduler are apart, or its agent is not there: nobody can stop copies of what is replaced. */
  apart: boolean;
}

/** What the scheduler said of a node. */
export interface Verdict {
  node: string;
  atMs: number;
  /** `returned` takes a verdict back. */
  what: 'lost' | 'returned';
}

export interface History {
  /** The beginning, from which times are told. */
  originMs: number;
  traces: readonly Trace[];
  submissions: readonly Submission[];
  stops: readonly Stop[];
  faults: readonly Fault[];
  verdicts: readonly Verdict[];
  /** When the scheduler has noted that it got no time itself. */
  stallsMs: readonly number[];
  /** When everything had come to rest: whoever is to live has given a sign of life since. Null: the history goes on. */
  endMs: number | null;
}

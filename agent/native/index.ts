/**
 * The only loader of the C++ addon: starts shims, takes those of an earlier agent under watch, reports their ends,
 * signals and samples them; and the few kernel calls of the agent that Node lacks. Used by the agent. Nothing here
 * blocks the event loop. Over 400 lines: the addon has one face, and most of it are types and what they mean.
 */
import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join, sep } from 'node:path';

import { NativeError, toNativeError } from './nativeError';
import { signalName, signalNumber } from './signals';

export { NativeError } from './nativeError';

/** No string may hold a NUL byte; `spawn` rejects with EINVAL and says which one does. */
export interface SpawnPlan {
  /** Absolute path. */
  file: string;
  /** argv[0] included. */
  argv: string[];
  cwd: string;
  /** What the program reads from descriptor 3, a file of its own positioned at 0. Copied by the call. */
  input: Uint8Array;
}

export interface Spawned {
  /** Names this process in this one; never reused. */
  handle: number;
  pid: number;
  /** Field 22 of /proc/pid/stat: with the pid, the identity of a process until the next boot. */
  startTicks: number;
}

/** Code and signal are both null when the process was no child of ours, or something else waited for it. */
export interface ProcessExit {
  handle: number;
  pid: number;
  /** Null also when killed by a signal. */
  code: number | null;
  /** 'SIGSEGV'; null also when it exited. */
  signal: string | null;
  /** Wall clock when its end was noticed. */
  atMs: number;
}

export interface RunSample {
  cpuTicks: number;
  rssBytes: number;
  lookedAtTicks: number;
}

export interface NodeSample {
  /** Since boot, all CPUs. */
  cpuTotalTicks: number;
  /** Idle and waiting for I/O. */
  cpuIdleTicks: number;
  memoryTotalBytes: number;
  memoryAvailableBytes: number;
  loadAverage: [number, number, number];
  cpuCount: number;
  clockTicksPerSecond: number;
  /**
   * Per living process under a handle, summed over its descendants; its own use is left out, as it is the shim's.
   * `cpuTicks` includes descendants that have ended, and never falls. Pages shared between processes count once for
   * each. Those that do nothing are looked at less and less often: `lookedAtTicks` is what `cpuTotalTicks` was then.
   */
  processes: Map<number, RunSample>;
}

export interface FoundProcess {
  pid: number;
  startTicks: number;
  nonce: string;
}

export interface FoundShim {
  pid: number;
  startTicks: number;
  /** `<uid>.<slot>.<generation>.<run>`. */
  key: string;
  nonce: string;
}

/** A user of this machine, as its name service knows it. */
export interface SystemUser {
  /** The number, as text, for a uid without entry. */
  name: string;
  uid: number;
  gid: number;
  /** Supplementary, `gid` included; empty for a uid without entry. */
  groups: number[];
  home: string;
}

/** What the lease page says of the lease in force. */
export interface LeaseSaid {
  /** On the clock of `bootTimeMs`; 0: none is in force. */
  endsAtMs: number;
  /** Counts the leases: another number is another lease, with a gap before it. */
  term: number;
}

/** The page by which shims see that their agent lives; layout in docs/shim.md. */
export interface LeasePage {
  /**
   * Says "alive now". Each number is stored whole, the time of the refresh last.
   *
   * @throws NativeError EBADF after `close`, EINVAL for what is no whole number from 0
   */
  refresh(lease: LeaseSaid, hasScheduler: boolean): void;
  /** What the last agent has said. */
  read(): LeaseSaid;
  /** Leaves the file and what it says. Idempotent. */
  close(): void;
}

/** See `Native.signal`. */
export interface HandleSignal {
  handle: number;
  signal: number;
  value?: number | undefined;
}

/** No path may hold a NUL byte. */
export interface PathChange {
  what: keyof typeof CHANGE_LETTERS;
  path: string;
  /** The new name, where there is one. */
  to?: string;
}

/** Layout: path_work.h. */
const CHANGE_LETTERS = {
  makeDirectory: 'm',
  makeGroup: 'g',
  unlink: 'u',
  removeDirectory: 'r',
  moveDirectory: 'v',
  setAside: 's',
} as const;

/** Failures of system calls are thrown, or rejected with, as NativeError. */
export interface Native {
  /**
   * Starts a program in a session of its own, with an empty environment, /dev/null as descriptors 0 to 2, the input as 3
   * and nothing else open, umask 022, default signal dispositions and an empty signal mask. Until the program clears
   * its parent-death signal, SIGKILL, it dies with this process; from then on it may outlive it. Resolves once the program runs.
   *
   * @throws NativeError of the failing call (chdir, memfd_create, execve, clone3, …); then nothing is left of it
   */
  spawn(plan: SpawnPlan): Promise<Spawned>;
  /**
   * Takes any process of this machine under watch; its end comes to the listener like that of a child, with code
   * and signal only where it has become our child. One that is under a handle of this environment already keeps it.
   *
   * @returns its handle; null when it is gone or the pid is another process's
   */
  watch(pid: number, startTicks: number): number | null;
  /**
   * One listener; batches exits; a new one replaces the old, null removes it, and exits that come without a listener
   * are dropped. Called only after the `spawn` promises of these processes have resolved and what awaited
   * them has run. The event loop stays alive while a listener is set and a process lives under a handle, and while a
   * promise given out here is pending.
   */
  onExit(listener: ((exits: ProcessExit[]) => void) | null): void;
  /**
   * Signals one process under a handle; signal 0 only asks.
   *
   * @param value  32-bit: sent with the signal as `si_value`, `si_code` being SI_QUEUE
   * @returns false once it has ended
   */
  signal(handle: number, signal: number, value?: number): boolean;
  /**
   * Signals many processes under handles, in this order, off the event loop: those that are woken want the CPU. What
   * has ended is passed over.
   *
   * @returns for each 0 or its errno
   */
  signalAll(signals: readonly HandleSignal[]): Promise<Float64Array>;
  /**
   * Signals any process of this machine by pid and start time, through a pidfd; signal 0 only asks.
   * @returns false when it is gone or the pid is another process's; true for a zombie
   */
  signalProcess(pid: number, startTicks: number, signal: number): boolean;
  /** Every live process whose environment, as it was at exec, holds `MORCH_NONCE=<one of nonces>`; never a shim. */
  findByNonce(nonces: string[]): Promise<FoundProcess[]>;
  /** Every live shim of this user whose agent's data directory is `dataDir` (absolute, symbolic links resolved). */
  findShims(dataDir: string): Promise<FoundShim[]>;
  /**
   * Measures the node and all processes under a handle of this environment in one go.
   *
   * @param which whether those are told of, too, that were not looked at this time; default: all
   */
  sample(which?: 'all' | 'lookedAtNow'): Promise<NodeSample>;
  /** Gives the kernel what the C allocator keeps of memory that is not in use, some time later, off the event loop. */
  giveBackMemory(): void;
  /** @returns null when there is no such process */
  startTicksOf(pid: number): number | null;
  /**
   * Locks a file, made if it is missing, until this process ends (flock).
   * @returns false when another process holds it, or an earlier call of this one
   */
  lockFile(path: string): boolean;
  /**
   * Opens a FIFO, made with mode 0600 if it is missing, for reading without blocking, as its writer too: it never
   * shows end of file. Room for 1 MiB where the system allows so much.
   *
   * @returns the descriptor, the caller's to close
   * @throws NativeError EEXIST when something else is there
   */
  openFifo(path: string): number;
  /** Maps the file, made with mode 0600 if it is missing; one that is there keeps what it says until `refresh`. */
  openLease(path: string): LeasePage;
  /** Milliseconds of CLOCK_BOOTTIME: since boot, suspension included; the clock of the lease page. */
  bootTimeMs(): number;
  /**
   * By name, or by number if there is no such name.
   * @returns null for an unknown name
   */
  lookUpUser(name: string): Promise<SystemUser | null>;
  /**
   * Makes directories (mode 0700, groups 0755), unlinks files, removes empty directories, in this order, off the event loop.
   *
   * @returns for each 0 or its errno
   */
  changePaths(changes: readonly PathChange[]): Promise<Float64Array>;
  /** lstat(2) of each, off the event loop: 0 or its errno, its size, the time of its last change in ms. */
  lookAtPaths(paths: readonly string[]): Promise<Float64Array>;
  /** Processes under a handle of this environment. */
  liveCount(): number;
  /** @returns 15 for 'SIGTERM'; null for a name that is no signal */
  signalNumber(name: string): number | null;
}

/** What binding.cc exports. Numbers travel in typed arrays: an object property costs ten times as much. */
interface Binding {
  spawn(packed: string, input: Uint8Array): Promise<Float64Array>;
  watch(pid: number, startTicks: number): number | null;
  onExit(listener: ((exits: Float64Array) => void) | null): void;
  signal(handle: number, signal: number, value?: number): boolean;
  signalAll(flat: Float64Array): Promise<Float64Array>;
  signalProcess(pid: number, startTicks: number, signal: number): boolean;
  findByNonce(nonces: string[]): Promise<FoundProcess[]>;
  findShims(dataDir: string): Promise<FoundShim[]>;
  sample(lookedAtNow: boolean): Promise<Float64Array>;
  giveBackMemory(): void;
  startTicksOf(pid: number): number | null;
  lockFile(path: string): boolean;
  openFifo(path: string): number;
  /** `refresh` is false after `close`. */
  openLease(path: string): {
    refresh(endsAtMs: number, term: number, hasScheduler: boolean): boolean;
    read(): [endsAtMs: number, term: number];
    close(): void;
  };
  bootTimeMs(): number;
  lookUpUser(name: string): Promise<SystemUser | null>;
  changePaths(packed: string): Promise<Float64Array>;
  lookAtPaths(packed: string): Promise<Float64Array>;
  liveCount(): number;
}

const ADDON_PATH = 'agent/native/build/Release/morch_native.node';
const SHIM_PATH = 'agent/native/build/Release/morch-shim';
const PACKAGE_NAME = 'micro-orchestrator';

let loaded: Native | undefined;

/**
 * Loads the addon and starts its threads; the same object on every call. Makes this process a child subreaper: what
 * killed shims leave behind is adopted and reaped.
 *
 * @throws Error that says what to do when the addon is missing or this is not Linux
 */
export function loadNative(): Native {
  loaded ??= wrap(loadBinding());
  return loaded;
}

function loadBinding(): Binding {
  if (process.platform !== 'linux') {
    throw new Error(`agents need Linux, this is ${process.platform}; the CLI and the scheduler run here`);
  }
  const path = join(findPackageRoot(__dirname), ADDON_PATH);
  if (!existsSync(path)) {
    throw new Error(`the native addon is missing (${path}); build it with \`${buildCommand(path)}\``);
  }
  try {
    return require(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the native addon does not load: ${reason}; rebuild it with \`${buildCommand(path)}\``, { cause });
  }
}

/** In a checkout, or where npm has installed the package (and may have left its install script out). */
function buildCommand(addonPath: string): string {
  return addonPath.split(sep).includes('node_modules') ? `npm rebuild ${PACKAGE_NAME}` : 'npm run build:native';
}

/** Where the shim is built, beside the addon. */
export function shimPath(): string {
  return join(findPackageRoot(__dirname), SHIM_PATH);
}

/** This file runs from agent/native and from dist/agent/native; the addon lies beside the sources in both cases. */
function findPackageRoot(start: string): string {
  for (let directory = start; ; directory = dirname(directory)) {
    const manifest = join(directory, 'package.json');
    if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name === PACKAGE_NAME) return directory;
    if (directory === dirname(directory)) {
      throw new Error(`no package.json of ${PACKAGE_NAME} in ${start} or above it; is the installation complete?`);
    }
  }
}

function wrap(binding: Binding): Native {
  return {
    async spawn(plan) {
      const packed = pack(plan);
      const [handle, pid, startTicks] = (await settle(binding.spawn(packed, plan.input))) as unknown as Triple;
      return { handle, pid, startTicks };
    },
    watch: (pid, startTicks) => attempt(() => binding.watch(pid, startTicks)),
    onExit: (listener) => binding.onExit(listener === null ? null : (flat) => listener(unpackExits(flat))),
    signal: (handle, signal, value) =>
      attempt(() => binding.signal(handle, checkSignal(signal), value === undefined ? value : checkValue(value))),
    signalAll: (signals) => binding.signalAll(packSignals(signals)),
    signalProcess: (pid, startTicks, signal) =>
      attempt(() => binding.signalProcess(pid, startTicks, checkSignal(signal))),
    findByNonce: (nonces) => settle(binding.findByNonce(nonces)),
    findShims: (dataDir) => settle(binding.findShims(dataDir)),
    sample: async (which = 'all') => unpackSample(await settle(binding.sample(which === 'lookedAtNow'))),
    giveBackMemory: () => binding.giveBackMemory(),
    startTicksOf: (pid) => binding.startTicksOf(pid),
    lockFile: (path) => attempt(() => binding.lockFile(path)),
    openFifo: (path) => attempt(() => binding.openFifo(path)),
    openLease: (path) => attempt(() => wrapLease(path, binding.openLease(path))),
    bootTimeMs: () => binding.bootTimeMs(),
    lookUpUser: (name) => settle(binding.lookUpUser(name)),
    changePaths: (changes) => binding.changePaths(packChanges(changes)),
    lookAtPaths: (paths) => binding.lookAtPaths(packPaths(paths)),
    liveCount: () => binding.liveCount(),
    signalNumber,
  };
}

function wrapLease(path: string, lease: ReturnType<Binding['openLease']>): LeasePage {
  return {
    refresh({ endsAtMs, term }, hasScheduler) {
      if (![endsAtMs, term].every((number) => Number.isSafeInteger(number) && number >= 0)) {
        throw new NativeError('refresh', constants.errno.EINVAL, `lease end ${endsAtMs}, term ${term}`);
      }
      if (!lease.refresh(endsAtMs, term, hasScheduler)) {
        throw new NativeError('refresh', constants.errno.EBADF, path);
      }
    },
    read() {
      const [endsAtMs, term] = lease.read();
      return { endsAtMs, term };
    },
    close: () => lease.close(),
  };
}

type Triple = [number, number, number];

async function settle<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (cause) {
    throw toNativeError(cause);
  }
}

function attempt<T>(call: () => T): T {
  try {
    return call();
  } catch (cause) {
    throw toNativeError(cause);
  }
}

/** A signal that is no number would arrive in the kernel as 0, which only asks whether the process exists. */
function checkSignal(signal: number): number {
  if (!Number.isInteger(signal)) throw new NativeError('kill', constants.errno.EINVAL, `signal ${signal}`);
  return signal;
}

function packSignals(signals: readonly HandleSignal[]): Float64Array {
  const flat = new Float64Array(signals.length * 3);
  for (const [index, { handle, signal, value }] of signals.entries()) {
    flat.set([handle, checkSignal(signal), value === undefined ? Number.NaN : checkValue(value)], index * 3);
  }
  return flat;
}

/** As `int si_value.sival_int` can carry it; the addon would cut it off in silence. */
function checkValue(value: number): number {
  if ((value | 0) !== value) throw new NativeError('sigqueue', constants.errno.EINVAL, `value ${value}`);
  return value;
}

/** One string instead of an array: reading each element in C++ would cost more than the clone. */
function pack(plan: SpawnPlan): string {
  const { file, cwd, argv } = plan;
  rejectNul([file, cwd], (index) => ['file', 'cwd'][index]!);
  rejectNul(argv, (index) => `argv[${index}]`);
  if (argv.length === 0) throw invalid('argv is empty; its first entry is the name the program is given');
  return [file, cwd, ...argv].join('\0');
}

function packChanges(changes: readonly PathChange[]): string {
  return packPaths(
    changes.flatMap(({ what, path, to }) => [CHANGE_LETTERS[what] + path, ...(to === undefined ? [] : [to])]),
  );
}

function packPaths(paths: readonly string[]): string {
  rejectNul(paths, (index) => `path ${index}`);
  return paths.map((path) => `${path}\0`).join('');
}

function rejectNul(strings: readonly string[], nameOf: (index: number) => string): void {
  const index = strings.findIndex((string) => string.includes('\0'));
  if (index !== -1) throw invalid(`${nameOf(index)} holds a NUL byte, which ends a string in the kernel`);
}

function invalid(what: string): NativeError {
  return new NativeError('spawn', constants.errno.EINVAL, what);
}

/** Layout: Addon::deliver in binding.cc. */
const EXIT_FIELDS = 5;

function unpackExits(flat: Float64Array): ProcessExit[] {
  const exits: ProcessExit[] = [];
  for (let at = 0; at < flat.length; at += EXIT_FIELDS) {
    const code = flat[at + 2]!;
    const signal = flat[at + 3]!;
    exits.push({
      handle: flat[at]!,
      pid: flat[at + 1]!,
      code: code < 0 ? null : code,
      signal: signal === 0 ? null : signalName(signal),
      atMs: flat[at + 4]!,
    });
  }
  return exits;
}

/** Layout of Sampler::sample: NODE_FIELDS numbers, then PROCESS_FIELDS per process. */
const NODE_FIELDS = 9;
const PROCESS_FIELDS = 4;

function unpackSample(flat: Float64Array): NodeSample {
  const processes: NodeSample['processes'] = new Map();
  for (let at = NODE_FIELDS; at < flat.length; at += PROCESS_FIELDS) {
    processes.set(flat[at]!, { cpuTicks: flat[at + 1]!, rssBytes: flat[at + 2]!, lookedAtTicks: flat[at + 3]! });
  }
  return {
    cpuTotalTicks: flat[0]!,
    cpuIdleTicks: flat[1]!,
    memoryTotalBytes: flat[2]!,
    memoryAvailableBytes: flat[3]!,
    loadAverage: [flat[4]!, flat[5]!, flat[6]!],
    cpuCount: flat[7]!,
    clockTicksPerSecond: flat[8]!,
    processes,
  };
}

/**
 * Starts real shims for one test file, the way an agent does but without one: no addon, no subreaper. Removes what
 * they leave, and checks that no process of theirs is left.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { RunPlan } from '../../agent/processHost';
import { encodePlan } from '../../agent/shim/plan';
import { parseShimText, type ShimLine } from '../../agent/shim/record';
import { until } from '../support/until';

const BUILT = join(__dirname, '../../agent/native/build/Release/morch-shim');
/** `MORCH_TEST_SHIM`: another binary, built for this or another machine, with the emulator before it where needed. */
export const SHIM_COMMAND = (process.env.MORCH_TEST_SHIM ?? BUILT).split(' ');
export const isEmulated = SHIM_COMMAND.length > 1;
export const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export const isRoot = process.getuid?.() === 0;

/** For what takes a real kernel, and not qemu-user with descriptors, arguments and a signal mask of its own. */
export const testUnemulated = isEmulated ? test.skip : test;

/** `test` where this is root; else skipped, with the reason in its name. */
export function testAsRoot(name: string, run: () => Promise<void>, timeoutMs?: number): void {
  if (isRoot) test(name, run, timeoutMs);
  else test.skip(`${name} (skipped: needs root)`, run);
}

type Line<Kind extends ShimLine['kind']> = Extract<ShimLine, { kind: Kind }>;

export interface Shim {
  readonly process: ChildProcess;
  readonly pid: number;
  readonly plan: RunPlan;
  readonly nonce: string;
  /** The directory of this run alone. */
  readonly directory: string;
  /** Resolves with the shim's own exit code, or signal. */
  readonly ended: Promise<number | NodeJS.Signals>;
  /** Lines of the state file, whichever name it has. */
  record(): ShimLine[];
  /** Notices that have come. */
  notices(): ShimLine[];
  /** Waits for a line in the state file. */
  recorded<Kind extends ShimLine['kind']>(kind: Kind, timeoutMs?: number): Promise<Line<Kind>>;
  /** Waits for a notice. */
  noticed<Kind extends ShimLine['kind']>(kind: Kind, timeoutMs?: number): Promise<Line<Kind>>;
  /** What the workload has written so far, over all files kept. */
  output(stream?: 'stdout' | 'stderr'): Buffer;
  /** sigqueue(3) of SIGTERM with a value where `graceMs` is given. */
  stop(graceMs?: number): void;
}

export interface Started extends Shim {
  /** Of the main process. */
  readonly main: number;
}

export interface ShimOptions {
  plan?: Partial<RunPlan>;
  /** The bytes to give in place of an encoded plan. */
  bytes?: Buffer;
  notices?: string;
  lease?: string;
}

export interface Shims {
  /** Removed at the end. */
  readonly directory: string;
  /** The FIFO that is read for notices. */
  readonly fifo: string;
  planOf(argv: string[], directory: string): RunPlan;
  launch(argv: string[], options?: ShimOptions): Shim;
  /** ... and waits until the workload is started. */
  start(argv: string[], options?: ShimOptions): Promise<Started>;
  /** Runs a command line under /bin/sh. */
  sh(commands: string, options?: ShimOptions): Promise<Started>;
}

/** Call at the top of a test file. */
export function useShims(): Shims {
  const directory = mkdtempSync(join(tmpdir(), 'morch-shim-'));
  chmodSync(directory, 0o755); // other users' workloads enter it
  const fifo = join(directory, 'notices');
  const launched: Shim[] = [];
  const noticed: ShimLine[] = [];
  let reader: Socket | undefined;

  spawnSync('mkfifo', [fifo]);
  beforeAll(() => {
    const binary = SHIM_COMMAND.at(-1)!;
    if (!existsSync(binary)) throw new Error(`${binary} is missing; build it with \`npm run build:native\``);
    reader = readNotices(fifo, (line) => noticed.push(line));
  });

  afterAll(async () => {
    reader?.destroy();
    for (const shim of launched) if (shim.process.exitCode === null) shim.process.kill('SIGKILL');
    await until(() => launched.every(({ process }) => process.exitCode !== null || process.signalCode !== null), {
      what: 'every shim has ended',
    });
    // What a killed shim leaves of its tree is for the agent to find; here it is killed by the same mark.
    const mark = `MORCH_TEST_DIRECTORY=${directory}/`;
    for (const pid of processesWith(mark)) killQuietly(pid);
    await until(() => processesWith(mark).length === 0, { what: 'no workload is left' });
    rmSync(directory, { recursive: true });
  });

  const launch = (argv: string[], options: ShimOptions = {}): Shim => {
    const runDirectory = join(directory, String(launched.length));
    mkdirSync(runDirectory);
    const plan = planOf(argv, runDirectory, options.plan);
    const where = { notices: options.notices ?? fifo, lease: options.lease ?? join(directory, 'lease') };
    const child = spawnShim(options.bytes ?? encodePlan(plan, where), directory, plan);
    const shim = observe(child, plan, runDirectory, noticed);
    launched.push(shim);
    return shim;
  };
  const start = async (argv: string[], options: ShimOptions = {}): Promise<Started> => {
    const shim = launch(argv, options);
    const { pid } = await shim.recorded('started');
    return Object.assign(shim, { main: pid });
  };
  return {
    directory,
    fifo,
    planOf,
    launch,
    start,
    sh: (commands, options) => start(['/bin/sh', '-c', commands], options),
  };
}

function planOf(argv: string[], directory: string, changes: Partial<RunPlan> = {}): RunPlan {
  const nonce = randomUUID();
  return {
    key: 'uid.0.1.1',
    generation: 1,
    run: 1,
    file: argv[0]!,
    argv,
    env: { PATH, MORCH_NONCE: nonce, MORCH_TEST_DIRECTORY: directory },
    cwd: '/',
    privateCwd: false,
    stateDirectory: directory,
    nonce,
    stop: { signal: 'SIGTERM', graceMs: 5_000 },
    logs: { directory, firstStdout: 1, firstStderr: 1, maxBytes: 10 << 20, files: 10 },
    fence: { kind: 'keep' },
    startUntilMs: null,
    handOverMs: 0,
    user: null,
    rlimits: [],
    umask: 0o022,
    nice: 0,
    noNewPrivileges: true,
    shell: true,
    cgroup: null,
    ...changes,
  };
}

/** Descriptor 3 is the plan, 0 to 2 are /dev/null; an unlinked file stands in for the memfd. */
function spawnShim(bytes: Buffer, directory: string, plan: RunPlan): ChildProcess {
  const path = join(directory, `plan-${plan.nonce}`);
  writeFileSync(path, bytes);
  const descriptor = openSync(path, 'r');
  unlinkSync(path);
  try {
    const [file, ...first] = SHIM_COMMAND;
    return spawn(file!, [...first, directory, plan.key, plan.nonce], {
      ...(isEmulated ? {} : { argv0: 'morch-shim' }),
      env: {},
      detached: true,
      stdio: ['ignore', 'ignore', 'ignore', descriptor],
    });
  } finally {
    closeSync(descriptor);
  }
}

function observe(child: ChildProcess, plan: RunPlan, directory: string, allNotices: ShimLine[]): Shim {
  const ended = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? signal!));
  });
  const record = () => readRecord(plan.stateDirectory, plan.run);
  const notices = () => allNotices.filter(({ nonce }) => nonce === plan.nonce);
  const find = async <Kind extends ShimLine['kind']>(lines: () => ShimLine[], kind: Kind, timeoutMs: number) => {
    const found = () => lines().find((line): line is Line<Kind> => line.kind === kind);
    return until(found, { what: `${kind} is told`, timeoutMs });
  };
  return {
    process: child,
    pid: child.pid!,
    plan,
    nonce: plan.nonce,
    directory,
    ended,
    record,
    notices,
    recorded: (kind, timeoutMs = 10_000) => find(record, kind, timeoutMs),
    noticed: (kind, timeoutMs = 10_000) => find(notices, kind, timeoutMs),
    output: (stream = 'stdout') => readOutput(plan.logs.directory, stream),
    stop: (graceMs) => {
      if (graceMs === undefined) process.kill(child.pid!, 'SIGTERM');
      else sendValue(child.pid!, graceMs);
    },
  };
}

/** `kill -q` of procps is not everywhere; the shells have no sigqueue. */
function sendValue(pid: number, value: number): void {
  const { status, stderr } = spawnSync('/bin/kill', ['-s', 'TERM', '-q', String(value), String(pid)]);
  if (status !== 0) throw new Error(`kill -q failed: ${stderr}`);
}

function readRecord(directory: string, run: number): ShimLine[] {
  for (const name of [`run.${run}.ended`, `run.${run}.open`, `run.${run}.ended`]) {
    try {
      return parseShimText(readFileSync(join(directory, name), 'utf8')).lines;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return [];
}

/** Numbers of the files of a stream, oldest first. */
export function logNumbers(directory: string, stream: 'stdout' | 'stderr', suffix: 'log' | 'idx' = 'log'): number[] {
  return readdirSync(directory)
    .map((name) => new RegExp(`^${stream}\\.(\\d+)\\.${suffix}$`).exec(name)?.[1])
    .filter((number) => number !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
}

function readOutput(directory: string, stream: 'stdout' | 'stderr'): Buffer {
  return Buffer.concat(
    logNumbers(directory, stream).map((number) => readFileSync(join(directory, `${stream}.${number}.log`))),
  );
}

export function readNotices(fifo: string, take: (line: ShimLine) => void): Socket {
  // For writing too, so that it does not end whenever the last shim closes it.
  const socket = new Socket({ fd: openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK), readable: true });
  let rest = '';
  socket.setEncoding('utf8').on('data', (text: string) => {
    const parsed = parseShimText(rest + text);
    rest = parsed.rest;
    parsed.lines.forEach(take);
  });
  return socket;
}

/** Pids of live processes with this text in their environment. */
export function processesWith(text: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(text);
      } catch {
        return false; // gone, or not ours
      }
    });
}

/** Every live process of a run's tree, wherever it has gone; its environment keeps the nonce. */
export function treeOf(shim: Shim): number[] {
  return processesWith(`MORCH_NONCE=${shim.nonce}`);
}

export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z';
  } catch {
    return false;
  }
}

export function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

/** Writes into a FIFO until it takes no more. */
export function fill(fifo: string): void {
  const descriptor = openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
  const line = Buffer.from(`${'x'.repeat(4095)}\n`);
  try {
    for (;;) writeSync(descriptor, line);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
  } finally {
    closeSync(descriptor);
  }
}

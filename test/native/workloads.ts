/** Starts real processes through the addon for one test file, and checks that none is left at its end. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { loadNative, type Native, type ProcessExit, type Spawned, type SpawnPlan } from '../../agent/native/index';
import { until } from '../support/until';

export interface Workload extends Spawned {
  exit: Promise<ProcessExit>;
  /** What it has written so far; only of what `sh` started. */
  stdout(): string;
}

export interface Workloads {
  native: Native;
  /** Removed at the end. */
  directory: string;
  /** `argv[0]` is the file too, unless `plan` says otherwise; no input; the output goes nowhere. */
  start(argv: string[], plan?: Partial<SpawnPlan>): Promise<Workload>;
  /** Runs a command line under /bin/sh, which has a PATH and its output in files; `$0` is sh. */
  sh(commands: string, plan?: Partial<SpawnPlan>): Promise<Workload>;
  /** Resolves with the end of a process given to `native.watch`. */
  exitOf(handle: number): Promise<ProcessExit>;
  /** Compiles test/native/fixtures/`source`.c. @returns its path, which ends in `name` */
  compile(source: string, name?: string): string;
}

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const NOTHING = new Uint8Array(0);

/** Call at the top of a test file. */
export function useWorkloads(): Workloads {
  const native = loadNative();
  const directory = mkdtempSync(join(tmpdir(), 'morch-native-'));
  const waiting = new Map<number, (exit: ProcessExit) => void>();
  const live = new Set<number>();
  const strayExits: ProcessExit[] = [];
  let started = 0;

  const workloads: Workloads = {
    native,
    directory,
    async start(argv, plan = {}) {
      const spawned = await native.spawn({ file: argv[0]!, argv, cwd: directory, input: NOTHING, ...plan });
      return { ...spawned, exit: workloads.exitOf(spawned.handle), stdout: () => '' };
    },
    async sh(commands, plan) {
      const output = join(directory, `${++started}.out`);
      const prelude = `exec >'${output}' 2>'${output}.err'; export PATH=${PATH}; `;
      const workload = await workloads.start(['/bin/sh', '-c', prelude + commands], plan);
      return { ...workload, stdout: () => (existsSync(output) ? readFileSync(output, 'utf8') : '') };
    },
    exitOf(handle) {
      live.add(handle);
      return new Promise((resolve) => waiting.set(handle, resolve));
    },
    compile(source, name = source) {
      const program = join(directory, name);
      const file = join(__dirname, 'fixtures', `${source}.c`);
      execFileSync('cc', ['-O1', '-Wall', '-Wextra', '-Werror', '-o', program, file], { stdio: 'inherit' });
      return program;
    },
  };

  beforeAll(() => {
    native.onExit((exits) => {
      for (const exit of exits) {
        live.delete(exit.handle);
        const resolve = waiting.get(exit.handle);
        waiting.delete(exit.handle);
        if (resolve === undefined) strayExits.push(exit);
        else resolve(exit);
      }
    });
  });

  afterAll(async () => {
    for (const handle of live) native.signal(handle, native.signalNumber('SIGKILL')!);
    await until(() => native.liveCount() === 0 && live.size === 0, { what: 'no workload lives' });
    await until(() => zombies().length === 0, { timeoutMs: 1_000, what: 'no zombie is left' });
    native.onExit(null);
    rmSync(directory, { recursive: true });
    // An exit that came before the code after `await spawn` ran would be in here.
    expect(strayExits).toEqual([]);
  });

  return workloads;
}

export interface ProcessFields {
  pid: number;
  state: string;
  parent: number;
  group: number;
  session: number;
  /** Clock ticks since boot. */
  startTicks: number;
}

/** @returns null when there is no such process */
export function readProcess(pid: number): ProcessFields | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return {
      pid,
      state: fields[0]!,
      parent: Number(fields[1]),
      group: Number(fields[2]),
      session: Number(fields[3]),
      startTicks: startTicksOfStat(stat),
    };
  } catch {
    return null;
  }
}

/** The start time of a process made while this file is loaded. */
const loadedAtTicks = startTicksOfStat(spawnSync('/bin/cat', ['/proc/self/stat']).stdout.toString());

function startTicksOfStat(stat: string): number {
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
}

/**
 * Zombies whose parent is this process, made since this file was loaded: jest runs other files in the same process,
 * which has become a subreaper, and what they have left in its own session is not the addon's to reap. Those of the
 * addon's tests have made sure that they leave none.
 */
export function zombies(): ProcessFields[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readProcess(Number(name)))
    .filter((process): process is ProcessFields => process !== null)
    .filter(({ state, parent, startTicks }) => state === 'Z' && parent === process.pid && startTicks >= loadedAtTicks);
}

export function openDescriptors(pid: number | 'self' = 'self'): string[] {
  return readdirSync(`/proc/${pid}/fd`);
}

/** A process that has just been exec'd may still have the dynamic loader's file open; what it inherited stays. */
export async function hasOnlyItsDescriptors(pid: number): Promise<void> {
  await until(() => openDescriptors(pid).join() === '0,1,2,3', { what: `${pid} has descriptors 0 to 3 only` });
}

/**
 * The reaper opens files of /proc for a moment whenever there is a zombie; what leaks stays. Fewer there may be as well: what
 * another test file has left in this process may have been closed since they were counted.
 */
export async function hasOnlyDescriptors(count: number): Promise<void> {
  const what = `${count} descriptors are open at most`;
  await until(() => openDescriptors().length <= count, { timeoutMs: 20_000, what });
}

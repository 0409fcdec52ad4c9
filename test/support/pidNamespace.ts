/**
 * A pid namespace in which a test decides which pid the next process gets. Needs root, as `reasonToSkip` says. Nothing in
 * it outlives `end`, or the test itself.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { until } from './until';

/** Takes in orphans, as a machine's init does. */
const INIT = 'while :; do sleep 600 & wait; done';

/** @returns why there can be none here, or null */
export function reasonToSkip(): string | null {
  if (process.getuid?.() !== 0) return 'only root may make a pid namespace';
  const tried = spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'test', '-w', '/proc/sys/kernel/ns_last_pid']);
  return tried.status === 0 ? null : `unshare: ${tried.error?.message ?? tried.stderr.toString().trim()}`;
}

export class PidNamespace {
  private constructor(
    readonly unshare: ChildProcess,
    readonly initPid: number,
  ) {}

  static async create(): Promise<PidNamespace> {
    const unshare = spawn('unshare', ['--pid', '--fork', '--mount-proc', '--kill-child', 'sh', '-c', INIT], {
      stdio: 'ignore',
    });
    const initPid = await until(() => childrenOf(unshare.pid!)[0], { what: 'the namespace has its init' });
    const namespace = new PidNamespace(unshare, initPid);
    await until(() => readText(`/proc/${initPid}/root/proc/1/comm`) === 'sh\n', { what: 'its /proc is mounted' });
    return namespace;
  }

  /** @returns argv that runs a program in here */
  enter(argv: readonly string[]): string[] {
    return ['nsenter', '--target', String(this.initPid), '--pid', '--mount', '--', ...argv];
  }

  /** Starts a program under this very pid of the namespace, which must be free. @throws Error if another took it */
  async startAs(pid: number, argv: readonly string[]): Promise<ChildProcess> {
    const set = this.enter(['sh', '-c', `echo ${pid - 1} > /proc/sys/kernel/ns_last_pid`]);
    spawnSync(set[0]!, set.slice(1), { stdio: 'inherit' });
    // The fork of this nsenter is the next one in the namespace.
    const [file, ...args] = this.enter(argv);
    const child = spawn(file!, args, { stdio: 'ignore' });
    await until(() => childrenOf(child.pid!).length > 0, { what: 'nsenter has forked' });
    const got = innerPidOf(childrenOf(child.pid!)[0]!);
    if (got !== pid) throw new Error(`the program got pid ${got} instead of ${pid}`);
    return child;
  }

  /** The pid outside of a process in here; null when there is none. */
  outerPidOf(pid: number): number | null {
    const mine = namespaceOf(this.initPid);
    const found = readdirSync('/proc').filter(
      (name) => /^\d+$/.test(name) && namespaceOf(Number(name)) === mine && innerPidOf(Number(name)) === pid,
    );
    return found.length === 0 ? null : Number(found[0]);
  }

  /** @returns false when there is no such process */
  kill(pid: number, signal: NodeJS.Signals): boolean {
    const outer = this.outerPidOf(pid);
    if (outer === null) return false;
    try {
      process.kill(outer, signal);
      return true;
    } catch (error) {
      // It has ended since it was looked up.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      return false;
    }
  }

  /** With its init all others end. */
  async end(): Promise<void> {
    if (this.unshare.exitCode !== null || this.unshare.signalCode !== null) return;
    const ended = once(this.unshare, 'exit');
    process.kill(this.initPid, 'SIGKILL');
    await ended;
  }
}

export function childrenOf(pid: number): number[] {
  return readText(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number);
}

function namespaceOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return '';
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function innerPidOf(pid: number): number {
  return Number(/^NSpid:.*\s(\d+)$/m.exec(readText(`/proc/${pid}/status`))?.[1] ?? 0);
}

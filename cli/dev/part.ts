/**
 * One child of `morch dev`: the scheduler or an agent as a process of its own, its output in a file, started
 * again when it dies unasked. Used by cluster.ts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { PARENT_WATCH_VARIABLE, PART_VARIABLES } from '../parts';

export interface PartPlan {
  /** `scheduler`, `n1`: names it in messages and its files. */
  name: string;
  /** Arguments after `morch`. */
  args: readonly string[];
  port: number;
  logFile: string;
}

export interface Death {
  pid: number | undefined;
  /** `exit code 1`, `SIGKILL` */
  how: string;
  /** It ended as it should when it is told to. */
  inOrder: boolean;
  ranMs: number;
}

export class Part {
  private child: ChildProcess | undefined;
  private asked = false;
  /** Settles when the present child has ended. */
  private ended: Promise<void> = Promise.resolve();
  private logStart = 0;

  /** @param onDeath called when it ends without having been asked to */
  constructor(
    readonly plan: PartPlan,
    private readonly onDeath: (part: Part, death: Death) => void,
  ) {}

  get pid(): number | undefined {
    return this.child?.pid;
  }

  get isAlive(): boolean {
    return this.child !== undefined;
  }

  start(): void {
    mkdirSync(path.dirname(this.plan.logFile), { recursive: true, mode: 0o700 });
    const log = openSync(this.plan.logFile, 'a');
    this.logStart = statSync(this.plan.logFile).size;
    const startedAtMs = Date.now();
    const child = spawn(process.execPath, [path.join(__dirname, '..', 'main.js'), ...this.plan.args], {
      // A group of its own: Ctrl-C in the terminal reaches `morch dev` alone, which stops the parts in order.
      detached: true,
      stdio: ['ignore', log, log, 'ipc'],
      env: childEnvironment(),
    });
    closeSync(log);
    this.asked = false;
    this.child = child;
    this.ended = new Promise((resolve) => {
      const over = (how: string, inOrder = false) => {
        if (this.child !== child) return;
        this.child = undefined;
        resolve();
        if (!this.asked) this.onDeath(this, { pid: child.pid, how, inOrder, ranMs: Date.now() - startedAtMs });
      };
      child.once('error', (error) => over(error.message));
      child.once('exit', (code, signal) => over(signal ?? `exit code ${code}`, code === 0));
    });
  }

  /** Asks it to end (SIGTERM) and waits until it has. */
  async stop(): Promise<void> {
    this.asked = true;
    this.child?.kill('SIGTERM');
    // One that somebody stopped (kill -STOP) to see what happens could not hear of it.
    this.child?.kill('SIGCONT');
    await this.ended;
  }

  /** What it said since its last start: its own last word (`morch agent: …`), else the last lines of its log. */
  lastWords(): string[] {
    const lines = readFileSync(this.plan.logFile).subarray(this.logStart).toString().trimEnd().split('\n');
    const own = lines.findLastIndex((line) => /^morch (scheduler|agent): /.test(line));
    return own === -1 ? lines.slice(-5) : lines.slice(own);
  }
}

/** Ours, less the flags' variables, which are meant for `morch dev` itself. */
function childEnvironment(): NodeJS.ProcessEnv {
  const env = { ...process.env };
  for (const name of PART_VARIABLES) delete env[name];
  return { ...env, [PARENT_WATCH_VARIABLE]: '1' };
}

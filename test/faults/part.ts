/** A scheduler or an agent under test: a real process of the built tree on a host, which can be killed, stopped and hindered. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../support/until';
import { type Answer, type Ask, ask } from './client';
import { bootTimeOf } from './clock';
import type { Host } from './fabric';

const MAIN = join(__dirname, '..', '..', 'dist', 'cli', 'main.js');
const PRELOADS = join(__dirname, 'preloads');
const READY_WITHIN_MS = 30_000;

/** Runs a command of morch on a host to its end. @throws Error with what it said unless it ends with 0 */
export function morchOn(host: Host, ...args: string[]): void {
  const [file, ...argv] = host.enter([process.execPath, MAIN, ...args]);
  const { status, stderr } = spawnSync(file!, argv, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`morch ${args.join(' ')} ended with ${status}: ${stderr}`);
}

/** How a part is hindered from its start on. */
export interface Hindrance {
  /** Names of files in preloads/. */
  preloads?: readonly string[];
  env?: Record<string, string>;
  /** Makes another argv of its argv, which runs it in the same process. */
  wrap?: (argv: readonly string[]) => string[];
}

export class Part {
  #child: ChildProcess | null = null;
  #token = '';

  /** @param args of morch */
  constructor(
    readonly name: string,
    readonly host: Host,
    readonly port: number,
    readonly dataDir: string,
    private readonly args: readonly string[],
    private readonly logPath: string,
    private readonly env: Readonly<Record<string, string>> = {},
  ) {}

  get url(): string {
    return `http://${this.host.address}:${this.port}`;
  }

  /** What opens all of it: of its first start in that directory, as it was when it was last ready. */
  get token(): string {
    return this.#token;
  }

  /** With its token. */
  ask(route: string, { headers, ...more }: Ask = {}): Promise<Answer> {
    return ask(this.url + route, { ...more, headers: { ...this.authorization, ...headers } });
  }

  get authorization(): { authorization: string } {
    return { authorization: `Bearer ${this.#token}` };
  }

  get pid(): number {
    return this.#child!.pid!;
  }

  get isAlive(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Resolves when it serves. @throws Error with the end of its log when it does not */
  async start(hindrance: Hindrance = {}): Promise<void> {
    this.spawn(hindrance);
    await this.untilReady();
  }

  /** Resolves at once, whatever will come of it. */
  spawn(hindrance: Hindrance = {}): void {
    if (this.isAlive) throw new Error(`${this.name} runs already`);
    const [file, ...args] = this.command(hindrance);
    const { env = {} } = hindrance;
    const log = openSync(this.logPath, 'a');
    this.#child = spawn(file!, args, { env: { ...process.env, ...this.env, ...env }, stdio: ['ignore', log, log] });
    closeSync(log);
  }

  /** @returns the argv that runs it */
  command({ preloads = [], wrap = (argv) => [...argv] }: Hindrance = {}): string[] {
    const requires = ['listen', ...preloads].flatMap((name) => ['--require', join(PRELOADS, `${name}.cjs`)]);
    return this.host.enter(wrap([process.execPath, ...requires, MAIN, ...this.args]));
  }

  async untilReady(): Promise<void> {
    const isReady = async (): Promise<boolean> => {
      if (!this.isAlive) throw new Error(`${this.name} has ended: ${this.lastWords()}`);
      return ask(`${this.url}/livez`, { timeoutMs: 1_000 }).then(
        ({ status }) => status === 200,
        () => false,
      );
    };
    await until(isReady, { what: `${this.name} is ready`, timeoutMs: READY_WITHIN_MS });
    const file = this.args[0] === 'agent' ? 'agent.token' : 'admin.token';
    this.#token = readFileSync(join(this.dataDir, file), 'utf8').trim();
  }

  signal(signal: NodeJS.Signals): void {
    if (this.isAlive) process.kill(this.pid, signal);
  }

  /** SIGKILL unless told otherwise. Resolves when it is gone. */
  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.signal(signal);
    await this.untilGone();
  }

  async untilGone(timeoutMs = 15_000): Promise<void> {
    await until(() => !this.isAlive, { what: `${this.name} has ended`, timeoutMs });
  }

  /** When it has logged something that has this in it. */
  loggedAtMs(text: string): number[] {
    const lines = readFileSync(this.logPath, 'utf8').split('\n');
    return lines.flatMap((line) => {
      const time = line.includes(text) ? /"time":(\d+)/.exec(line)?.[1] : undefined;
      return time === undefined ? [] : [bootTimeOf(new Date(Number(time)).toISOString())];
    });
  }

  /** The last line of its log. */
  lastWords(): string {
    return readFileSync(this.logPath, 'utf8').trim().split('\n').at(-1)!;
  }
}

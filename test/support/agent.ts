/**
 * An agent in a process of its own, so that it can be killed, with a client for it. Needs a built tree (`npm test`
 * builds it first).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import type { AgentMessage, AgentProcess, AgentStatus, InstanceReport } from '../../contract/agentApi';
import { childrenOf } from './pidNamespace';
import { endShims } from './shims';
import { until } from './until';

const ROOT = join(__dirname, '..', '..');
const LAUNCH = `require(${JSON.stringify(join(ROOT, 'dist/agent/main.js'))}).runAgent(JSON.parse(process.env.OPTIONS))
  .catch((error) => { console.error(error.message); process.exit(1); })`;

export interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests look at answers as a stranger would
  body: any;
  headers: Headers;
}

export interface AgentOptions {
  name?: string;
  dataDir?: string;
  port?: number;
  scheduler?: string;
  joinTokenFile?: string;
  auth?: boolean;
  advertise?: string;
  labels?: Record<string, string>;
  cpuMillis?: number;
  memoryBytes?: number;
  /** Default here: stop, so that what a suite leaves is its own doing. */
  onExit?: 'keep' | 'stop';
  /** Default here: none. */
  cgroup?: string;
  orphanAfterMs?: number;
  tls?: boolean;
  /** Default here: agent, so that workloads share files with their test. */
  runAs?: 'own' | 'agent';
  userRange?: string;
  allowUsers?: string[];
  allowRoot?: boolean;
  scriptDirs?: string[];
  scriptEnv?: string[];
}

/** @returns argv that runs a program somewhere else, as its only child */
export type Enter = (argv: readonly string[]) => string[];

/** The agents of one suite; `endAll` in `afterAll` ends them with all they run, and fails if a process is left outside its shim. */
export class Agents {
  readonly #started: TestAgent[] = [];
  readonly #names = new Set<string>();
  readonly directory = mkdtempSync(join(tmpdir(), 'morch-agent-test-'));

  /** Starts one and waits until it is ready; `dataDir` and `name` of an earlier one make it a restart. */
  async start(options: AgentOptions = {}, enter?: Enter): Promise<TestAgent> {
    const name = options.name ?? `t-${randomBytes(4).toString('hex')}`;
    const dataDir = options.dataDir ?? join(this.directory, name);
    const agent = new TestAgent(
      { port: 0, onExit: 'stop', cgroup: 'none', runAs: 'agent', ...options, name, dataDir },
      enter,
    );
    this.#started.push(agent);
    this.#names.add(name);
    await agent.ready();
    return agent;
  }

  /** A new agent in the place of one that has ended: same name, data directory and port. */
  restart(ended: TestAgent): Promise<TestAgent> {
    return this.start({ ...ended.options, port: ended.port }, ended.enter);
  }

  async endAll(): Promise<void> {
    for (const agent of this.#started) await agent.end();
    await endShims([...new Set(this.#started.map(({ dataDir }) => dataDir))]);
    const left = [...this.#names].flatMap((name) => processesOf(name));
    for (const pid of left) process.kill(pid, 'SIGKILL');
    rmSync(this.directory, { recursive: true, force: true });
    if (left.length > 0) throw new Error(`processes were left behind: ${left.join(', ')}`);
  }
}

export class TestAgent {
  readonly name: string;
  readonly dataDir: string;
  readonly child: ChildProcess;
  stdout = '';
  stderr = '';
  #address = '';

  constructor(
    readonly options: AgentOptions & { name: string; dataDir: string },
    readonly enter?: Enter,
  ) {
    this.name = options.name;
    this.dataDir = options.dataDir;
    const argv = [process.execPath, '-e', LAUNCH];
    const [file, ...args] = enter?.(argv) ?? argv;
    this.child = spawn(file!, args, {
      env: { ...process.env, OPTIONS: JSON.stringify(options), SECRET_OF_THE_AGENT: 'hidden' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout!.on('data', (data) => {
      this.stdout += data;
    });
    this.child.stderr!.on('data', (data) => {
      this.stderr += data;
    });
  }

  get pid(): number {
    return this.enter === undefined ? this.child.pid! : childrenOf(this.child.pid!)[0]!;
  }

  get address(): string {
    return this.#address;
  }

  get port(): number {
    return Number(new URL(this.#address).port);
  }

  async ready(): Promise<void> {
    const match = await until(
      () => {
        if (this.child.exitCode !== null) throw new Error(`the agent ended: ${this.stderr}`);
        return /ready on (\S+)/.exec(this.stdout);
      },
      { timeoutMs: 15_000, what: 'the agent is ready' },
    );
    this.#address = match[1]!;
  }

  /** What it asks of its callers. */
  get token(): string {
    return readFileSync(join(this.dataDir, 'agent.token'), 'utf8').trim();
  }

  /** With its token. */
  fetch(path: string, { headers, ...init }: RequestInit = {}): Promise<Response> {
    return fetch(this.#address + path, { ...init, headers: { authorization: `Bearer ${this.token}`, ...headers } });
  }

  async request(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const response = await this.fetch(path, {
      method,
      headers: { ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json') ?? false;
    return { status: response.status, body: isJson ? JSON.parse(text) : text, headers: response.headers };
  }

  start(command: Record<string, unknown>): Promise<Answer> {
    return this.request('POST', '/start', command);
  }

  /** A shell script as the command. */
  startShell(script: string, more: Record<string, unknown> = {}): Promise<Answer> {
    return this.start({ command: ['/bin/sh', '-c', script], ...more });
  }

  stop(target: Record<string, unknown>): Promise<Answer> {
    return this.request('POST', '/stop', target);
  }

  async status(): Promise<AgentStatus & { processes: AgentProcess[] }> {
    return (await this.request('GET', '/status')).body;
  }

  async logs(instanceId: string, query = ''): Promise<string> {
    return (await this.request('GET', `/instances/${instanceId}/logs${query}`)).body;
  }

  /** The latest generation. */
  async instance(instanceId: string): Promise<AgentProcess> {
    const found = (await this.status()).processes.filter((one) => one.instanceId === instanceId);
    return found.sort((a, b) => b.generation - a.generation)[0]!;
  }

  async untilStatus(instanceId: string, status: string, timeoutMs = 10_000): Promise<AgentProcess> {
    return until(
      async () => {
        const instance = await this.instance(instanceId);
        return instance?.status === status ? instance : null;
      },
      { what: `${instanceId} is ${status}`, timeoutMs },
    );
  }

  /** Output of the instance has this text in it: the way a test program says how far it is. */
  untilSaid(instanceId: string, text: string): Promise<string> {
    return until(
      async () => {
        const output = await this.logs(instanceId);
        return output.includes(text) ? output : '';
      },
      { what: `${instanceId} says ${text}`, timeoutMs: 10_000 },
    );
  }

  async connect(query = ''): Promise<Connection> {
    const connection = new Connection(`${this.#address.replace('http', 'ws')}/events${query}`, this.token);
    await connection.settled;
    return connection;
  }

  async kill(signal: NodeJS.Signals): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const exited = once(this.child, 'exit');
      process.kill(this.pid, signal);
      await exited;
    }
    return this.child.exitCode;
  }

  async end(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) process.kill(this.pid, 'SIGCONT');
    const timer = setTimeout(() => process.kill(this.pid, 'SIGKILL'), 15_000);
    await this.kill('SIGTERM');
    clearTimeout(timer);
  }
}

/** One WebSocket to an agent, with all it has said. */
export class Connection {
  readonly messages: AgentMessage[] = [];
  readonly socket: WebSocket;
  /** Set when it is closed. */
  closeCode: number | null = null;
  /** Open, or closed at once. */
  readonly settled: Promise<unknown>;

  constructor(url: string, token: string) {
    const headers = { authorization: `Bearer ${token}` };
    this.socket = new WebSocket(url, { perMessageDeflate: false, headers });
    this.socket.on('message', (data) => this.messages.push(JSON.parse(data.toString())));
    this.socket.on('close', (code) => {
      this.closeCode = code;
    });
    this.settled = once(this.socket, 'open');
  }

  of<T extends AgentMessage['type']>(type: T): Extract<AgentMessage, { type: T }>[] {
    return this.messages.filter((message) => message.type === type) as Extract<AgentMessage, { type: T }>[];
  }

  reports(instanceId: string): InstanceReport[] {
    return this.messages
      .flatMap((message) =>
        message.type === 'instance' ? [message.instance] : message.type === 'instances' ? message.instances : [],
      )
      .filter((instance) => instance.instanceId === instanceId);
  }

  untilClosed(): Promise<number> {
    return until(() => this.closeCode, { what: 'the connection is closed' });
  }

  close(): void {
    this.socket.terminate();
  }
}

/** Live workload processes that an agent of this name has started, however far they have moved from it. */
export function processesOf(nodeName: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(`MORCH_NODE=${nodeName}`);
      } catch {
        return false;
      }
    })
    .map(Number);
}

export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}

/** Pids of the ended but unreaped children of a process. */
export function zombiesOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
        return new RegExp(`\\) Z ${parent} `).test(stat);
      } catch {
        return false;
      }
    })
    .map(Number);
}

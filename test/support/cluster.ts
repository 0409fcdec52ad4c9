/**
 * A real cluster on loopback for tests: scheduler and agents as child processes of the built tree, so that they can be
 * killed, each on a port and in a data directory of its own. Callers are asked for tokens, as users are. `close` ends everything and fails if a process is left.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { Agent, fetch as fetchOverTls, type RequestInit as UndiciInit } from 'undici';
import type { MorchEvent } from '../../contract/events';
import type { Instance, Workload } from '../../contract/workload';
import { endShims, killShims } from './shims';
import { until } from './until';

const ROOT = path.resolve(__dirname, '../..');

export interface Part {
  readonly name: string;
  readonly port: number;
  readonly dataDir: string;
  child: ChildProcess;
}

export async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

export interface Answer<T> {
  status: number;
  body: T;
  headers: Headers;
}

export class Cluster {
  readonly agents = new Map<string, Part>();
  scheduler!: Part;
  private readonly others: ChildProcess[] = [];
  private dispatcher: Agent | undefined;
  /** A value of MORCH_TEST in every workload's environment, by which leftovers are found. */
  readonly mark = `cluster-${process.pid}-${Math.random().toString(36).slice(2)}`;

  private constructor(
    readonly directory: string,
    /** Of schedulers that are started from now on. */
    public schedulerArgs: { tls?: boolean } & Record<string, unknown> = {},
    /** Whom clients trust, where the scheduler speaks TLS; else its own authority. */
    private readonly trust?: string,
  ) {}

  static async start(
    agents: number | string[],
    options: { agentArgs?: object; schedulerArgs?: { tls?: boolean } & Record<string, unknown>; trust?: string } = {},
  ): Promise<Cluster> {
    const cluster = new Cluster(
      await mkdtemp(path.join(os.tmpdir(), 'morch-test-')),
      options.schedulerArgs,
      options.trust,
    );
    await cluster.startScheduler();
    const names = typeof agents === 'number' ? Array.from({ length: agents }, (_, i) => `n${i + 1}`) : agents;
    await Promise.all(names.map((name) => cluster.startAgent(name, options.agentArgs)));
    await cluster.untilHealthy(names.length, 40_000);
    return cluster;
  }

  get url(): string {
    return `${this.schedulerArgs.tls ? 'https' : 'http'}://127.0.0.1:${this.scheduler.port}`;
  }

  get caFile(): string {
    return path.join(this.directory, 'scheduler', 'pki', 'ca.crt');
  }

  /** Of anybody. */
  async ask(route: string, init: RequestInit = {}): Promise<Response> {
    if (!this.schedulerArgs.tls) return fetch(`${this.url}${route}`, init);
    this.dispatcher ??= new Agent({ connect: { ca: await readFile(this.trust ?? this.caFile, 'utf8') } });
    const answer = fetchOverTls(`${this.url}${route}`, { ...init, dispatcher: this.dispatcher } as UndiciInit);
    return answer as Promise<unknown> as Promise<Response>;
  }

  /** The scheduler's first tokens, as they were when it last began to serve. */
  readonly tokens = { admin: '', join: '' };

  private tokenFile(name: 'admin' | 'join'): string {
    return path.join(this.directory, 'scheduler', `${name}.token`);
  }

  /** For commands, and programs that use them. */
  get env(): { MORCH_ADDRESS: string; MORCH_TOKEN: string } {
    return { MORCH_ADDRESS: this.url, MORCH_TOKEN: this.tokens.admin };
  }

  /** Of the scheduler, as its admin. */
  fetch(route: string, { headers, ...init }: RequestInit = {}): Promise<Response> {
    return this.ask(route, {
      ...init,
      headers: { authorization: `Bearer ${this.tokens.admin}`, ...headers },
    });
  }

  async startScheduler(): Promise<void> {
    // Its authority may be another one than before.
    await this.dispatcher?.destroy();
    this.dispatcher = undefined;
    const port = this.scheduler?.port ?? (await freePort());
    const dataDir = path.join(this.directory, 'scheduler');
    const child = this.run('scheduler', 'runScheduler', { port, dataDir, ...this.schedulerArgs });
    this.scheduler = { name: 'scheduler', port, dataDir, child };
    await until(
      async () => {
        if (child.exitCode !== null)
          throw new Error(`the scheduler ended with ${child.exitCode}: ${await this.logOf('scheduler')}`);
        return this.ask('/livez')
          .then((r) => r.ok)
          .catch(() => false);
      },
      { timeoutMs: 15_000, what: 'the scheduler serves' },
    );
    for (const name of ['admin', 'join'] as const) {
      this.tokens[name] = (await readFile(this.tokenFile(name), 'utf8')).trim();
    }
  }

  /** Another one, on a directory of its own. */
  async startSecondScheduler(dataDir: string): Promise<{ child: ChildProcess; url: string }> {
    const port = await freePort();
    const child = this.run('second-scheduler', 'runScheduler', { port, dataDir, ...this.schedulerArgs });
    this.others.push(child);
    const url = `http://127.0.0.1:${port}`;
    const isUp = () =>
      fetch(`${url}/livez`).then(
        ({ ok }) => ok,
        () => false,
      );
    await until(isUp, { timeoutMs: 15_000, what: 'the second scheduler serves' });
    return { child, url };
  }

  async startAgent(name: string, more: object = {}): Promise<Part> {
    const known = this.agents.get(name);
    const port = known?.port ?? (await freePort());
    const dataDir = path.join(this.directory, name);
    const child = this.run(name, 'runAgent', {
      port,
      dataDir,
      name,
      scheduler: this.url,
      joinTokenFile: this.tokenFile('join'),
      labels: {},
      cpuMillis: 4_000,
      memoryBytes: 4 * 2 ** 30,
      onExit: 'stop',
      cgroup: 'none',
      runAs: 'agent',
      ...more,
    });
    const part = { name, port, dataDir, child };
    this.agents.set(name, part);
    return part;
  }

  /** The death of a node, as far as one can have it here: its agent and all that runs on it. */
  async killNode(name: string): Promise<void> {
    const { child, dataDir } = this.agents.get(name)!;
    await end(child, 'SIGKILL');
    killShims(dataDir);
    await endShims([dataDir]);
  }

  private run(name: string, entry: 'runScheduler' | 'runAgent', options: object): ChildProcess {
    const module = path.join(ROOT, 'dist', entry === 'runAgent' ? 'agent' : 'scheduler', 'main.js');
    const script = `require(${JSON.stringify(module)}).${entry}(JSON.parse(process.env.TEST_OPTIONS)).then(() => process.exit(0), (error) => { console.error(error); process.exit(1); })`;
    const log = require('node:fs').openSync(path.join(this.directory, `${name}.log`), 'a');
    const child = spawn(process.execPath, ['-e', script], {
      env: { ...process.env, TEST_OPTIONS: JSON.stringify(options) },
      stdio: ['ignore', log, log],
    });
    require('node:fs').closeSync(log);
    return child;
  }

  logOf(name: string): Promise<string> {
    return readFile(path.join(this.directory, `${name}.log`), 'utf8');
  }

  async request<T = Record<string, unknown>>(
    method: string,
    route: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer<T>> {
    const response = await this.fetch(route, {
      method,
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: (text === '' ? null : JSON.parse(text)) as T, headers: response.headers };
  }

  /** @throws Error unless accepted */
  async submit(spec: Record<string, unknown>): Promise<Workload> {
    const env = { ...(spec.env as object | undefined), TEST_MARK: this.mark };
    const answer = await this.request<Workload>('POST', '/workloads', { ...spec, env });
    if (answer.status !== 201) throw new Error(`submit answered ${answer.status}: ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  async workload(id: string): Promise<Workload & { instances: Instance[] }> {
    const { body } = await this.request<Workload>('GET', `/workloads/${id}`);
    return { ...body, instances: body.instances ?? [] };
  }

  async history(id: string): Promise<MorchEvent[]> {
    return (await this.request<{ events: MorchEvent[] }>('GET', `/workloads/${id}/history?limit=1000`)).body.events;
  }

  /** Waits until the workload is as `test` wants it, and returns it. */
  async untilWorkload(
    id: string,
    what: string,
    test: (workload: Workload & { instances: Instance[] }) => boolean,
    timeoutMs = 20_000,
  ): Promise<Workload & { instances: Instance[] }> {
    let last: unknown;
    try {
      return await until(
        async () => {
          const workload = await this.workload(id);
          last = workload;
          return test(workload) ? workload : null;
        },
        { timeoutMs, what: `${id} ${what}` },
      );
    } catch (error) {
      throw new Error(`${String(error)}; it was ${JSON.stringify(last)}`);
    }
  }

  untilStatus(id: string, status: string, timeoutMs?: number): Promise<Workload & { instances: Instance[] }> {
    return this.untilWorkload(id, `is ${status}`, (w) => w.status === status, timeoutMs);
  }

  /** Every replica runs. */
  untilRunning(id: string, replicas: number, timeoutMs?: number): Promise<Workload & { instances: Instance[] }> {
    return this.untilWorkload(
      id,
      `has ${replicas} running`,
      (w) => w.counts.running === replicas && w.instances.length === replicas,
      timeoutMs,
    );
  }

  async untilHealthy(nodes: number, timeoutMs = 15_000): Promise<void> {
    await until(
      async () => {
        const { body } = await this.request<{ nodes: { healthy: number } }>('GET', '/health');
        return body.nodes.healthy >= nodes;
      },
      { timeoutMs, what: `${nodes} nodes are healthy` },
    );
  }

  async untilNode(id: string, status: string, timeoutMs = 15_000): Promise<void> {
    await until(async () => (await this.request<{ status: string }>('GET', `/nodes/${id}`)).body.status === status, {
      timeoutMs,
      what: `node ${id} is ${status}`,
    });
  }

  /** Waits until its agent answers: after a kill a node counts as healthy for some seconds, whoever is there. */
  async untilAnswers(id: string, timeoutMs = 15_000): Promise<void> {
    type Checked = { results: { node: string; ok: boolean }[] };
    const answers = async () =>
      (await this.request<Checked>('POST', '/health/check')).body.results.some(({ node, ok }) => node === id && ok);
    await until(answers, { timeoutMs, what: `the agent of ${id} answers` });
  }

  /** Pids of all live processes of this cluster's workloads (zombies have no environment and do not count). */
  async workloadPids(): Promise<number[]> {
    const pids: number[] = [];
    for (const entry of await readdir('/proc')) {
      if (!/^\d+$/.test(entry)) continue;
      const environ = await readFile(`/proc/${entry}/environ`, 'utf8').catch(() => '');
      if (environ.split('\0').includes(`TEST_MARK=${this.mark}`)) pids.push(Number(entry));
    }
    return pids;
  }

  /** Ends everything. @throws Error when a process of a workload is left */
  async close(): Promise<void> {
    await this.dispatcher?.destroy();
    await end(this.scheduler.child, 'SIGTERM');
    await Promise.all(this.others.map((child) => end(child, 'SIGKILL')));
    await Promise.all([...this.agents.values()].map(({ child }) => end(child, 'SIGTERM')));
    await endShims([...this.agents.values()].map(({ dataDir }) => dataDir));
    await until(async () => (await this.workloadPids()).length === 0, {
      timeoutMs: 5_000,
      what: 'no process of a workload is left',
    });
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** Sends the signal and waits until the process is gone; SIGKILL after 15 s. */
export async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGCONT');
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await gone;
  clearTimeout(timer);
}

/**
 * A cluster under test: a scheduler and agents on hosts of their own, workloads that bear witness, and all that can befall them.
 * It keeps the ledger by which the run is judged: what was acknowledged, what was done to whom and when, what was said of whom.
 *
 * Every method that does harm returns what undoes it; `settle` undoes what has not been.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { MorchEvent } from '../../contract/events';
import { fixture } from '../support/fixtures';
import { shimsOf } from '../support/shims';
import { until } from '../support/until';
import { hasCompleted } from './checker';
import { type Answer, type Ask, followEvents, insist } from './client';
import { bootTimeOf, nowMs } from './clock';
import { type DiskOptions, mountDisk, unmountDisk } from './disks';
import { Fabric, type Host } from './fabric';
import type { Expectation, Fault, History, Stop, Submission, Trace, Verdict } from './history';
import { type Hindrance, Part } from './part';
import { killAll, treesOf } from './processes';
import type { Random } from './random';
import { Testimony } from './testimony';

const SCHEDULER_PORT = 5_000;
const AGENT_PORT = 8_080;
/** How long a client goes on asking, and everything may take to come to rest. */
const PATIENCE_MS = 120_000;
const CPU_MILLIS_OF_NODE = 4_000;
const POLL_MS = 20;

/** What the scheduler's profiles promise, as far as scenarios go by it. */
export const PROFILES = {
  /** @property briefMs a failure that is over by then costs nothing @property verdictMs about when a verdict comes */
  default: { briefMs: 1_500, verdictMs: 4_200, verdictWithinMs: 5_000 },
  fast: { briefMs: 300, verdictMs: 1_200, verdictWithinMs: 1_500 },
} as const;
export type Profile = keyof typeof PROFILES;

/** What the tests of other things than flapping cannot use. */
const NO_QUARANTINE = ['--flap-losses', '0'];

export type Undo = () => Promise<void>;

/** A fault that a scenario makes by its own means. */
export interface OwnFault {
  readonly fromMs: number;
  end(): void;
}

export interface WorldOptions {
  directory: string;
  nodes: number;
  random: Random;
  /** Times a scenario repeats what it is about. */
  rounds: number;
  /** How fast the scheduler sees failures. */
  profile: Profile;
  /** More flags of the scheduler. */
  flags?: readonly string[];
  /** From the first start on, by part: `scheduler`, `n1`, … */
  hindrances?: Readonly<Record<string, Hindrance>>;
  /** Directories below `directory` that are disks of their own: `scheduler`, `n1`, `n1/logs`, … */
  disks?: Readonly<Record<string, DiskOptions>>;
  say(text: string): void;
}

export interface WorkloadOptions {
  id: string;
  kind?: Submission['kind'];
  replicas?: number;
  onDisconnect?: Submission['onDisconnect'];
  expectation?: Expectation;
  graceMs?: number;
  everyMs?: number;
  /** Ends by itself after so long. */
  runMs?: number;
  code?: number;
  /** Goes on for so long after the stop signal. */
  lingerMs?: number;
  deaf?: boolean;
  /** Bytes that it writes to standard output with every sign of life. */
  outputBytes?: number;
  /** Has a child in a session of its own. */
  child?: boolean;
  /** More of the spec, as a user would give it. */
  spec?: Record<string, unknown>;
}

export interface Node {
  readonly name: string;
  readonly host: Host;
  readonly agent: Part;
}

export class World {
  readonly fabric = new Fabric();
  readonly nodes = new Map<string, Node>();
  readonly events: MorchEvent[] = [];
  readonly submissions: Submission[] = [];
  readonly #stops: Stop[] = [];
  readonly #faults: Fault[] = [];
  readonly #verdicts: Verdict[] = [];
  readonly #parts: Part[] = [];
  readonly #undos = new Set<Undo>();
  readonly #originMs = nowMs();
  readonly #ending = new AbortController();
  readonly #testimony: Testimony;
  /** The wall clock of a part is wrong: times that it tells are not to be used. */
  clocksLie = false;
  /** Not before `start`. */
  scheduler!: Part;

  constructor(readonly options: WorldOptions) {
    const directory = join(options.directory, 'testimony');
    mkdirSync(directory, { recursive: true });
    this.#testimony = new Testimony(directory);
  }

  /** Resolves when all nodes are healthy. */
  async start(): Promise<void> {
    const { directory, disks = {}, nodes } = this.options;
    for (const [place, disk] of Object.entries(disks)) mountDisk(join(directory, place), disk);
    this.scheduler = await this.addScheduler('scheduler');
    await this.scheduler.start(this.options.hindrances?.scheduler);
    this.#follow();
    for (let number = 1; number <= nodes; ++number) await this.#addNode(`n${number}`);
    await Promise.all([...this.nodes.values()].map(({ name, agent }) => agent.start(this.options.hindrances?.[name])));
    await this.untilHealthy();
  }

  get random(): Random {
    return this.options.random;
  }

  get times(): (typeof PROFILES)[Profile] {
    return PROFILES[this.options.profile];
  }

  get names(): string[] {
    return [...this.nodes.keys()];
  }

  say(text: string): void {
    this.options.say(text);
  }

  // ---- what a user does

  /** Resolves when it is acknowledged; asks on until it is, as a client with an Idempotency-Key should. */
  async submit(options: WorkloadOptions): Promise<Submission> {
    const { id, kind = 'service', replicas = 1, onDisconnect = 'replace', graceMs = 1_000, everyMs = 25 } = options;
    const tag = `${id}-${this.submissions.filter(({ workload }) => workload === id).length + 1}`;
    const body = {
      id,
      kind,
      command: commandOf(options, this.#testimony.directory),
      env: { WITNESS_TAG: tag },
      stop: { graceMs },
      ...(kind === 'daemon' ? {} : { replicas }),
      ...(onDisconnect === 'replace' ? {} : { onDisconnect }),
      ...options.spec,
    };
    const keys = kind === 'daemon' ? this.names : Array.from({ length: replicas }, (_, index) => index);
    const submission: Submission = {
      tag,
      workload: id,
      kind,
      onDisconnect,
      expectation: options.expectation ?? (kind === 'batch' ? 'completes' : 'lives'),
      instances: keys.map((key) => `${id}.${key}`),
      graceMs,
      everyMs,
      acknowledgedMs: 0,
    };
    await this.insist('/workloads', [201], { method: 'POST', body, headers: { 'idempotency-key': tag } });
    submission.acknowledgedMs = nowMs();
    this.submissions.push(submission);
    this.say(`submitted ${tag}: ${replicas} of ${kind}, onDisconnect ${onDisconnect}`);
    return submission;
  }

  /** Resolves when the stop is acknowledged. */
  async stop({ tag, workload }: Submission): Promise<void> {
    await this.insist(`/workloads/${workload}`, [202], { method: 'DELETE' });
    this.#stops.push({ tag, acknowledgedMs: nowMs(), confirmedMs: null });
    this.say(`stop of ${tag} acknowledged`);
  }

  /** Resolves when the scheduler says that it is stopped. */
  async untilStopped({ tag, workload }: Submission, timeoutMs = PATIENCE_MS): Promise<void> {
    await this.untilWorkload(workload, ({ status }) => isTerminal(status), `${tag} is stopped`, timeoutMs);
    const stop = this.#stops.find((one) => one.tag === tag && one.confirmedMs === null);
    if (stop === undefined) return;
    stop.confirmedMs = nowMs();
    this.say(`stop of ${tag} confirmed`);
  }

  async scale(submission: Submission, replicas: number): Promise<void> {
    const { workload, tag } = submission;
    await this.insist(`/workloads/${workload}/scale`, [200, 202], { method: 'POST', body: { replicas } });
    submission.instances = Array.from({ length: replicas }, (_, index) => `${workload}.${index}`);
    this.say(`scaled ${tag} to ${replicas}`);
  }

  async drain(node: string): Promise<void> {
    await this.insist(`/nodes/${node}/drain`, [200, 202], { method: 'POST', body: {} });
    this.say(`drain of ${node} asked for`);
  }

  /** Whether any node has been lost so far. */
  get hasVerdict(): boolean {
    return this.#verdicts.some(({ what }) => what === 'lost');
  }

  async uncordon(node: string): Promise<void> {
    await this.insist(`/nodes/${node}/uncordon`, [200, 202], { method: 'POST' });
    this.say(`${node} uncordoned`);
  }

  get(route: string, more: Ask = {}): Promise<Answer> {
    return this.scheduler.ask(route, more);
  }

  insist(route: string, wanted: readonly number[], { headers, ...request }: Ask): Promise<Answer> {
    const { url, authorization } = this.scheduler;
    const asked = { method: 'GET', ...request, headers: { ...authorization, ...headers } };
    return insist(url + route, wanted, asked, PATIENCE_MS);
  }

  // ---- what befalls agents and nodes

  /** kill -9 of the agent alone: what it runs goes on. Undone when the next one is ready. */
  async killAgent(name: string, { plain = true } = {}): Promise<Undo> {
    const over = this.#begin('agent killed', name, { failed: true, plain, apart: true });
    await this.agent(name).end();
    return this.#undo(async () => {
      await this.startAgent(name);
      over();
    });
  }

  /** The death of a machine: its agent and all that runs there, at once. */
  async killNode(name: string, { plain = true, next }: { plain?: boolean; next?: Hindrance } = {}): Promise<Undo> {
    const { agent } = this.node(name);
    const trees = treesOf(shimsOf(agent.dataDir));
    const over = this.#begin('node lost', name, { failed: true, plain, apart: true });
    agent.signal('SIGKILL');
    killAll(trees);
    await agent.untilGone();
    await this.until(() => {
      // What it was starting just then.
      const left = treesOf(shimsOf(agent.dataDir));
      killAll(left);
      return left.length === 0;
    }, `nothing is left of ${name}`);
    return this.#undo(async () => {
      await this.startAgent(name, next);
      over();
    });
  }

  async startAgent(name: string, hindrance?: Hindrance): Promise<void> {
    await this.agent(name).start(hindrance);
    this.say(`agent of ${name} is ready, pid ${this.agent(name).pid}`);
  }

  /** SIGSTOP of the agent. Its shims and what they run go on. */
  hang(name: string): Undo {
    const over = this.#begin('agent hung', name, { failed: true, plain: true, apart: true });
    const { agent } = this.node(name);
    agent.signal('SIGSTOP');
    return this.#undo(async () => {
      agent.signal('SIGCONT');
      over();
    });
  }

  // ---- what befalls the network

  /** Nothing gets through between the node and the scheduler: from the node, to it, or both. */
  cut(
    name: string,
    direction: 'from' | 'to' | 'both' = 'both',
    how: 'blackhole' | 'unreachable' = 'blackhole',
    // What an agent has sent may still get through for a while when only the answers to it are lost.
    { plain = direction !== 'to' } = {},
  ): Undo {
    const what = direction === 'both' ? 'cut off' : `cut off ${direction} it`;
    const over = this.#begin(what, name, { failed: true, plain, apart: true });
    const heals = this.#ways(name, direction).map((way) => this.fabric.cut(way, how));
    return this.#undo(async () => {
      for (const heal of heals) heal();
      over();
    });
  }

  /** So many of a hundred packets are lost, both ways. */
  lose(name: string, percent: number): Undo {
    const over = this.#begin(`${percent} % loss`, name, { failed: false, plain: false, apart: true });
    const heals = this.#ways(name, 'both').map((way) => this.fabric.lose(way, percent));
    return this.#undo(async () => {
      for (const heal of heals) heal();
      over();
    });
  }

  /** The connections that are there lead nowhere any more; new ones work. */
  breakConnections(name: string): Undo {
    const over = this.#begin('connections broken', name, { failed: false, plain: false, apart: true });
    const heal = this.fabric.breakConnections(this.scheduler.host, this.node(name).host, AGENT_PORT);
    return this.#undo(async () => {
      heal();
      over();
    });
  }

  #ways(name: string, direction: 'from' | 'to' | 'both') {
    const { host } = this.node(name);
    const from = { from: host, to: this.scheduler.host };
    const to = { from: this.scheduler.host, to: host };
    return direction === 'from' ? [from] : direction === 'to' ? [to] : [from, to];
  }

  // ---- what befalls the scheduler

  async killScheduler(hindranceOfNext?: Hindrance): Promise<Undo> {
    const over = this.#begin('scheduler killed', null, { failed: false, plain: false, apart: true });
    await this.scheduler.end();
    return this.#undo(async () => {
      await this.scheduler.start(hindranceOfNext);
      over();
      this.say(`scheduler is ready, pid ${this.scheduler.pid}`);
    });
  }

  pauseScheduler(): Undo {
    const over = this.#begin('scheduler paused', null, { failed: false, plain: false, apart: true });
    this.scheduler.signal('SIGSTOP');
    return this.#undo(async () => {
      this.scheduler.signal('SIGCONT');
      over();
    });
  }

  /** For what a scenario does by its own means. */
  begin(what: string, node: string | null, more: Partial<Fault> = {}): OwnFault {
    const fromMs = nowMs();
    return { fromMs, end: this.#begin(what, node, { failed: false, plain: false, apart: false, ...more }) };
  }

  /** It stands still for as long as its preload `stall` was told, in an I/O callback. Resolves when it goes on. */
  async stallScheduler(forMs: number): Promise<void> {
    const fault = this.begin(`scheduler stalled for ${forMs} ms`, null, { apart: true });
    this.scheduler.signal('SIGUSR2');
    await this.passed(forMs);
    fault.end();
  }

  // ---- what is waited for

  node(name: string): Node {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`there is no node ${name}`);
    return node;
  }

  agent(name: string): Part {
    return this.node(name).agent;
  }

  /** What has given a sign of life since `sinceMs`. */
  alive({ tag }: Submission, sinceMs: number): Trace[] {
    return this.#testimony
      .read()
      .filter((trace) => trace.tag === tag && trace.exit === null && trace.aliveMs > sinceMs);
  }

  /** All processes of these that have not ended by their own word. */
  living(submissions: Record<string, Submission>): Trace[] {
    const tags = new Set(Object.values(submissions).map(({ tag }) => tag));
    return this.#testimony.read().filter(({ tag, exit }) => tags.has(tag) && exit === null);
  }

  traces({ tag }: Submission): Trace[] {
    return this.#testimony.read().filter((trace) => trace.tag === tag);
  }

  /** Every instance has given a sign of life since now, or has ended well, of a batch. @returns the main processes that have given one */
  async untilAlive(submission: Submission, timeoutMs = PATIENCE_MS): Promise<Trace[]> {
    const sinceMs = nowMs();
    const { tag, instances, expectation } = submission;
    return this.until(
      () => {
        const alive = this.alive(submission, sinceMs).filter(({ role }) => role === 'main');
        const done = expectation === 'completes' ? this.traces(submission).filter(hasCompleted) : [];
        const there = new Set([...alive, ...done].map(({ instance }) => instance));
        return instances.every((instance) => there.has(instance)) && alive;
      },
      `all of ${tag} live`,
      timeoutMs,
    );
  }

  async untilWorkload(
    id: string,
    test: (workload: Answer['body']) => boolean,
    what: string,
    timeoutMs = PATIENCE_MS,
  ): Promise<Answer['body']> {
    return this.until(
      async () => {
        const { status, body } = await this.get(`/workloads/${id}`).catch(() => ({ status: 0, body: null }));
        return status === 200 && test(body) && body;
      },
      what,
      timeoutMs,
    );
  }

  async untilHealthy(names: readonly string[] = this.names, timeoutMs = PATIENCE_MS): Promise<void> {
    await this.until(
      async () => {
        const { status, body } = await this.get('/nodes').catch(() => ({ status: 0, body: null }));
        if (status !== 200) return false;
        const healthy = (body.nodes as { id: string; status: string }[]).filter((node) => node.status === 'healthy');
        return names.every((name) => healthy.some(({ id }) => id === name));
      },
      `${names.join(', ')} are healthy`,
      timeoutMs,
    );
  }

  /** @param since number of events to pass over */
  async untilEvent(type: MorchEvent['type'], node?: string, since = 0, timeoutMs = PATIENCE_MS): Promise<MorchEvent> {
    const find = () => this.events.slice(since).find((event) => event.type === type && event.node === node);
    return this.until(find, node === undefined ? type : `${type} of ${node}`, timeoutMs);
  }

  /** Resolves when so much time has passed: where nothing but the time that a fault lasts is waited for. */
  async passed(ms: number): Promise<void> {
    const fromMs = nowMs();
    await this.until(() => nowMs() - fromMs >= ms, `${ms} ms have passed`, ms + PATIENCE_MS);
  }

  /** @returns whether it has ended within that time */
  async hasEnded(part: Part, withinMs: number): Promise<boolean> {
    const fromMs = nowMs();
    await this.until(() => !part.isAlive || nowMs() - fromMs >= withinMs, 'it has ended, or not');
    return !part.isAlive;
  }

  until<T>(condition: () => T | Promise<T>, what: string, timeoutMs = PATIENCE_MS) {
    return until(condition, { what, timeoutMs, everyMs: POLL_MS });
  }

  // ---- the end

  /** What was submitted and no stop of it acknowledged. */
  get wanted(): Submission[] {
    const stopped = new Set(this.#stops.map(({ tag }) => tag));
    return this.submissions.filter(({ tag }) => !stopped.has(tag));
  }

  /** Undoes all harm and waits until all that was acknowledged lives, and nothing else. @throws Error when it does not */
  async settle(): Promise<void> {
    for (const undo of [...this.#undos].reverse()) await undo();
    await this.untilHealthy();
    const wanted = new Set(this.wanted);
    for (const submission of this.submissions) {
      if (submission.expectation === 'anything') continue;
      if (wanted.has(submission)) await this.untilAlive(submission);
      await this.untilAlone(submission, wanted.has(submission) ? submission.instances : []);
    }
  }

  /** What was replaced or stopped is given the time to leave; whether it may take it is the checker's to say. */
  private untilAlone(submission: Submission, wanted: readonly string[]): Promise<true> {
    return this.until(() => {
      const alive = this.alive(submission, nowMs() - 4 * submission.everyMs - 500);
      const mains = alive.filter(({ role }) => role === 'main').map(({ instance }) => instance);
      return new Set(mains).size === mains.length && alive.every(({ instance }) => wanted.includes(instance));
    }, `of ${submission.tag} nothing lives but what is wanted, once`);
  }

  /** The history up to here. @param endMs see history.ts */
  history(endMs: number | null): History {
    return {
      originMs: this.#originMs,
      traces: this.#testimony.read({ complete: true }),
      submissions: this.submissions,
      stops: this.#stops,
      faults: this.#faults,
      verdicts: this.#verdicts,
      stallsMs: this.scheduler.loggedAtMs('the scheduler itself stood still'),
      endMs,
    };
  }

  /** The history of a world that has come to rest. */
  async finalHistory(): Promise<History> {
    const endMs = nowMs();
    const everyMs = Math.max(0, ...this.submissions.map((submission) => submission.everyMs));
    // Whoever lives has a few turns to say so.
    await this.until(() => nowMs() > endMs + 4 * everyMs + 500, 'the living have given a sign');
    return this.history(endMs);
  }

  /** Stops all that was submitted, in order, and tells what is left of it. */
  async stopAll(): Promise<string[]> {
    for (const submission of this.wanted) await this.stop(submission);
    for (const submission of this.submissions) await this.untilStopped(submission);
    const sinceMs = nowMs();
    await this.until(() => nowMs() > sinceMs + 200, 'what is left has given a sign');
    const left = this.#testimony
      .read({ complete: true })
      .filter(({ exit, aliveMs }) => exit === null && aliveMs > sinceMs);
    return left.map(({ instance, node, pid, role }) => `${instance} on ${node} (${role}, pid ${pid})`);
  }

  /** Ends everything, in whatever state it is. */
  async close(): Promise<void> {
    this.#ending.abort();
    await Promise.all(this.#parts.map((part) => part.end()));
    killAll(treesOf([...this.nodes.values()].flatMap(({ agent }) => shimsOf(agent.dataDir))));
    for (const place of Object.keys(this.options.disks ?? {})) unmountDisk(join(this.options.directory, place));
    await this.fabric.close();
  }

  /** One that is not started, on a host and a data directory of its own. */
  async addScheduler(name: string): Promise<Part> {
    const { directory, profile, flags = NO_QUARANTINE } = this.options;
    const args = ['scheduler', '--port', String(SCHEDULER_PORT), '--data-dir', join(directory, name)];
    const host = await this.fabric.addHost(name);
    return this.#part(name, host, SCHEDULER_PORT, [...args, '--profile', profile, ...flags]);
  }

  // ---- its own affairs

  async #addNode(name: string): Promise<void> {
    const host = await this.fabric.addHost(name);
    const args = [
      ...['agent', '--name', name, '--port', String(AGENT_PORT), '--advertise', `${host.address}:${AGENT_PORT}`],
      ...['--data-dir', join(this.options.directory, name), '--scheduler', `http://127.0.0.1:${this.scheduler.port}`],
      ...['--join-token-file', join(this.scheduler.dataDir, 'join.token')],
      ...['--cgroup', 'none', '--cpu-millis', String(CPU_MILLIS_OF_NODE), '--memory-bytes', '4GiB'],
      // Workloads write their testimony into the test's directory.
      ...['--label', `name=${name}`, '--run-as', 'agent'],
    ];
    const env = { MORCH_FAULT_SCHEDULER: `${this.scheduler.host.address}:${this.scheduler.port}` };
    this.nodes.set(name, { name, host, agent: this.#part(name, host, AGENT_PORT, args, env) });
  }

  #part(name: string, host: Host, port: number, args: string[], env = {}): Part {
    const { directory } = this.options;
    const part = new Part(name, host, port, join(directory, name), args, join(directory, `${name}.log`), env);
    this.#parts.push(part);
    return part;
  }

  #follow(): void {
    const take = (event: MorchEvent): void => {
      this.events.push(event);
      if (event.type.startsWith('node.') || event.type.startsWith('scheduler.'))
        this.say(`seen: ${event.type} ${event.node ?? ''} ${JSON.stringify(event.data)}`);
      const atMs = this.clocksLie ? nowMs() : bootTimeOf(event.at);
      if (event.type === 'node.lost') this.#verdicts.push({ node: event.node!, atMs, what: 'lost' });
      if (event.type === 'node.returned') this.#verdicts.push({ node: event.node!, atMs, what: 'returned' });
    };
    const { url } = this.scheduler;
    followEvents(url, () => this.scheduler.authorization, take, this.#ending.signal).catch((error) =>
      this.say(`events: ${error}`),
    );
  }

  #begin(what: string, node: string | null, kind: Pick<Fault, 'failed' | 'plain' | 'apart'>): () => void {
    const fault: Fault = { what, node, fromMs: nowMs(), toMs: null, ...kind };
    this.#faults.push(fault);
    this.say(`done: ${what}${node === null ? '' : `, ${node}`}`);
    return () => {
      if (fault.toMs !== null) return;
      fault.toMs = nowMs();
      this.say(`over: ${what}${node === null ? '' : `, ${node}`}`);
    };
  }

  #undo(undo: Undo): Undo {
    const once = async (): Promise<void> => {
      if (this.#undos.delete(once)) await undo();
    };
    this.#undos.add(once);
    return once;
  }
}

/** Part of a spec: for this node only. */
export function onNode(name: string): Record<string, unknown> {
  return { placement: { constraints: [{ label: 'name', op: 'in', values: [name] }] } };
}

function commandOf(options: WorkloadOptions, directory: string): string[] {
  const { everyMs = 25, runMs, code, lingerMs, outputBytes, deaf = false, child = false } = options;
  return [
    fixture('witness'),
    ...['-e', String(everyMs)],
    ...(runMs === undefined ? [] : ['-r', String(runMs)]),
    ...(code === undefined ? [] : ['-c', String(code)]),
    ...(lingerMs === undefined ? [] : ['-l', String(lingerMs)]),
    ...(outputBytes === undefined ? [] : ['-o', String(outputBytes)]),
    ...(deaf ? ['-d'] : []),
    ...(child ? ['-k'] : []),
    directory,
  ];
}

function isTerminal(status: string): boolean {
  return status === 'stopped' || status === 'completed' || status === 'failed';
}

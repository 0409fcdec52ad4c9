/**
 * The processes of `morch dev`: starts the scheduler and the agents, waits until all nodes are healthy, starts
 * again what dies, stops all in order. Used by commands/dev.ts.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { request } from 'undici';
import type { Node } from '../../contract/node';
import { Client } from '../client';
import type { Credential } from '../context';
import { say } from '../output';
import { measureMachine, shareOut } from './machine';
import { type Death, Part, type PartPlan } from './part';
import { portTrouble } from './ports';

const HOST = '127.0.0.1';
const UP_WITHIN_MS = 60_000;
const READY_WITHIN_MS = 20_000;
const RESTART_AFTER_MS = 1_000;
/** Longer than a verdict takes: who kills an agent sees its workloads move to the others first. */
const KILLED_AGENT_RESTART_AFTER_MS = 10_000;
const LONGEST_RESTART_MS = 30_000;
/** A part that lives this long has not died at once. */
const SETTLED_MS = 10_000;

export interface ClusterPlan {
  agents: number;
  port: number;
  dataDir: string;
  /** Whether the parts ask their callers for tokens. */
  auth: boolean;
  allowedHosts: readonly string[];
}

export class Cluster {
  readonly address: string;
  readonly logDir: string;
  private readonly scheduler: Part;
  private readonly agents: Part[];
  private readonly restarts = new Map<Part, { timer: NodeJS.Timeout | undefined; delayMs: number }>();
  private phase: 'starting' | 'up' | 'stopping' = 'starting';
  private failure: Error | undefined;

  constructor(private readonly plan: ClusterPlan) {
    this.address = `http://${HOST}:${plan.port}`;
    this.logDir = path.join(plan.dataDir, 'logs');
    const onDeath = (part: Part, death: Death) => this.takeDeath(part, death);
    const [scheduler, ...agents] = planParts(plan, this.address, this.logDir).map((p) => new Part(p, onDeath));
    if (scheduler === undefined) throw new Error('no scheduler planned');
    this.scheduler = scheduler;
    this.agents = agents;
  }

  /** Name, port and pid of each part, the scheduler first. */
  get parts(): { name: string; port: number; pid: number | undefined }[] {
    return [this.scheduler, ...this.agents].map(({ plan, pid }) => ({ name: plan.name, port: plan.port, pid }));
  }

  /**
   * @returns true when every node is healthy, false when it was stopped meanwhile
   * @throws Error what kept it from coming up; the caller is to stop it
   */
  async start(): Promise<boolean> {
    await this.demandPorts();
    if (this.isStopping()) return false;
    say(`starting the scheduler on ${this.address}`);
    this.scheduler.start();
    await this.until(READY_WITHIN_MS, 'the scheduler to answer', () => isReady(this.scheduler.plan.port));
    if (this.isStopping()) return false;
    say(`starting ${this.agents.length === 1 ? 'agent' : 'agents'} ${this.agents.map((a) => a.plan.name).join(', ')}`);
    for (const agent of this.agents) agent.start();
    const healthy = new Set<string>();
    const client = new Client({ address: { url: this.address, source: 'default' }, credentials: this.credentials() });
    await this.until(UP_WITHIN_MS, 'all nodes to be healthy', async () => {
      for (const node of await client.list<Node>('/nodes', 'nodes').catch(() => [])) {
        const ours = this.agents.some((agent) => agent.plan.name === node.id && agent.plan.port === node.port);
        if (!ours || node.status !== 'healthy' || healthy.has(node.id)) continue;
        healthy.add(node.id);
        say(`node ${node.id} is healthy (${healthy.size} of ${this.agents.length})`);
      }
      return healthy.size === this.agents.length;
    });
    if (this.isStopping()) return false;
    await this.forgetOthers(client);
    this.phase = 'up';
    return true;
  }

  get adminTokenFile(): string {
    return path.join(this.plan.dataDir, 'scheduler', 'admin.token');
  }

  /** The scheduler has written its token before it serves. */
  private credentials(): Credential[] {
    const source = this.adminTokenFile;
    return this.plan.auth ? [{ token: readFileSync(source, 'utf8').trim(), source }] : [];
  }

  /** Agents of an earlier run with more of them never come back: their nodes would count as lost for ever. */
  private async forgetOthers(client: Client): Promise<void> {
    const ours = new Set(this.agents.map((agent) => agent.plan.name));
    for (const { id, status } of await client.list<Node>('/nodes', 'nodes')) {
      if (ours.has(id) || status === 'healthy') continue;
      await client.delete(`/nodes/${id}`, { force: true });
      say(`node ${id} of an earlier run is forgotten`);
    }
  }

  private isStopping(): boolean {
    return this.phase === 'stopping';
  }

  /** The scheduler first, which leaves workloads alone, then the agents, which stop theirs. */
  async stop(): Promise<void> {
    const wasUp = this.phase === 'up';
    this.phase = 'stopping';
    for (const { timer } of this.restarts.values()) clearTimeout(timer);
    if (this.scheduler.isAlive) {
      say('stopping the scheduler');
      await this.scheduler.stop();
    }
    if (wasUp) await this.reviveDeadAgents();
    const living = this.agents.filter((agent) => agent.isAlive);
    if (living.length > 0)
      say(`stopping the agents with their workloads: ${living.map((a) => a.plan.name).join(', ')}`);
    await Promise.all(living.map((agent) => agent.stop().then(() => say(`${agent.plan.name} has stopped`))));
  }

  /** For a second Ctrl-C. */
  describeLiving(): string {
    const living = [this.scheduler, ...this.agents].filter((part) => part.isAlive);
    return living.map((part) => `${part.plan.name} (pid ${part.pid})`).join(', ') || 'nothing any more';
  }

  /**
   * An agent that was killed just now may have left processes of its workloads. Only an agent finds them, so it is
   * started once more.
   */
  private async reviveDeadAgents(): Promise<void> {
    const dead = this.agents.filter((agent) => !agent.isAlive);
    await Promise.all(
      dead.map(async (agent) => {
        say(`starting ${agent.plan.name} once more, so that it stops what its workloads left`);
        agent.start();
        const endAtMs = Date.now() + READY_WITHIN_MS;
        // Its handler for SIGTERM is there only once it serves.
        while (agent.isAlive && Date.now() < endAtMs && !(await isReady(agent.plan.port))) await sleep(50);
      }),
    );
  }

  private takeDeath(part: Part, death: Death): void {
    const { name } = part.plan;
    if (this.isStopping()) return;
    if (this.phase === 'starting') {
      const words = part.lastWords().map((line) => `\n  ${line}`);
      this.failure ??= new Error(
        `${name} did not start (${death.how}):${words.join('')}\nIts log: ${part.plan.logFile}`,
      );
      return;
    }
    const before = this.restarts.get(part)?.delayMs ?? 0;
    const soon = part === this.scheduler || death.inOrder;
    const firstMs = soon ? RESTART_AFTER_MS : KILLED_AGENT_RESTART_AFTER_MS;
    const delayMs = nextRestartDelayMs(before, death.ranMs, firstMs);
    say(`${name} (pid ${death.pid}) died: ${death.how}; starting it again in ${delayMs / 1_000} s`);
    const timer = setTimeout(() => {
      part.start();
      say(`${name} is started again (pid ${part.pid})`);
    }, delayMs);
    this.restarts.set(part, { timer, delayMs });
  }

  private async demandPorts(): Promise<void> {
    const last = this.plan.port + this.plan.agents;
    for (const { plan } of [this.scheduler, ...this.agents]) {
      const trouble = await portTrouble(plan.port, HOST);
      if (trouble === undefined) continue;
      const why = trouble === 'EADDRINUSE' ? 'is in use' : `cannot be listened on (${trouble})`;
      throw new Error(
        `port ${plan.port}, meant for ${plan.name}, ${why}. \`morch dev\` takes the ports ${this.plan.port} to ${last}: ` +
          'name another first one with --port, or end what uses it (an earlier `morch dev` may still be stopping).',
      );
    }
  }

  private async until(timeoutMs: number, what: string, isTrue: () => Promise<boolean>): Promise<void> {
    const endAtMs = Date.now() + timeoutMs;
    for (;;) {
      if (this.failure !== undefined) throw this.failure;
      if (this.isStopping() || (await isTrue())) return;
      if (Date.now() > endAtMs) {
        throw new Error(`waited ${timeoutMs / 1_000} s in vain for ${what}; the logs are in ${this.logDir}`);
      }
      await sleep(50);
    }
  }
}

/** Pure. `firstMs`, and twice as long each time it dies at once. */
export function nextRestartDelayMs(previousMs: number, ranMs: number, firstMs: number): number {
  if (previousMs === 0 || ranMs >= SETTLED_MS) return firstMs;
  return Math.min(previousMs * 2, LONGEST_RESTART_MS);
}

/** Pure but for the machine's size. The scheduler's plan, then each agent's. */
function planParts(
  { agents, port, dataDir, auth, allowedHosts }: ClusterPlan,
  address: string,
  logDir: string,
): PartPlan[] {
  const share = shareOut(measureMachine(), agents);
  const logFile = (name: string) => path.join(logDir, `${name}.log`);
  const listen = (name: string, at: number) => [
    '--host',
    HOST,
    '--port',
    String(at),
    '--data-dir',
    path.join(dataDir, name),
    ...(auth ? [] : ['--no-auth']),
    ...allowedHosts.flatMap((host) => ['--allowed-host', host]),
  ];
  const scheduler = {
    name: 'scheduler',
    port,
    args: ['scheduler', ...listen('scheduler', port)],
    logFile: logFile('scheduler'),
  };
  const plans = Array.from({ length: agents }, (_, at): PartPlan => {
    const name = `n${at + 1}`;
    const amounts = ['--cpu-millis', String(share.cpuMillis), '--memory-bytes', String(share.memoryBytes)];
    return {
      name,
      port: port + at + 1,
      args: [
        'agent',
        ...listen(name, port + at + 1),
        '--scheduler',
        address,
        '--join-token-file',
        path.join(dataDir, 'scheduler', 'join.token'),
        '--name',
        name,
        '--on-exit',
        'stop',
        // On one's own machine a workload is who has submitted it.
        '--run-as',
        'agent',
        ...amounts,
      ],
      logFile: logFile(name),
    };
  });
  return [scheduler, ...plans];
}

async function isReady(port: number): Promise<boolean> {
  try {
    const answer = await request(`http://${HOST}:${port}/livez`, { headersTimeout: 2_000 });
    await answer.body.dump();
    return answer.statusCode === 200;
  } catch {
    return false;
  }
}

/**
 * An agent in the hands of somebody else, who knows all that it knew and speaks in its place: what it tells of instances on
 * the other node is not believed, and nothing happens there.
 */

import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import path from 'node:path';
import { type WebSocket, WebSocketServer } from 'ws';
import type { AgentMessage, AgentStatus, HelloMessage, InstanceReport } from '../../contract/agentApi';
import { isAlive } from '../support/agent';
import { Cluster, end } from '../support/cluster';
import { until } from '../support/until';

jest.setTimeout(60_000);

/** Listens where the agent did, under its name and key, and answers what keeps its scheduler content. */
class Liar {
  readonly asked: string[] = [];
  readonly said: { type: string }[] = [];
  private socket: WebSocket | undefined;
  private beating: NodeJS.Timeout | undefined;
  private n = 0;
  private readonly server: Server;

  constructor(
    private readonly status: AgentStatus,
    private readonly inventory: InstanceReport[],
  ) {
    this.server = createServer((request, response) => {
      this.asked.push(`${request.method} ${request.url}`);
      response.setHeader('content-type', 'application/json');
      if (request.method === 'POST') {
        request.resume();
        response.end(JSON.stringify({ results: [] }));
      } else response.end(JSON.stringify({ ...this.status, processes: [] }));
    });
    new WebSocketServer({ server: this.server }).on('connection', (socket) => this.greet(socket));
  }

  listen(port: number): Promise<void> {
    return new Promise((resolve) => this.server.listen(port, '127.0.0.1', () => resolve()));
  }

  tell(message: AgentMessage): void {
    this.socket!.send(JSON.stringify(message));
  }

  close(): void {
    clearInterval(this.beating);
    this.socket?.terminate();
    this.server.closeAllConnections();
    this.server.close();
  }

  private greet(socket: WebSocket): void {
    this.socket = socket;
    socket.on('message', (data) => this.said.push(JSON.parse(String(data))));
    const { name, nodeKey, incarnation, bootId, version, features, labels, capacity } = this.status;
    const known = { name, nodeKey, incarnation, bootId, version, features, labels, capacity };
    const hello: HelloMessage = {
      type: 'hello',
      ...known,
      mark: 0,
      furthest: null,
      leaseMs: 0,
      instances: this.inventory,
    };
    this.tell(hello);
    clearInterval(this.beating);
    this.beating = setInterval(() => {
      this.n += 1;
      const digest = { instances: 0, live: 0 };
      const usage: [string, number, number, number][] = [['web.0', 1, 99, 666_000_000]];
      this.tell({ type: 'heartbeat', n: this.n, incarnation, bootId, system: this.status.system, digest, usage });
    }, 200);
  }
}

let cluster: Cluster;
let liar: Liar | undefined;
beforeAll(async () => {
  cluster = await Cluster.start(2);
});
afterAll(async () => {
  liar?.close();
  await cluster?.close();
});

test('what it tells of an instance on another node changes nothing of it, nor of what is known of it', async () => {
  const command = ['/bin/sh', '-c', 'echo honest; exec sleep 600'];
  const spec = { kind: 'service', replicas: 2, command, stop: { graceMs: 100 } };
  // Of this one the other node's instance would be believed dead, or ended for good, if a lie could do it.
  await cluster.submit({ id: 'web', ...spec });
  await cluster.submit({ id: 'fenced', ...spec, onDisconnect: 'stop' });
  const running = await Promise.all([cluster.untilRunning('web', 2), cluster.untilRunning('fenced', 2)]);
  const honest = running.map(({ uid, instances }) => ({ uid, instance: instances.find(({ node }) => node === 'n1')! }));
  const { port, dataDir, child } = cluster.agents.get('n2')!;
  const token = (await readFile(path.join(dataDir, 'agent.token'), 'utf8')).trim();
  const asked = await fetch(`http://127.0.0.1:${port}/status`, { headers: { authorization: `Bearer ${token}` } });
  const { processes = [], ...status } = (await asked.json()) as AgentStatus;
  await end(child, 'SIGKILL');

  const own = processes.map(({ cpuPercent: _, memoryBytes: __, ...report }) => report as InstanceReport);
  const lies = honest.flatMap(({ uid, instance }) => {
    const { id, generation } = instance;
    const base: InstanceReport = {
      ...own.find((one) => one.uid === uid)!,
      ...{ uid, slot: id.split('.')[1]!, instanceId: id, generation, run: 9, rev: 999 },
    };
    const exit = { code: 0, signal: null, at: new Date().toISOString(), oomKilled: false };
    const over = { pid: null, shimPid: null, exit };
    return [
      { ...base, ...over, status: 'completed' as const },
      { ...base, ...over, status: 'failed' as const, lost: true, statusReason: 'forged' },
      { ...base, ...over, status: 'stopped' as const },
      { ...base, status: 'running' as const, pid: 1, shimPid: 1 },
      { ...base, status: 'running' as const, generation: generation + 1_000 },
      { ...base, ...over, status: 'stopped' as const, generation: generation + 1_000 },
    ];
  });
  liar = new Liar(status, [...own, ...lies]);
  await liar.listen(port);
  const { said } = liar;
  await until(() => said.some(({ type }) => type === 'session'), { timeoutMs: 20_000, what: 'it is taken for n2' });
  for (const lie of lies) liar.tell({ type: 'instance', instance: lie });
  liar.tell({
    type: 'tails',
    instances: honest.map(({ uid, instance: { id, generation } }) => [
      uid,
      id.split('.')[1]!,
      generation,
      1,
      'forged\n',
      '',
    ]),
  });
  const told = said.length;
  await until(() => said.length > told + 15, { timeoutMs: 20_000, what: 'all of it has been heard' });

  for (const { instance } of honest) {
    const workload = await cluster.workload(instance.id.split('.')[0]!);
    const now = workload.instances.find(({ id }) => id === instance.id)!;
    const { generation, run, status: is, node, pid, attempts, exit } = now;
    const { generation: was, attempts: had } = instance;
    expect({ generation, run, is, node, pid, attempts, exit }).toEqual({
      ...{ generation: was, run: 1, is: 'running', node: 'n1', pid: instance.pid, attempts: had, exit: null },
    });
    expect(now.usage?.memoryBytes ?? 0).toBeLessThan(666_000_000);
    expect(isAlive(instance.pid!)).toBe(true);
    expect(workload.instances).toHaveLength(2);
  }
  expect((await cluster.request('GET', '/nodes/n1')).body).toMatchObject({ status: 'healthy' });

  // When that instance is lost indeed, what is kept of it is what its own node has told.
  await cluster.killNode('n1');
  await cluster.untilNode('n1', 'lost', 30_000);
  for (const { instance } of honest) {
    const id = instance.id.split('.')[0]!;
    const text = await until(
      async () => {
        const { body } = await cluster.request('GET', `/workloads/${id}/blackbox?instance=${instance.id}`);
        return (body.records as object[]).length > 0 && JSON.stringify(body);
      },
      { timeoutMs: 20_000, what: 'it is on record' },
    );
    expect(text).not.toContain('forged');
    expect(text).toContain('honest');
  }
});

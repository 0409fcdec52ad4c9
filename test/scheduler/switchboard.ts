/**
 * An address behind which agents come and go, on a real port: the status of whichever agent answers there now, and a
 * WebSocket that stays with the agent it was made to. It stands for a forwarded port, which no test can have without root.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import type { AgentStatus } from '../../contract/agentApi';

const USAGE = { cpuPercent: 0, memoryPercent: 0, loadAverage: [0, 0, 0] };
const SYSTEM = { ...USAGE, memoryTotalBytes: 1, memoryAvailableBytes: 1, cpuCount: 1 } as AgentStatus['system'];
const HEARTBEAT_MS = 20;

interface Line {
  nodeKey: string;
  socket: WebSocket;
  acks: number;
}

export class Switchboard {
  /** Who answers. */
  nodeKey = 'first';
  /** Whether who answers does so over HTTP. */
  answers = true;
  readonly lines: Line[] = [];

  private constructor(
    private readonly server: Server,
    private readonly sockets: WebSocketServer,
  ) {}

  static async open(): Promise<Switchboard> {
    const server = createServer((request, response) => {
      if (board.answers && request.url?.startsWith('/status')) response.end(JSON.stringify(board.status()));
    });
    const sockets = new WebSocketServer({ server });
    const board = new Switchboard(server, sockets);
    sockets.on('connection', (socket) => board.connected(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return board;
  }

  get address(): { host: string; port: number } {
    return { host: '127.0.0.1', port: (this.server.address() as AddressInfo).port };
  }

  close(): void {
    for (const { socket } of this.lines) socket.terminate();
    this.sockets.close();
    this.server.close();
    this.server.closeAllConnections();
  }

  private identity() {
    const { nodeKey } = this;
    const capacity = { cpuMillis: 1_000, memoryBytes: 2 ** 30 };
    return { name: 'n1', version: '0', nodeKey, incarnation: nodeKey, bootId: 'b', features: [], labels: {}, capacity };
  }

  private status(): AgentStatus {
    const startedAt = new Date(0).toISOString();
    return {
      ...this.identity(),
      clusterId: null,
      epoch: 0,
      term: null,
      hasSession: false,
      standing: null,
      startedAt,
      system: SYSTEM,
    };
  }

  private connected(socket: WebSocket): void {
    const line: Line = { nodeKey: this.nodeKey, socket, acks: 0 };
    this.lines.push(line);
    socket.send(JSON.stringify({ type: 'hello', ...this.identity(), instances: [] }));
    let n = 0;
    const digest = { instances: 0, live: 0 };
    const timer = setInterval(() => {
      n += 1;
      const { incarnation, bootId } = this.identity();
      socket.send(JSON.stringify({ type: 'heartbeat', n, incarnation, bootId, system: SYSTEM, digest }));
    }, HEARTBEAT_MS);
    socket.on('message', (data) => {
      if (JSON.parse(data.toString()).type === 'ack') line.acks += 1;
    });
    socket.on('close', () => clearInterval(timer));
  }
}

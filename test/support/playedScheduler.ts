/** Stands for a scheduler towards one agent: begins the session, acknowledges heartbeats, and tells what a command has to say. */
import type { AgentMessage, SchedulerMessage } from '../../contract/agentApi';
import type { Connection, TestAgent } from './agent';
import { until } from './until';

export interface PlayedTimes {
  heartbeatMs: number;
  leaseMs: number;
  startWithinMs: number;
}

const TIMES: PlayedTimes = { heartbeatMs: 100, leaseMs: 10_000, startWithinMs: 4_000 };

// Leaves room for earlier ones.
let lastSession = 10;

export class PlayedScheduler {
  /** Acknowledges what it hears. */
  acknowledges = true;

  private constructor(
    readonly connection: Connection,
    /** Of the commands in this session. */
    readonly claim: { clusterId: string; epoch: number; session: number },
  ) {}

  /** Connects, and begins a session once the inventory is there. */
  static async connect(
    agent: TestAgent,
    cluster: { clusterId?: string; epoch?: number } = {},
    times: Partial<PlayedTimes> = {},
  ): Promise<PlayedScheduler> {
    const scheduler = await PlayedScheduler.hearInventory(agent, cluster);
    await scheduler.beginSession(times);
    return scheduler;
  }

  /** Connects and hears the inventory; the session is still to begin. */
  static async hearInventory(
    agent: TestAgent,
    { clusterId = 'c1', epoch = 1 }: { clusterId?: string; epoch?: number } = {},
  ): Promise<PlayedScheduler> {
    const connection = await agent.connect(`?clusterId=${clusterId}&epoch=${epoch}`);
    await until(() => connection.of('hello').length > 0, { what: 'the inventory is there' });
    lastSession += 1;
    const scheduler = new PlayedScheduler(connection, { clusterId, epoch, session: lastSession });
    connection.socket.on('message', (data) => scheduler.hear(JSON.parse(data.toString())));
    return scheduler;
  }

  async beginSession(times: Partial<PlayedTimes> = {}): Promise<void> {
    this.send({ type: 'session', session: this.claim.session, ...TIMES, ...times });
    await this.untilHeard();
  }

  /** Messages are heard in order: what was said before is heard by now. */
  async untilHeard(): Promise<void> {
    const heard = this.connection.of('heartbeat').length;
    await until(() => this.connection.of('heartbeat').length > heard + 1, { what: 'the agent has heard' });
  }

  send(message: SchedulerMessage): void {
    this.connection.socket.send(JSON.stringify(message));
  }

  close(): void {
    this.connection.close();
  }

  private hear(message: AgentMessage): void {
    if (message.type === 'heartbeat' && this.acknowledges) this.send({ type: 'ack', n: message.n });
  }
}

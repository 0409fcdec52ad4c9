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
    { clusterId = 'c1', epoch = 1 }: { clusterId?: string; epoch?: number } = {},
    times: Partial<PlayedTimes> = {},
  ): Promise<PlayedScheduler> {
    const connection = await agent.connect(`?clusterId=${clusterId}&epoch=${epoch}`);
    await until(() => connection.of('hello').length > 0, { what: 'the inventory is there' });
    lastSession += 1;
    const scheduler = new PlayedScheduler(connection, { clusterId, epoch, session: lastSession });
    connection.socket.on('message', (data) => scheduler.hear(JSON.parse(data.toString())));
    scheduler.send({ type: 'session', session: lastSession, ...TIMES, ...times });
    // Heartbeats come in order: with this one the session is there.
    const heard = connection.of('heartbeat').length;
    await until(() => connection.of('heartbeat').length > heard + 1, { what: 'the session has begun' });
    return scheduler;
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

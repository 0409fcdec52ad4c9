/** Asks one server exactly what it is told to: paths as they are, bodies as text, many at a time. */
import { Pool } from 'undici';
import type { TestAgent } from '../support/agent';
import type { Cluster } from '../support/cluster';

export interface Asked {
  method: string;
  path: string;
  /** A string goes as it is, anything else as JSON. */
  body?: unknown;
  headers?: Record<string, string>;
}

export interface Told {
  status: number;
  text: string;
}

/** Requests under way at a time. */
const AT_ONCE = 12;

export class Asker {
  private readonly pool: Pool;

  /** @param headers of every request */
  constructor(
    readonly address: string,
    private readonly headers: Record<string, string> = {},
  ) {
    this.pool = new Pool(address, { connections: AT_ONCE });
  }

  static ofScheduler(cluster: Cluster): Asker {
    return new Asker(cluster.url, { authorization: `Bearer ${cluster.tokens.admin}` });
  }

  static ofAgent(agent: TestAgent): Asker {
    return new Asker(agent.address, { authorization: `Bearer ${agent.token}` });
  }

  /** A stream of events is not read to its end, as it has none. */
  async ask({ method, path, body, headers }: Asked): Promise<Told> {
    const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const type = text === undefined ? {} : { 'content-type': 'application/json' };
    const answer = await this.pool.request({
      method: method as 'GET',
      path,
      headers: { ...this.headers, ...type, ...headers },
      body: text ?? null,
    });
    if (answer.headers['content-type']?.includes('event-stream')) {
      answer.body.on('error', () => {}).destroy();
      return { status: answer.statusCode, text: '' };
    }
    return { status: answer.statusCode, text: await answer.body.text() };
  }

  /** @param one is told which of those at a time it is */
  async askAll<T>(items: readonly T[], one: (item: T, worker: number) => Promise<void>): Promise<void> {
    const rest = items.values();
    const work = async (_: unknown, worker: number) => {
      for (const item of rest) await one(item, worker);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }

  async serves(): Promise<boolean> {
    return (await this.ask({ method: 'GET', path: '/livez' })).status === 200;
  }

  close(): Promise<void> {
    return this.pool.destroy();
  }
}

/** Where agents are, and commands to one over HTTP, over a small pool of connections. */
import type { buildConnector, Pool } from 'undici';
import { z } from 'zod';
import {
  type KeptInstance,
  keptInstancesSchema,
  type Started,
  type StopBatch,
  startedSchema,
} from '../contract/agentApi';
import type { DrillCommand } from '../contract/drill';
import { errorOfProblem, MorchError, type Problem, problemSchema } from '../contract/errors';
import { connectorOf } from '../pki/connector';
import { connectionOf, type NodeConnection } from './tls/nodeConnection';

/** For a connection to an agent, TLS included. */
const CONNECT_MS = 2_000;

/** Where an agent is, and what it asks of whoever calls it. */
export interface AgentAddress {
  host: string;
  port: number;
  /** None for one that asks for none. */
  token?: string | undefined;
  /** None for one that speaks plain HTTP. */
  tls?: AgentTls | undefined;
}

/** How an agent that speaks TLS is known, and what it knows its scheduler by. One for each node. */
export interface AgentTls {
  /** Asked for each connection: certificates change. */
  connection(): NodeConnection;
  /** Of a connection made with them, to resume. */
  keepSession(session: Uint8Array, begun: Pick<NodeConnection, 'cert'>): void;
}

export function isSameAddress(a: AgentAddress, b: AgentAddress): boolean {
  return a.host === b.host && a.port === b.port && a.token === b.token && a.tls === b.tls;
}

export function credentialsFor({ token }: AgentAddress): { authorization?: string } {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

/** An IPv6 address in brackets, as URLs want it. */
export function urlHost(address: AgentAddress): string {
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

export function agentUrl(address: AgentAddress, scheme: 'http' | 'ws' = 'http'): string {
  return `${scheme}${address.tls === undefined ? '' : 's'}://${urlHost(address)}`;
}

/** It takes a while to load, which a start of the scheduler is not to wait for. */
export const undici = () => require('undici') as typeof import('undici');

/** For undici. */
export function connectorFor({ tls }: AgentAddress): buildConnector.connector {
  return connectorOf(tls === undefined ? null : () => connectionOf(tls.connection()), CONNECT_MS);
}

export type BatchAnswer<T> = { ok: true; value: T } | { ok: false; error: MorchError };

export class AgentClient {
  #pool: Pool | null = null;

  constructor(readonly address: AgentAddress) {}

  /** Made with the first command: few of a large fleet's nodes are told anything for hours. */
  private get pool(): Pool {
    this.#pool ??= new (undici().Pool)(agentUrl(this.address), {
      connections: 8,
      connect: connectorFor(this.address),
    });
    return this.#pool;
  }

  /** @param commands JSON of a `StartInstance` each. One answer per command, in their order. @throws MorchError NODE_UNREACHABLE when it is not known what came of them */
  start(commands: readonly string[], timeoutMs: number): Promise<BatchAnswer<Started>[]> {
    return this.batch('/start', commands, timeoutMs, startedSchema);
  }

  /** Begins to stop; what comes of it arrives on the event connection. @throws like `start` */
  stop(instances: StopBatch['instances'], timeoutMs: number): Promise<BatchAnswer<unknown>[]> {
    const commands = instances.map((one) => JSON.stringify(one));
    return this.batch('/stop', commands, timeoutMs, z.unknown());
  }

  /** Resolves when it is about to begin. @throws MorchError as the agent answers; NODE_UNREACHABLE as for `start` */
  async drill(command: DrillCommand, timeoutMs: number): Promise<void> {
    await this.post('/drill', JSON.stringify(command), timeoutMs, 202);
  }

  /** What the agent was told to run. @throws MorchError NODE_UNREACHABLE, or what the agent refuses with */
  async kept({ clusterId, epoch }: { clusterId: string; epoch: number }, timeoutMs: number): Promise<KeptInstance[]> {
    const query = new URLSearchParams({ clusterId, epoch: String(epoch) });
    const { body, statusCode } = await this.pool.request({
      method: 'GET',
      path: `/instances?${query}`,
      headers: credentialsFor(this.address),
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    });
    const answer: unknown = await body.json();
    if (statusCode !== 200) throw problemError(answer, statusCode);
    return keptInstancesSchema.parse(answer).instances;
  }

  /** @throws MorchError NODE_UNREACHABLE */
  async metrics(timeoutMs: number): Promise<string> {
    try {
      const { body, statusCode } = await this.pool.request({
        method: 'GET',
        path: '/metrics',
        headers: credentialsFor(this.address),
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
      });
      const text = await body.text();
      if (statusCode === 200) return text;
      throw new Error(`it answered ${statusCode}`);
    } catch (cause) {
      const detail = `The agent at ${urlHost(this.address)} does not tell its metrics: ${String(cause)}`;
      throw new MorchError('NODE_UNREACHABLE', detail, { cause });
    }
  }

  private async batch<T>(
    path: string,
    commands: readonly string[],
    timeoutMs: number,
    answerSchema: z.ZodType<T>,
  ): Promise<BatchAnswer<T>[]> {
    const { results } = (await this.post(path, `{"instances":[${commands.join(',')}]}`, timeoutMs, 200)) as {
      results?: unknown;
    };
    const answers = Array.isArray(results) ? results.map((result) => answerOf(result, answerSchema)) : [];
    if (answers.length !== commands.length || answers.includes(null)) {
      throw new MorchError(
        'NODE_UNREACHABLE',
        `The agent at ${urlHost(this.address)} answered ${path} in a form that is not known.`,
      );
    }
    return answers as BatchAnswer<T>[];
  }

  /** @returns the body of an answer of that status; another one is a problem */
  private async post(path: string, command: string, timeoutMs: number, expectedStatus: number): Promise<unknown> {
    try {
      const response = await this.pool.request({
        method: 'POST',
        path,
        headers: { 'content-type': 'application/json', ...credentialsFor(this.address) },
        body: command,
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
      });
      const body = await response.body.json();
      if (response.statusCode !== expectedStatus) throw problemError(body, response.statusCode);
      return body;
    } catch (error) {
      if (error instanceof MorchError) throw error;
      throw new MorchError(
        'NODE_UNREACHABLE',
        `The agent at ${urlHost(this.address)} did not answer: ${String(error)}`,
        {
          cause: error,
        },
      );
    }
  }

  async close(): Promise<void> {
    await this.#pool?.destroy();
  }
}

function answerOf<T>(result: unknown, schema: z.ZodType<T>): BatchAnswer<T> | null {
  const problem = mayBeProblem(result) ? problemSchema.safeParse(result) : null;
  if (problem?.success) return { ok: false, error: errorOfProblem(problem.data) };
  const answer = schema.safeParse(result);
  return answer.success ? { ok: true, value: answer.data } : null;
}

/** Most answers are none, and what zod finds wrong with each of them costs more than all else that is done with it. */
function mayBeProblem(result: unknown): boolean {
  return typeof result === 'object' && result !== null && 'code' in result;
}

function problemError(body: unknown, status: number): MorchError {
  const problem = problemSchema.safeParse(body);
  if (problem.success) return errorOfProblem(problem.data as Problem);
  return new MorchError('NODE_UNREACHABLE', `The agent answered ${status}`);
}

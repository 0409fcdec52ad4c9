/**
 * A small HTTP server with the scheduler's routes whose answers a test sets. It stands in for the real scheduler
 * where a test of the command line needs states that cannot be brought about at will: a lost answer, a node that
 * is silent while logs are read, an exit by a certain signal. The real thing is in dev.test.ts.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MorchError, problemOf } from '../../contract/errors';
import type { Node } from '../../contract/node';
import type { Workload } from '../../contract/workload';

export interface Seen {
  method: string;
  url: string;
  headers: IncomingMessage['headers'];
  body: unknown;
}

export type Handler = (seen: Seen, response: ServerResponse) => unknown;

export class FakeScheduler {
  readonly workloads = new Map<string, Workload>();
  readonly nodes = new Map<string, Node>();
  readonly seen: Seen[] = [];
  /** `POST /workloads` → what answers instead of the default; returns a body, or writes to the response itself. */
  readonly handlers = new Map<string, Handler>();
  private readonly server = createServer((request, response) => void this.answer(request, response));

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
  }

  get address(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  reset(): void {
    this.workloads.clear();
    this.nodes.clear();
    this.handlers.clear();
    this.seen.length = 0;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const { method = '', url = '', headers } = request;
    const seen = { method, url, headers, body: text === '' ? undefined : (JSON.parse(text) as unknown) };
    this.seen.push(seen);
    try {
      const handler = this.handlers.get(`${method} ${url.split('?')[0]}`);
      const body = handler === undefined ? this.answerByDefault(seen) : handler(seen, response);
      if (body === undefined || response.writableEnded || response.destroyed) return;
      const status = method === 'POST' && url === '/workloads' ? 201 : 200;
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    } catch (error) {
      const problem = problemOf(error);
      response.writeHead(problem.status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem));
    }
  }

  private answerByDefault({ method, url }: Seen): unknown {
    const { pathname, searchParams } = new URL(url, 'http://fake');
    const [, list = '', id] = pathname.split('/');
    if (method === 'GET' && list === 'workloads') {
      return id === undefined ? page('workloads', [...this.workloads.values()], searchParams) : this.workload(id);
    }
    if (method === 'GET' && list === 'nodes') {
      if (id === undefined) return page('nodes', [...this.nodes.values()], searchParams);
      const node = this.nodes.get(id);
      if (node === undefined) throw new MorchError('NODE_NOT_FOUND', `There is no node ${id}`);
      return { ...node, instances: [] };
    }
    throw new MorchError('NOT_FOUND', `${method} ${url} has no answer in this test`);
  }

  private workload(id: string): Workload {
    const workload = this.workloads.get(id);
    if (workload === undefined) throw new MorchError('WORKLOAD_NOT_FOUND', `There is no workload ${id}`);
    return workload;
  }
}

/** Two to a page, whatever limit was asked for, so that cursors have to be followed. */
function page(key: string, items: readonly unknown[], query: URLSearchParams): unknown {
  const start = Number(query.get('cursor') ?? 0);
  const end = start + 2;
  return { [key]: items.slice(start, end), nextCursor: end < items.length ? String(end) : null };
}

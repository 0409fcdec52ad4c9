/**
 * The log route of an agent on a real port, over texts that a test writes. It stands in for the agent because the
 * tests of the log proxy need one that breaks off, hangs or refuses at a given byte.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

interface Output {
  bytes: Buffer;
  mayGrow: boolean;
}

export class FakeAgent {
  readonly requests: string[] = [];
  /** How many answers are under way. */
  open = 0;
  /** Answered instead of any output. */
  status: number | undefined;
  /** Accepts and never answers. */
  hangs = false;
  readonly #outputs = new Map<string, Output>();
  readonly #server: Server;
  readonly #changed = new Set<() => void>();

  private constructor() {
    this.#server = createServer((req, res) => void this.#answer(req, res));
  }

  static async start(port = 0): Promise<FakeAgent> {
    const agent = new FakeAgent();
    await new Promise<void>((resolve) => agent.#server.listen(port, '127.0.0.1', resolve));
    return agent;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  node(id: string, reachable = true) {
    return { id, host: '127.0.0.1', port: this.port, reachable };
  }

  write(instanceId: string, text: string | Buffer, mayGrow = false): void {
    const before = this.#outputs.get(instanceId)?.bytes ?? Buffer.alloc(0);
    this.#outputs.set(instanceId, { bytes: Buffer.concat([before, Buffer.from(text)]), mayGrow });
    this.#tell();
  }

  /** Nothing more comes of the instance for now. */
  end(instanceId: string): void {
    this.write(instanceId, '', false);
  }

  /** Breaks every answer under way. */
  breakOff(): void {
    this.#server.closeAllConnections();
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    this.#tell();
    await closed;
  }

  #tell(): void {
    const waiting = [...this.#changed];
    this.#changed.clear();
    for (const wake of waiting) wake();
  }

  async #answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    this.requests.push(req.url ?? '');
    if (this.hangs) return;
    const url = new URL(req.url ?? '', 'http://agent');
    const instanceId = /^\/instances\/([^/]+)\/logs$/.exec(url.pathname)?.[1] ?? '';
    const output = () => this.#outputs.get(instanceId);
    if (this.status !== undefined || output() === undefined) {
      res.writeHead(this.status ?? 404).end('{}');
      return;
    }
    this.open += 1;
    let left = false;
    res.on('close', () => {
      left = true;
      this.open -= 1;
      this.#tell();
    });
    res.writeHead(200, { 'Content-Type': 'text/plain' }).flushHeaders();
    const tail = url.searchParams.get('tail');
    const follow = url.searchParams.get('follow') === 'true';
    let at = tail === null ? 0 : startOfTail(output()!.bytes, Number(tail));
    for (;;) {
      const { bytes, mayGrow } = output()!;
      if (at < bytes.length && !left) {
        const piece = bytes.subarray(at, at + 64 * 1024);
        at += piece.length;
        if (!res.write(piece)) await this.#until(() => left || !res.writableNeedDrain, res);
        continue;
      }
      if (left || !follow || !mayGrow) break;
      await new Promise<void>((resolve) => this.#changed.add(resolve));
    }
    res.end();
  }

  async #until(condition: () => boolean, res: ServerResponse): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        this.#changed.add(resolve);
        res.once('drain', resolve);
      });
    }
  }
}

function startOfTail(bytes: Buffer, lines: number): number {
  let at = bytes.at(-1) === 10 ? bytes.length - 1 : bytes.length;
  if (lines === 0) return bytes.length;
  for (let left = lines; left > 0; left--) {
    at = at === 0 ? -1 : bytes.lastIndexOf(10, at - 1);
    if (at === -1) return 0;
  }
  return at + 1;
}

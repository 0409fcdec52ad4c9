/**
 * The log route of an agent on a real port, over texts that a test writes. It stands in for the agent because the
 * tests of the log proxy need one that breaks off, hangs or refuses at a given byte.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { frameHead, LOG_FRAMES_MEDIA } from '../../../contract/logFrames';

interface Output {
  bytes: Buffer;
  mayGrow: boolean;
  /** Removed from the front, as by rotation. */
  removed: number;
}

export class FakeAgent {
  readonly requests: string[] = [];
  /** How many answers are under way. */
  open = 0;
  /** Answered instead of any output. */
  status: number | undefined;
  /** Accepts and never answers. */
  hangs = false;
  /** Told of every instance. */
  droppedBytes = 0;
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
    const before = this.#outputs.get(instanceId) ?? { bytes: Buffer.alloc(0), removed: 0 };
    this.#outputs.set(instanceId, {
      ...before,
      bytes: Buffer.concat([before.bytes, Buffer.from(text as string)]),
      mayGrow,
    });
    this.#tell();
  }

  /** From now on answers leave out the first bytes. */
  prune(instanceId: string, bytes: number): void {
    this.#outputs.get(instanceId)!.removed = bytes;
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
    const frames = url.searchParams.get('frames') === 'true';
    const dropped = this.droppedBytes === 0 ? {} : { 'X-Morch-Dropped-Bytes': this.droppedBytes };
    res.writeHead(200, { 'Content-Type': frames ? LOG_FRAMES_MEDIA : 'text/plain', ...dropped }).flushHeaders();
    const tail = url.searchParams.get('tail');
    const from = url.searchParams.get('from');
    const follow = url.searchParams.get('follow') === 'true';
    let at = tail === null ? output()!.removed : startOfTail(output()!.bytes, Number(tail));
    if (from !== null) at = Math.max(output()!.removed, Number(/^1:(\d+),0:0$/.exec(from)![1]));
    const write = (bytes: Buffer) => {
      at += bytes.length;
      const position = { stdout: { number: 1, offset: at }, stderr: { number: 0, offset: 0 } };
      return res.write(frames ? Buffer.concat([Buffer.from(frameHead(bytes.length, position)), bytes]) : bytes);
    };
    if (frames) write(Buffer.alloc(0));
    for (;;) {
      if (req.method === 'HEAD') break;
      const { bytes, mayGrow } = output()!;
      if (at < bytes.length && !left) {
        if (!write(bytes.subarray(at, at + 64 * 1024))) await this.#until(() => left || !res.writableNeedDrain, res);
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

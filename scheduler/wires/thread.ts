/**
 * The connections to agents, in a thread of their own: thousands of sockets that are ready at the same moment are read there,
 * one after the other, while the scheduler's event loop takes in what they said as far as its share of each turn goes.
 */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { AgentAddress, AgentTls } from '../agentClient';
import { Lane } from '../lane';
import type { PlainAddress, WireCommand, WireNews } from './messages';
import type { ProbeResult } from './probe';
import { spaced } from './spaced';
import type { Wire, WireListener, WireProber, Wires } from './wires';

export class WireThread implements Wires {
  private worker: Worker | null = null;
  private closed = false;
  private lastId = 0;
  private readonly listeners = new Map<number, WireListener>();
  private readonly probes = new Map<number, (result: ProbeResult) => void>();
  private readonly tlsIds = new WeakMap<AgentTls, number>();
  private readonly tlsById = new Map<number, WeakRef<AgentTls>>();
  /** Not told yet. */
  private commands: WireCommand[] = [];
  private readonly tellSoon = spaced(() => this.tellAll());
  private readonly lane = new Lane('links');
  private onStall = (): void => {};

  /** @param program compiled; of tests, which run the sources, from elsewhere */
  constructor(private readonly program = join(__dirname, 'worker.js')) {}

  open(address: AgentAddress, path: string, handshakeMs: number, listener: WireListener): Wire {
    const wire = this.nextId();
    this.listeners.set(wire, listener);
    this.tell({ kind: 'open', wire, address: this.plain(address), path, handshakeMs });
    return {
      send: (text) => this.tell({ kind: 'send', wire, text }),
      end: () => {
        if (this.listeners.delete(wire)) this.tell({ kind: 'end', wire });
      },
    };
  }

  prober(): WireProber {
    const prober = this.nextId();
    return {
      probe: (address, timeoutMs, overKept) => {
        const probe = this.nextId();
        this.tell({ kind: 'probe', probe, prober, address: this.plain(address), timeoutMs, overKept });
        return new Promise((resolve) => this.probes.set(probe, resolve));
      },
      close: () => this.tell({ kind: 'endProber', prober }),
    };
  }

  watch(stallMs: number, onStall: () => void): void {
    this.onStall = onStall;
    this.tell({ kind: 'watch', stallMs });
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.worker?.terminate();
  }

  /** Begun when there is something to do: a scheduler that starts has more urgent work for its processors. */
  private begin(): Worker {
    const worker = new Worker(this.program);
    worker.on('message', (batch: WireNews[]) => this.takeBatch(batch));
    // Without it no agent is heard any more: the scheduler ends, and is started again by whoever watches it.
    worker.on('error', (error) => {
      throw error;
    });
    worker.on('exit', (code) => {
      if (!this.closed) throw new Error(`the thread of the connections to agents ended with code ${code}`);
    });
    return worker;
  }

  private nextId(): number {
    this.lastId += 1;
    return this.lastId;
  }

  private plain({ host, port, token, tls }: AgentAddress): PlainAddress {
    return { host, port, token, tls: tls && { id: this.idOf(tls), begun: tls.connection() } };
  }

  private idOf(tls: AgentTls): number {
    let id = this.tlsIds.get(tls);
    if (id === undefined) {
      id = this.nextId();
      this.tlsIds.set(tls, id);
      this.tlsById.set(id, new WeakRef(tls));
    }
    return id;
  }

  private tell(command: WireCommand): void {
    this.commands.push(command);
    this.tellSoon();
  }

  private tellAll(): void {
    if (!this.closed) {
      this.worker ??= this.begin();
      this.worker.postMessage(this.commands);
    }
    this.commands = [];
  }

  /** Some news take long, such as the inventory of an agent. */
  private takeBatch(batch: readonly WireNews[]): void {
    for (const news of batch) this.lane.put(() => this.take(news));
    this.lane.put(() => this.tell({ kind: 'taken' }));
  }

  private take(news: WireNews): void {
    switch (news.kind) {
      case 'message':
        this.listeners.get(news.wire)?.onMessage(news.text);
        return;
      case 'error':
        this.listeners.get(news.wire)?.onError(news.message);
        return;
      case 'close': {
        const listener = this.listeners.get(news.wire);
        this.listeners.delete(news.wire);
        listener?.onClose(news.code, news.reason);
        return;
      }
      case 'probed': {
        const resolve = this.probes.get(news.probe);
        this.probes.delete(news.probe);
        resolve?.(news.result);
        return;
      }
      case 'stalled':
        this.onStall();
        return;
      case 'session':
        this.tlsById.get(news.tls)?.deref()?.keepSession(news.session, news);
        return;
    }
  }
}

/**
 * A failure on purpose, at the word of the scheduler. `kill`: this process ends as in a crash. `cut`: for a time nothing
 * passes between it and whoever is connected to it, as if the network were cut; what it runs goes on, leases run out.
 * http/handlers.ts decides who may ask for it. Nothing of it is stored: a new start of the agent knows no drill.
 *
 * A cut holds back what the streams of the sockets hand to the kernel (writes, ends, closes) and stops reading. The
 * kernel goes on accepting connections. When it is over, all that was held back goes its way, as after a real one.
 */
import type { Server, Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import type { Logger } from 'pino';
import { type DrillInput, durationOf } from '../contract/drill';

/** What a net.Socket implements of its stream: all that leaves it goes through these. */
const OUTLETS = ['_write', '_writev', '_final', '_destroy'] as const;

interface Cut {
  over: Promise<void>;
  end(): void;
}

export class Drill {
  readonly #sockets = new Set<Socket>();
  #cut: Cut | null = null;

  constructor(private readonly log: Logger) {}

  /** Of the one server that everything comes in by. */
  attach(server: Server): void {
    // Over TLS: what is said, not how; handshakes go on, as the kernel's do.
    server.on(server instanceof TlsServer ? 'secureConnection' : 'connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      if (this.#cut !== null) hold(socket, this.#cut.over);
    });
  }

  /** Whoever asked must have been answered before. */
  begin(drill: DrillInput): void {
    const durationMs = durationOf(drill);
    this.log.warn({ kind: drill.kind, durationMs }, 'a drill begins');
    if (durationMs === null) process.kill(process.pid, 'SIGKILL');
    else this.#beginCut(durationMs);
  }

  /** Ends a cut before its time, if there is one. */
  end(): void {
    const cut = this.#cut;
    if (cut === null) return;
    this.#cut = null;
    for (const socket of this.#sockets) letGo(socket);
    cut.end();
    this.log.warn('the drill is over');
  }

  #beginCut(durationMs: number): void {
    if (this.#cut !== null) return;
    const timer = setTimeout(() => this.end(), durationMs);
    let resolveOver = () => {};
    const over = new Promise<void>((resolve) => {
      resolveOver = resolve;
    });
    const end = () => {
      clearTimeout(timer);
      resolveOver();
    };
    this.#cut = { over, end };
    for (const socket of this.#sockets) hold(socket, over);
  }
}

function hold(socket: Socket, over: Promise<void>): void {
  for (const outlet of OUTLETS) {
    const act = socket[outlet] as (...given: unknown[]) => void;
    const later = (...given: unknown[]) => void over.then(() => act.apply(socket, given));
    Object.defineProperty(socket, outlet, { configurable: true, value: later });
  }
  // A server begins to read a new connection in the next tick.
  process.nextTick(() => socket.pause());
}

function letGo(socket: Socket): void {
  for (const outlet of OUTLETS) Reflect.deleteProperty(socket, outlet);
  socket.resume();
}

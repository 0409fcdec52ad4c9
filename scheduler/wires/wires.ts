/**
 * The connections that a scheduler holds to its agents: an event connection each, and what probes are asked over. Made in the
 * thread that asks (`OwnWires`), or in one of their own (thread.ts). They know nothing of what is said over them.
 */
import WebSocket from 'ws';
import { type AgentAddress, agentUrl, credentialsFor } from '../agentClient';
import { connectionOf } from '../tls/nodeConnection';
import { type ProbeResult, Prober } from './probe';

/** What is heard over an event connection; nothing any more once it was closed or has been ended. */
export interface WireListener {
  onMessage(text: string): void;
  /** It is closed thereafter. */
  onError(message: string): void;
  /** @param code as WebSockets have it: 1006 where the other end has not said why */
  onClose(code: number, reason: string): void;
}

export interface Wire {
  /** Does nothing while it is not open. */
  send(text: string): void;
  /** At once, and without a word to the other end. */
  end(): void;
}

/** Asks one agent; see `Prober`. */
export interface WireProber {
  probe(address: AgentAddress, timeoutMs: number, overKept: boolean): Promise<ProbeResult>;
  close(): void;
}

export interface Wires {
  /** @param path with its query. `handshakeMs`: until it is open */
  open(address: AgentAddress, path: string, handshakeMs: number, listener: WireListener): Wire;
  prober(): WireProber;
  /** @param onStall told when their own thread has stood still for so long, before anything of what it missed */
  watch(stallMs: number, onStall: () => void): void;
  close(): Promise<void>;
}

/** Asks over a connection that is opened for it. Never rejects. */
export async function probeOnce(wires: Wires, address: AgentAddress, timeoutMs: number): Promise<ProbeResult> {
  const prober = wires.prober();
  const result = await prober.probe(address, timeoutMs, false);
  prober.close();
  return result;
}

/** In this thread. */
export class OwnWires implements Wires {
  open(address: AgentAddress, path: string, handshakeMs: number, listener: WireListener): OwnWire {
    return new OwnWire(address, path, handshakeMs, listener);
  }

  prober(): WireProber {
    return new Prober();
  }

  /** Whoever is in this thread notices. */
  watch(): void {}

  async close(): Promise<void> {}
}

/** A longer message of an agent ends its connection. */
const MESSAGE_BYTES = 256 * 2 ** 20;
const CLOSED_WITHOUT_WORD = 1006;

export class OwnWire implements Wire {
  /** Null: nothing can be opened with such an address, or such certificates. */
  private readonly socket: WebSocket | null;

  constructor(
    address: AgentAddress,
    path: string,
    handshakeMs: number,
    private listener: WireListener | null,
  ) {
    this.socket = this.begin(address, path, handshakeMs);
  }

  private begin(address: AgentAddress, path: string, handshakeMs: number): WebSocket | null {
    let socket: WebSocket;
    try {
      socket = new WebSocket(`${agentUrl(address, 'ws')}${path}`, {
        ...(address.tls === undefined ? {} : connectionOf(address.tls.connection())),
        headers: credentialsFor(address),
        handshakeTimeout: handshakeMs,
        perMessageDeflate: false,
        maxPayload: MESSAGE_BYTES,
      });
    } catch (error) {
      setImmediate(() => {
        this.listener?.onError((error as Error).message);
        this.listener?.onClose(CLOSED_WITHOUT_WORD, '');
      });
      return null;
    }
    socket.on('message', (data) => this.listener?.onMessage(String(data)));
    socket.on('error', ({ message }) => this.listener?.onError(message));
    socket.on('close', (code, reason) => this.listener?.onClose(code, String(reason)));
    return socket;
  }

  send(text: string): void {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    // Bytes are masked in place, beside their head, and leave in one write; a text leaves in two.
    this.socket.send(Buffer.from(text), { binary: false }, () => undefined);
  }

  end(): void {
    this.listener = null;
    this.socket?.terminate();
  }

  /** Nothing more is read until `resume`. */
  pause(): void {
    this.socket?.pause();
  }

  resume(): void {
    this.socket?.resume();
  }
}
